"""What was in Orthanc before following began is sent too, in its turn, with everything real."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import sqlalchemy as sql

from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Stage
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Priority, State
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site, make_study


@contextmanager
def site_with(
    folder: Path, studies: list[list[bytes]], backfill: Any = True, pause: float = 0, **more: Any
) -> Iterator[tuple[Site, list[str]]]:
    """An Orthanc that has studies already; and their instances. No worker runs."""
    section = {"Backfill": backfill, **more.pop("section", {})}
    site = Site(folder, section=section, **more)
    try:
        site.orthanc.start()
        sent = []
        for number, files in enumerate(studies):
            if number and pause:
                time.sleep(pause)
            sent += [site.upload(content) for content in files]
        time.sleep(1 - time.time() % 1)  # what is of a worker's first second counts as new
        yield site, sent
    finally:
        site.__exit__()


def command(site: Site, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "orthanc_gcp", "backfill", "--json"),
            *(str(site.orthanc.configuration_file), "--orthanc", site.orthanc.url, *options),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(site: Site, *options: str) -> dict[str, Any]:
    done = command(site, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stage(site: Site) -> Stage | None:
    engine = site.engine()
    try:
        run = BackfillStudies(Ledger(engine), "test/ORTHANC", ["google"]).run
    except sql.exc.DBAPIError:  # there is no table yet
        return None
    finally:
        engine.dispose()
    return run and run.stage


def wait_for_end(site: Site) -> dict[str, Any]:
    site.wait_for_following()
    wait_until(
        lambda: stage(site) is Stage.FINISHED, 90, lambda: f"{told(site)}:\n{site.log()[-4000:]}"
    )
    return told(site)


def uid(content: bytes) -> str:
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content), stop_before_pixels=True)
    return str(dataset.StudyInstanceUID)


def kept(site: Site, sent: list[str]) -> list[bytes]:
    return [site.orthanc.request("GET", f"/instances/{one}/file").data for one in sent]


def test_newest_first_and_the_numbers_at_the_end(tmp_path):
    studies = [make_study(instances=3) for _ in range(3)]
    # Orthanc tells of whole seconds when a study was last changed.
    with site_with(tmp_path, studies, pause=1.1) as (site, sent):
        site.start_worker()
        progress = wait_for_end(site)
        rows = site.rows()
        expected = [uid(files[0]) for files in reversed(studies) for _ in files]
        assert [row.study_instance_uid for row in rows] == expected
        assert {row.priority for row in rows} == {Priority.BACKFILL}
        assert {row.state for row in rows} == {State.CONFIRMED}
        assert sorted(site.stored().values()) == sorted(kept(site, sent))
        size = sum(len(content) for files in studies for content in files)
        nothing = {"Instances": 0, "Bytes": 0}
        assert progress["Studies"] == {"Done": 3, "Total": 3}
        assert progress["Confirmed"] == {"Instances": 9, "Bytes": size}
        assert progress["Waiting"] == progress["Sending"] == progress["Quarantined"] == nothing
        assert progress["Began"] <= progress["Ended"]
        assert progress["EstimatedEnd"] is None
        assert progress["Open"] is True
        assert progress["Paused"] is False


def test_without_the_option_nothing_is_sent(tmp_path):
    with site_with(tmp_path, [make_study(instances=2)], backfill=False) as (site, _):
        site.start_worker()
        site.wait_for_following()
        site.upload(make_study(instances=1)[0])
        site.wait_for(confirmed=1)
        assert json.loads(command(site).stdout) is None


def test_live_ones_overtake(tmp_path):
    before = [make_study(instances=30, size=256) for _ in range(4)]
    with site_with(tmp_path, before, {"MaxBytesPerSecond": 1_000_000}) as (site, sent):
        site.start_worker()
        wait_until(lambda: site.states().get("sending"), 30, site.log)
        live = [site.upload(content) for content in make_study(instances=5)]

        def arrived() -> bool:
            rows = [row for row in site.rows() if row.orthanc_id in live]
            return len(rows) == 5 and {row.state for row in rows} == {State.CONFIRMED}

        wait_until(arrived, 60, lambda: f"{site.states()}\n{site.log()}")
        rows = site.rows()
        assert {row.priority for row in rows if row.orthanc_id in live} == {Priority.LIVE}
        assert any(row.state != State.CONFIRMED for row in rows), "the backfill was done before"
        progress = wait_for_end(site)
        assert site.states() == {State.CONFIRMED: len(sent) + len(live)}
        # The cap: it cannot have ended sooner, whatever the machine was busy with.
        seconds = datetime.fromisoformat(progress["Ended"]) - datetime.fromisoformat(
            progress["Began"]
        )
        assert progress["Confirmed"]["Bytes"] <= 1_000_000 * (seconds.total_seconds() + 2)
        assert sorted(site.stored().values()) == sorted(kept(site, sent + live))


def test_it_goes_only_in_its_hours(tmp_path):
    """The hours are those of the worker's own time zone: here it is moved instead of the clock."""
    hour = datetime.now(UTC).hour
    backfill = {"Schedule": ["00:00-12:00"]}
    with site_with(tmp_path, [make_study(instances=4)], backfill) as (site, _):
        # In POSIX, hours to the west of Greenwich are counted.
        site.start_worker(TZ=f"XXX{hour - 17:+d}")
        site.wait_for_following()
        live = site.upload(make_study(instances=1)[0])
        site.wait_for(confirmed=1)
        assert [row.orthanc_id for row in site.rows()] == [live]
        site.stop_worker()
        site.start_worker(TZ=f"XXX{hour - 5:+d}")
        site.wait_for(confirmed=5)


