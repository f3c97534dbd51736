"""Several workers on PostgreSQL share the work, and replace one that dies."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from orthanc_gcp.custody.intake.recognition import RECOGNIZE_EVERY
from orthanc_gcp.custody.reporting.operations import pause, resume
from orthanc_gcp.ledger.ledger import Ledger
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import ACCOUNT, Site, make_study


@pytest.fixture
def postgres():
    server = Postgres()
    yield server
    server.remove()


def test_a_dead_worker_is_replaced(tmp_path, postgres):
    with Site(tmp_path, section={"Database": postgres.url}) as site:
        site.start_worker("other")
        site.wait_for_following()
        # Requests that last let the victim die in the middle of some.
        site.emulator.switch(bandwidth=200_000)
        sent = [site.upload(content) for content in make_study(instances=40, size=256)]
        wait_until(lambda: "sending" in site.states(), 30, lambda: str(site.states()))
        victim = next(row.worker for row in site.rows() if row.state == "sending")
        (survivor,) = {"worker", "other"} - {victim}
        site.kill_worker(victim)
        site.emulator.switch(bandwidth=None)
        site.wait_for(confirmed=len(sent))
        kept = [site.orthanc.request("GET", f"/instances/{one}/file").data for one in sent]
        assert sorted(site.stored().values()) == sorted(kept)
        assert "what it was sending is taken over" in site.log(survivor)


QUICK = """
from orthanc_gcp.ledger import workers
workers.SILENT_AFTER, workers.ALIVE_FOR = 2, 1.5
workers.REFRESH_EVERY, workers.DEAD_AFTER = 0.4, 0.8
"""
"""Python runs it in each worker before anything else: the same, only sooner."""


def test_a_frozen_worker_is_replaced_and_does_no_harm_when_it_goes_on(tmp_path, postgres):
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "sitecustomize.py").write_text(QUICK)
    path = os.pathsep.join([str(tmp_path / "quick"), *sys.path])
    site = Site(tmp_path, section={"Database": postgres.url})
    site.orthanc.start()
    try:
        for name in ("worker", "other"):
            site.start_worker(name, PYTHONPATH=path)
            wait_until(lambda name=name: "has started" in site.log(name), 30)
        site.wait_for_following()
        site.emulator.switch(bandwidth=200_000)
        sent = [site.upload(content) for content in make_study(instances=40, size=256)]
        wait_until(lambda: "sending" in site.states(), 30, lambda: str(site.states()))
        victim = next(row.worker for row in site.rows() if row.state == "sending")
        (survivor,) = {"worker", "other"} - {victim}
        site.workers[victim].send_signal(signal.SIGSTOP)
        wait_until(lambda: "what it was sending is taken over" in site.log(survivor), 30)
        assert "has not answered for 2 s" in site.log(survivor)
        site.workers[victim].send_signal(signal.SIGCONT)
        site.emulator.switch(bandwidth=None)
        site.wait_for(confirmed=len(sent))
        kept = [site.orthanc.request("GET", f"/instances/{one}/file").data for one in sent]
        assert sorted(site.stored().values()) == sorted(kept)
        late = [site.upload(content) for content in make_study(instances=4)]
        site.wait_for(confirmed=len(sent) + len(late))
        assert site.workers[victim].poll() is None, "it is one of the workers again"
    finally:
        site.__exit__()


def test_two_workers_of_one_name_do_not_both_run(tmp_path, postgres):
    with Site(tmp_path, section={"Database": postgres.url}) as site:
        site.wait_for_following()
        first = site.workers.pop("worker")
        site.start_worker("worker")
        assert site.workers["worker"].wait(30) == 1
        assert "another worker is called worker" in site.log()
        site.workers["worker"] = first


def test_the_ledger_may_be_away(tmp_path, postgres):
    with Site(tmp_path, section={"Database": postgres.url}) as site:
        site.wait_for_following()
        sent = [site.upload(content) for content in make_study(instances=5)]
        site.wait_for(confirmed=5)
        postgres.stop()
        sent += [site.upload(content) for content in make_study(instances=5)]
        wait_until(lambda: "cannot" in site.log(), 30)
        postgres.start()
        site.wait_for(confirmed=len(sent))


def test_the_ledger_may_only_be_read(tmp_path, postgres):
    """As after a failover, while a worker works and when one begins."""
    with Site(tmp_path, section={"Database": postgres.url}) as site:
        site.wait_for_following()
        for begins in (False, True):
            if begins:
                site.stop_worker()
                site.log_file("worker").unlink()
            postgres.set("default_transaction_read_only", "on")
            if begins:
                site.start_worker()
            site.upload(make_study(instances=1)[0])
            wait_until(lambda: "read-only transaction" in site.log(), 30, site.log)
            postgres.set("default_transaction_read_only", "off")
            site.wait_for(confirmed=1 + begins)
            assert site.workers["worker"].poll() is None


def test_workers_share_what_waits(tmp_path, postgres):
    with Site(tmp_path, section={"Database": postgres.url}) as site:
        site.wait_for_following()
        site.stop_worker()
        ledger = Ledger(site.engine())
        pause(ledger, ACCOUNT)
        sent = [site.upload(content) for content in make_study(series=8, instances=40)]
        site.emulator.switch(latency=0.5)
        for name in ("one", "two"):
            site.start_worker(name)
        for name in ("one", "two"):
            wait_until(lambda name=name: "has started" in site.log(name), 30)
        site.wait_for(waiting=len(sent))
        time.sleep(2 * RECOGNIZE_EVERY)  # until both know for sure which index it is
        resume(ledger, ACCOUNT)
        ledger.engine.dispose()
        site.wait_for(confirmed=len(sent))
        site.emulator.switch(latency=0)
        assert len(site.stored()) == len(sent)
        site.stop_worker("one")
        more = [site.upload(content) for content in make_study(instances=5)]
        site.wait_for(confirmed=len(sent) + len(more))
        assert {row.worker for row in site.rows() if row.orthanc_id in more} == {"two"}


def beside(site: Site, folder: Path) -> Site:
    """Another Orthanc of the same name, on the same ledger and for the same store."""
    shared = {name: site.configuration[name] for name in ("BaseUrl", "Accounts", "Database")}
    return Site(folder, section=shared)


def test_two_orthancs_with_the_defaults_are_two(tmp_path, postgres):
    """Each has what the other does not, and one instance both; one is renamed in between."""
    with Site(tmp_path / "one", section={"Database": postgres.url}) as site:
        site.wait_for_following()
        other = beside(site, tmp_path / "two")
        other.orthanc.start()
        other.start_worker("second")
        try:
            # What an Orthanc had before its worker was first started is not followed.
            wait_until(lambda: "has started" in other.log("second"), 30)
            (shared,) = make_study(instances=1)
            for one in (site, other):
                one.upload(shared)
                for content in make_study(instances=4):
                    one.upload(content)
            site.wait_for(confirmed=10)
            assert len({row.source for row in site.rows()}) == 2
            site.emulator.switch(deniedPermissions=["healthcare.dicomStores.dicomWebWrite"])
            for content in make_study(instances=3):
                other.upload(content)
            wait_until(lambda: len(site.rows()) == 13, 30, lambda: other.log("second"))
            other.orthanc.kill()
            configuration = json.loads(other.orthanc.configuration_file.read_text())
            other.orthanc.configuration_file.write_text(
                json.dumps({**configuration, "Name": "renamed"})
            )
            other.orthanc.start()
            other.kill_worker("second")
            other.start_worker("third")  # as in a new container
            site.emulator.switch(deniedPermissions=[])
            site.wait_for(confirmed=13)
            assert len({row.source for row in site.rows()}) == 2
            assert len(site.stored()) == 12
        finally:
            other.__exit__()


def test_orthancs_take_turns_where_there_is_one_connection(tmp_path, postgres):
    section, account = {"Database": postgres.url}, {"MaxConnections": 1}
    with Site(tmp_path / "one", section=section, account=account) as site:
        site.wait_for_following()
        other = beside(site, tmp_path / "two")
        other.orthanc.start()
        other.start_worker("second")
        try:
            wait_until(lambda: "has started" in other.log("second"), 30)
            other.upload(make_study(instances=1)[0])
            site.wait_for(confirmed=1)
            (first,) = site.rows()
            site.emulator.switch(bandwidth=300_000)
            for content in make_study(instances=80, size=256):
                site.upload(content)
            other.upload(make_study(instances=1)[0])

            def taken(of_other: bool) -> float:
                """When the last one of the other Orthanc, or of this one, was taken."""
                rows = [row for row in site.rows() if (row.source == first.source) is of_other]
                return max(row.acknowledged_at or 0.0 for row in rows)

            wait_until(lambda: taken(of_other=True) > first.acknowledged_at, 60)
            site.emulator.switch(bandwidth=None)
            site.wait_for(confirmed=82)
            assert taken(of_other=True) < taken(of_other=False), "it had to wait for all of them"
        finally:
            other.__exit__()
