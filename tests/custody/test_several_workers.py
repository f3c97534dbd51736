"""Several workers on PostgreSQL share the work, and replace one that dies."""

from __future__ import annotations

import pytest

from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site, make_study


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


def test_workers_share_what_waits(tmp_path, postgres):
    with Site(tmp_path, section={"Database": postgres.url}) as site:
        site.wait_for_following()
        site.stop_worker()
        sent = [site.upload(content) for content in make_study(series=8, instances=100)]
        site.emulator.switch(latency=0.5)
        site.start_worker("one")
        site.start_worker("two")
        site.wait_for(confirmed=len(sent))
        site.emulator.switch(latency=0)
        assert {row.worker for row in site.rows()} == {"one", "two"}
        assert len(site.stored()) == len(sent)