def test_killed_in_the_middle_it_goes_on(tmp_path):
    studies = [make_study(instances=10, size=200) for _ in range(12)]
    with site_with(tmp_path, studies, {"MaxQueuedInstances": 15}) as (site, sent):
        for _ in range(4):
            site.start_worker()
            before = site.states().get("confirmed", 0)
            wait_until(lambda most=before: site.states().get("confirmed", 0) > most, 60, site.log)
            site.kill_worker()
        site.start_worker()
        progress = wait_for_end(site)
        assert site.states() == {State.CONFIRMED: len(sent)}
        assert progress["Studies"] == {"Done": 12, "Total": 12}
        assert progress["Confirmed"]["Instances"] == len(sent)
        assert sorted(row.orthanc_id for row in site.rows()) == sorted(sent)
        assert sorted(site.stored().values()) == sorted(kept(site, sent))


def test_paused_and_resumed(tmp_path):
    studies = [make_study(instances=10, size=200) for _ in range(6)]
    backfill = {"MaxQueuedInstances": 10, "MaxBytesPerSecond": 400_000}

    def confirmed(priority: Priority) -> int:
        return sum(row.state == State.CONFIRMED and row.priority == priority for row in site.rows())

    with site_with(tmp_path, studies, backfill) as (site, sent):
        site.start_worker()
        wait_until(lambda: site.states().get("confirmed"), 60, site.log)
        assert told(site, "--pause")["Paused"] is True
        site.stop_worker()
        site.start_worker()  # a pause outlives the worker; what was begun is finished
        site.upload(make_study(instances=1)[0])
        wait_until(lambda: confirmed(Priority.LIVE) == 1, 60, site.log)
        wait_until(lambda: not {"sending", "acknowledged"} & set(site.states()), 60, site.log)
        resting = confirmed(Priority.BACKFILL)
        assert resting < len(sent)
        site.upload(make_study(instances=1)[0])
        wait_until(lambda: confirmed(Priority.LIVE) == 2, 60, site.log)
        assert confirmed(Priority.BACKFILL) == resting
        assert told(site, "--status")["State"] == "Sending"
        assert told(site, "--resume")["Paused"] is False
        wait_for_end(site)
        assert site.states() == {State.CONFIRMED: len(sent) + 2}


def test_a_restart_of_the_worker_does_not_begin_again_but_a_person_may(tmp_path):
    with site_with(tmp_path, [make_study(instances=2)]) as (site, _):
        site.start_worker()
        ended = wait_for_end(site)["Ended"]
        site.stop_worker()
        # What comes while no worker follows is read from the changes: the end stays what it was.
        site.upload(make_study(instances=1)[0])
        site.start_worker()
        site.wait_for(confirmed=3)
        assert wait_for_end(site)["Ended"] == ended
        assert told(site, "--restart")["State"] == "Listing"
        progress = wait_for_end(site)
        assert progress["Ended"] > ended
        assert progress["Studies"] == {"Done": 2, "Total": 2}
        assert progress["Confirmed"]["Instances"] == 2
        assert site.states() == {State.CONFIRMED: 3}


def test_of_several_workers_one_reads_it(tmp_path):
    postgres = Postgres()
    studies = [make_study(instances=10) for _ in range(6)]
    backfill = {"MaxQueuedInstances": 20, "MaxBytesPerSecond": 100_000}
    section = {"Database": postgres.url}
    try:
        with site_with(tmp_path, studies, backfill, section=section) as (site, sent):
            site.start_worker("one")
            site.start_worker("two")
            wait_until(lambda: stage(site) is Stage.FINISHED, 90, lambda: site.log("one"))
            assert site.states() == {State.CONFIRMED: len(sent)}
            assert told(site)["Studies"] == {"Done": 6, "Total": 6}
            readers = [name for name in ("one", "two") if "studies are there" in site.log(name)]
            assert len(readers) == 1
            assert sorted(site.stored().values()) == sorted(kept(site, sent))
    finally:
        postgres.remove()


def test_the_command_says_what_is_wrong(tmp_path):
    with site_with(tmp_path, []) as (site, _):
        assert command(site, "--pause", "--resume").returncode == 2
        done = command(site)
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no ledger" in done.stderr
        site.start_worker()
        wait_for_end(site)
        site.orthanc.stop()
        done = command(site)
        assert done.returncode == 2
        assert "does not answer" in done.stderr


def test_what_arrives_is_confirmed_ahead_of_a_backfill(tmp_path):
    """Though the cap on requests leaves much of it to be read back."""
    studies = [make_study(instances=1) for _ in range(60)]
    account = {"MaxRequestsPerMinute": 120}
    with site_with(tmp_path, studies, account=account) as (site, _):
        site.start_worker()
        site.wait_for_following()
        wait_until(lambda: len(in_state(site, State.ACKNOWLEDGED)) >= 20, 60)
        before = len(in_state(site, State.CONFIRMED))
        (content,) = make_study(instances=1)
        name = site.upload(content)
        wait_until(lambda: name in in_state(site, State.CONFIRMED), 60)
        assert len(in_state(site, State.CONFIRMED)) - before < 15


def in_state(site: Site, state: State) -> set[str]:
    return {row.orthanc_id for row in site.rows() if row.state == state}
