"""How far a backfill is, and when it will have ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Stage
from orthanc_gcp.custody.reporting.backfill_progress import progress, studies_of
from orthanc_gcp.custody.reporting.counts import Amount
from orthanc_gcp.ledger.schema import Priority
from tests.support.ledgers import BEGIN
from tests.support.transfers import arrive, confirm


@pytest.fixture
def studies(ledger):
    return BackfillStudies(ledger, "o", ["a"])


@pytest.fixture
def read(ledger, studies, clock):
    def read(options=None):
        now = datetime.fromtimestamp(clock.now, UTC).astimezone()
        return progress(ledger, studies, options or BackfillOptions(), now)

    return read


def begin(studies, count):
    studies.restart()
    studies.add([(f"s{number}", "20260101T000000") for number in range(count)])
    studies.listed(studies.run)


def backfill(ledger, studies, study, instances):
    """A study is written down, and done."""
    arrive(ledger, instances, study=study, priority=Priority.BACKFILL)
    studies.drop(studies.run, studies.newest(1), instances)


def test_none_has_begun(read):
    assert read() is None


def test_while_studies_are_listed(studies, read):
    studies.restart()
    studies.add([("s1", "20260101T000000")])
    found = read()
    assert (found.stage, found.studies_done, found.studies) == (Stage.LISTING, 0, 1)
    assert found.estimated_end is None


def test_the_end_is_estimated_as_if_the_rest_were_like_what_was_done(ledger, studies, read, clock):
    begin(studies, 4)
    backfill(ledger, studies, "1", 10)
    confirm(ledger)
    backfill(ledger, studies, "2", 10)
    clock.now += 20
    found = read()
    assert (found.studies_done, found.studies) == (2, 4)
    assert (found.counts.confirmed, found.counts.waiting) == (Amount(10, 1000), Amount(10, 1000))
    assert (found.instances_per_second, found.bytes_per_second) == (0.5, 50)
    # Ten wait, and two studies of ten each are left.
    assert found.estimated_end == pytest.approx(clock.now + 30 / 0.5)


def test_what_is_live_does_not_count(ledger, studies, read):
    begin(studies, 1)
    arrive(ledger, 5)
    confirm(ledger)
    found = read()
    assert found.counts.confirmed == Amount()
    assert found.instances_per_second == 0


def test_it_has_ended(ledger, studies, read, clock):
    begin(studies, 1)
    backfill(ledger, studies, "1", 3)
    confirm(ledger)
    clock.now += 600
    studies.finish(studies.run)
    nothing = {"Instances": 0, "Bytes": 0}
    assert read().as_json() == {
        "State": "Finished",
        "Paused": False,
        "Open": True,
        "Studies": {"Done": 1, "Total": 1},
        "GoneStudies": 0,
        "RecycledStudies": 0,
        "Unreadable": 0,
        "Waiting": nothing,
        "Sending": nothing,
        "Acknowledged": nothing,
        "Confirmed": {"Instances": 3, "Bytes": 300},
        "Quarantined": nothing,
        "Superseded": nothing,
        "Dismissed": nothing,
        "Withdrawn": nothing,
        "Lost": nothing,
        "BytesPerSecond": 0.0,
        "InstancesPerSecond": 0.0,
        "Began": "2027-01-15T08:00:00.000+00:00",
        "Ended": "2027-01-15T08:10:00.000+00:00",
        "EstimatedEnd": None,
    }


def test_its_hours_and_its_pause(studies, read):
    begin(studies, 1)
    hour = datetime.fromtimestamp(BEGIN, UTC).astimezone()
    later = hour + timedelta(hours=2)
    closed = BackfillOptions(schedule=(f"{later:%H}:00-{later:%H}:30",))
    studies.pause()
    found = read(closed)
    assert (found.open, found.paused) == (False, True)
    assert read().open


def test_studies_alone(ledger, studies):
    assert studies_of(studies) is None
    studies.restart()
    studies.add([("s1", "20260101T000000")])
    assert studies_of(studies) == (0, 1)
    begin(studies, 4)
    backfill(ledger, studies, "1", 10)
    assert studies_of(studies) == (1, 3)
    studies.finish(studies.run)
    assert studies_of(studies) == (4, 0)
