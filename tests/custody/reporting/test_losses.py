"""What is lost is listed until somebody has acknowledged it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.reporting.losses import (
    Acknowledgement,
    Acknowledgements,
    ListChangedError,
    Losses,
    LostChanges,
    LostStudy,
    acknowledge,
    acknowledgements,
    losses,
    lost_changes_of,
)
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import State, events, transfers
from tests.support.ledgers import BEGIN, states
from tests.support.transfers import arrive, events_of, settle


def lose(ledger, **more):
    arrive(ledger, **more)
    outcome = {"reason": "recycled", "absent_since": BEGIN - 200}
    settle(ledger, State.LOST, account=more.get("account", "a"), **outcome)


def acknowledge_all(ledger, by="jane (as typed)"):
    return acknowledge(ledger, losses(ledger).listed, by=by)


def studies_of(found):
    return [one.study_instance_uid for one in found.studies]


def test_nothing(ledger):
    assert losses(ledger) == Losses((), ())
    assert acknowledgements(ledger) == Acknowledgements((), ())
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
    found = losses(ledger)
    assert found == replace(expected, listed=found.listed)
    assert (found.instances, found.all) == (4, (*found.studies, *found.changes))
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
        "Listed": None,
        "More": False,
    }


def test_what_was_acknowledged_is_over_and_who_has_done_it_stays(ledger, clock):
    lose(ledger, count=700, study="1")
    ledger.arrivals.lose("a", "o", 5, 9, 4)
    found = losses(ledger)
    assert acknowledge_all(ledger) == found
    assert losses(ledger) == Losses((), ())
    assert set(states(ledger).values()) == {State.WITHDRAWN}
    said = events_of(ledger, "loss acknowledged")
    assert len(said) == 701
    assert all("jane (as typed)" in one.detail for one in said)
    clock.now += 5
    lose(ledger, study="2", account="b")
    assert studies_of(losses(ledger)) == ["2"]
    acknowledge_all(ledger, "eve")
    first = LostStudy("a", "o", "1", 700, 70_000, BEGIN, BEGIN), BEGIN, "jane (as typed)"
    second = LostStudy("b", "o", "2", 1, 100, BEGIN + 5, BEGIN + 5), BEGIN + 5, "eve"
    changes = LostChanges("a", "o", 5, 9, 4, BEGIN), BEGIN, "jane (as typed)"
    former = acknowledgements(ledger)
    assert former.studies == (Acknowledgement(*second), Acknowledgement(*first))
    assert former.changes == (Acknowledgement(*changes),)
    assert acknowledgements(ledger, "a", 1).studies == (Acknowledgement(*first),)
    assert acknowledgements(ledger, most=1).studies == (Acknowledgement(*second),)
    document = former.as_json()["Changes"][0]
    assert (document["Acknowledged"], document["By"]) == (
        "2027-01-15T08:00:00.000+00:00",
        "jane (as typed)",
    )


def test_what_was_lost_after_the_list_stays_lost(ledger):
    arrive(ledger, 3, study="1")
    settle(ledger, State.LOST, 2, reason="recycled")
    listed = losses(ledger).listed
    settle(ledger, State.LOST, reason="recycled")
    lose(ledger, study="2")
    ledger.arrivals.lose("a", "o", 5, 9, 4)
    assert acknowledge(ledger, listed, by="jane").instances == 2
    left = losses(ledger)
    assert [(one.study_instance_uid, one.instances) for one in left.studies] == [("1", 1), ("2", 1)]
    assert len(left.changes) == 1
    acknowledge_all(ledger)
    assert losses(ledger).listed is None


def test_a_list_that_is_another_by_now_acknowledges_nothing(ledger):
    lose(ledger, study="1")
    lose(ledger, study="2")
    listed = losses(ledger).listed
    retry(ledger, study="1")
    with pytest.raises(ListChangedError):
        acknowledge(ledger, listed, by="jane")
    assert studies_of(losses(ledger)) == ["2"]
    acknowledge_all(ledger)
    with pytest.raises(ListChangedError):
        acknowledge(ledger, listed, by="jane")
    digest = "0" * 16
    for wanted in ("", "1-2-3", f"{listed}0", f" {listed}", f"{'9' * 19}-1-{digest}", "-" + listed):
        with pytest.raises(ValueError, match="Listed"):
            acknowledge(ledger, wanted, by="jane")


def test_what_was_lost_before_the_list_ended_and_was_not_on_it(ledger):
    """Transactions on PostgreSQL may be committed in another order than that of their numbers."""
    lose(ledger, study="1")
    lose(ledger, study="2")
    with ledger.writing() as connection:
        of_first = events.c.study_instance_uid == "1"
        first = connection.execute(sql.select(events).where(of_first)).all()
        connection.execute(events.delete().where(of_first))
        mine = transfers.update().where(transfers.c.study_instance_uid == "1")
        connection.execute(mine.values(state=State.SENDING))
    listed = losses(ledger).listed
    with ledger.writing() as connection:
        connection.execute(events.insert(), [one._asdict() for one in first])
        connection.execute(mine.values(state=State.LOST))
    with pytest.raises(ListChangedError):
        acknowledge(ledger, listed, by="jane")
    assert studies_of(losses(ledger)) == ["1", "2"]


def test_page_by_page(ledger):
    for study in ("3", "1", "2"):
        lose(ledger, count=2, study=study)
    late = NewTransfer("a", "o", "late", "3", "3.1", "3.1.9", 100, ledger.now())
    ledger.arrivals.record([late])
    settle(ledger, State.LOST, reason="recycled")
    lose(ledger, study="9", account="b")
    for first in (5, 15):
        ledger.arrivals.lose("a", "o", first, first + 4, 4)
    seen = []
    while (found := losses(ledger, "a", 1)).listed is not None:
        assert len(found.studies) <= 1
        assert len(found.changes) <= 1
        seen.append([(one.study_instance_uid, one.instances) for one in found.studies])
        acknowledge(ledger, found.listed, by="jane", account="a")
        assert found.has_more is (len(seen) < 4)
    assert seen == [[("3", 2)], [("1", 2)], [("2", 2)], [("3", 1)]]
    assert studies_of(losses(ledger)) == ["9"]
    assert losses(ledger, "a") == Losses((), ())


def test_it_is_tried_again_by_name_and_since_when_it_is_absent_stays_known(ledger):
    lose(ledger, study="1")
    lose(ledger, study="2")
    assert len(retry(ledger)) == 0
    assert len(retry(ledger, study="1")) == 1
    acknowledge_all(ledger)
    assert len(retry(ledger, study="2")) == 1
    claimed = ledger.queue.claim(
        "a", "o", "c", "w", most_instances=9, most_bytes=999, most_batches=9
    )
    assert [row.absent_since for row in claimed] == [BEGIN - 200] * 2


def test_it_is_reopened_when_it_is_there_again(ledger):
    lose(ledger, study="1")
    lose(ledger, study="2")
    assert ledger.arrivals.reopen("o", ["1-0"]) == 1
    acknowledge_all(ledger)
    assert ledger.arrivals.reopen("o", ["1-0", "2-0"]) == 1
    assert states(ledger) == {"1-0": State.WAITING, "2-0": State.WAITING}
