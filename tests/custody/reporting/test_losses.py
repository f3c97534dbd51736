"""What is lost is listed until somebody has acknowledged it."""

from __future__ import annotations

from orthanc_gcp.custody.reporting.losses import (
    Losses,
    LostChanges,
    LostStudy,
    acknowledge,
    losses,
    lost_changes_of,
)
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.ledger.schema import State
from tests.support.ledgers import BEGIN, states
from tests.support.transfers import arrive, events_of, settle


def lose(ledger, **more):
    arrive(ledger, **more)
    outcome = {"reason": "recycled", "absent_since": BEGIN - 200}
    settle(ledger, State.LOST, account=more.get("account", "a"), **outcome)


def test_nothing(ledger):
    assert losses(ledger) == acknowledge(ledger) == Losses((), ())
    assert lost_changes_of(ledger) == {}


def test_by_study_and_by_account(ledger):
    lose(ledger, count=2, study="1")
    lose(ledger, count=1, study="1", prefix="later", received_at=BEGIN + 50)
    lose(ledger, study="2", account="b")
    arrive(ledger, study="3")
    ledger.arrivals.lose("a", "o", 5, 9, 4)
    first = LostStudy("a", "o", "1", 3, 300, BEGIN, BEGIN + 50)
    expected = Losses(
        (first, LostStudy("b", "o", "2", 1, 100, BEGIN, BEGIN)),
        (LostChanges("a", "o", 5, 9, 4, BEGIN),),
    )
    assert losses(ledger) == expected
    assert lost_changes_of(ledger) == {"a": 4}
    assert expected.as_json() == {
        "Studies": [
            {
                "Account": "a",
                "Source": "o",
                "Study": "1",
                "Instances": 3,
                "Bytes": 300,
                "Received": ["2027-01-15T08:00:00.000+00:00", "2027-01-15T08:00:50.000+00:00"],
            },
            {
                "Account": "b",
                "Source": "o",
                "Study": "2",
                "Instances": 1,
                "Bytes": 100,
                "Received": ["2027-01-15T08:00:00.000+00:00"] * 2,
            },
        ],
        "Changes": [
            {
                "Account": "a",
                "Source": "o",
                "First": 5,
                "Last": 9,
                "Changes": 4,
                "Noticed": "2027-01-15T08:00:00.000+00:00",
            }
        ],
    }


def test_what_was_acknowledged_is_over(ledger):
    lose(ledger, count=700, study="1")
    ledger.arrivals.lose("a", "o", 5, 9, 4)
    found = losses(ledger)
    assert acknowledge(ledger) == found
    assert losses(ledger) == Losses((), ())
    assert set(states(ledger).values()) == {State.WITHDRAWN}
    assert len(events_of(ledger, "loss acknowledged")) == 701
    lose(ledger, study="2")
    assert [one.study_instance_uid for one in losses(ledger).studies] == ["2"]


def test_it_is_tried_again_by_name_and_since_when_it_is_absent_stays_known(ledger):
    lose(ledger, study="1")
    lose(ledger, study="2")
    assert len(retry(ledger)) == 0
    assert len(retry(ledger, study="1")) == 1
    acknowledge(ledger)
    assert len(retry(ledger, study="2")) == 1
    claimed = ledger.queue.claim(
        "a", "o", "c", "w", most_instances=9, most_bytes=999, most_batches=9
    )
    assert [row.absent_since for row in claimed] == [BEGIN - 200] * 2


def test_it_is_reopened_when_it_is_there_again(ledger):
    lose(ledger, study="1")
    lose(ledger, study="2")
    assert ledger.arrivals.reopen("o", ["1-0"]) == 1
    acknowledge(ledger)
    assert ledger.arrivals.reopen("o", ["1-0", "2-0"]) == 1
    assert states(ledger) == {"1-0": State.WAITING, "2-0": State.WAITING}
