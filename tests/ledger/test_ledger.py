"""The ledger's transitions, in both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome
from orthanc_gcp.ledger.schema import Priority, State, events, metadata, transfers
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.postgres import Postgres

A, ORTHANC = "account", "orthanc"


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server.url
    server.remove()


class Time:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path, time):
    url = request.getfixturevalue("postgres") if request.param == "postgresql" else ""
    engine = database.connect(database.url_of(url, tmp_path))
    ledger = Ledger(engine, time)
    prepare(engine)
    yield ledger
    metadata.drop_all(engine)
    engine.dispose()


def arrival(name: str, **more: object) -> NewTransfer:
    usual = NewTransfer(A, ORTHANC, name, "study", "series", f"1.{name}", 100, 5000.0, change_seq=1)
    return replace(usual, **more)


def claim(ledger: Ledger, batch: str = "b", **more: int) -> list[str]:
    limits = {"most_instances": 100, "most_bytes": 10**9, "most_batches": 10, **more}
    return [row.orthanc_id for row in ledger.queue.claim(A, ORTHANC, batch, "w", **limits)]


def states(ledger: Ledger) -> dict[str, str]:
    with ledger.reading() as connection:
        rows = connection.execute(sql.select(transfers.c.orthanc_id, transfers.c.state))
        return {row.orthanc_id: row.state for row in rows}


def held(ledger: Ledger, batch: str) -> list[Any]:
    """The rows that a batch has claimed."""
    query = sql.select(transfers).where(
        transfers.c.batch == batch, transfers.c.state == State.SENDING
    )
    with ledger.reading() as connection:
        return list(connection.execute(query))


def settle(ledger: Ledger, state: State, batch: str = "b", **more: object) -> None:
    rows = held(ledger, batch)
    ledger.queue.settle(batch, [Outcome(row.id, state, **more) for row in rows])


def test_the_way_of_an_instance(ledger):
    ledger.arrivals.record([arrival("1")])
    assert states(ledger) == {"1": State.WAITING}
    assert claim(ledger) == ["1"]
    assert states(ledger) == {"1": State.SENDING}
    assert claim(ledger, "c") == []
    assert ledger.confirmations.fully_sent(A, ["series"]) == []
    settle(ledger, State.ACKNOWLEDGED, sha256="d")
    assert ledger.confirmations.fully_sent(A, ["series"]) == ["series"]
    ledger.confirmations.confirm(
        {row.id: ledger.now() for row in ledger.confirmations.acknowledged(A, "series")}
    )
    assert states(ledger) == {"1": State.CONFIRMED}


def test_only_acknowledged_instances_are_confirmed(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    (row,) = held(ledger, "b")
    for state in (State.DELAYED, State.QUARANTINED, State.WITHDRAWN):
        ledger.confirmations.confirm({row.id: ledger.now()})
        settle(ledger, state, next_attempt_at=0.0, reason="r")
        ledger.confirmations.confirm({row.id: ledger.now()})
        assert states(ledger) == {"1": state}
        ledger.arrivals.record([arrival("1", priority=Priority.DEMANDED)])
        if state == State.DELAYED:
            ledger.queue.requeue_due(A)
        assert claim(ledger) == ["1"]


def test_a_newer_version_takes_the_row_from_its_batch(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    (old,) = held(ledger, "b")
    ledger.arrivals.record([arrival("1", change_seq=2, size_bytes=50)])
    assert states(ledger) == {"1": State.WAITING}
    ledger.queue.settle("b", [Outcome(old.id, State.ACKNOWLEDGED, sha256="old")])
    assert states(ledger) == {"1": State.WAITING}
    claim(ledger, "c")
    (row,) = held(ledger, "c")
    assert (row.size_bytes, row.sha256) == (50, None)


def test_a_newer_version_of_an_acknowledged_instance_is_not_confirmed_by_an_old_look(ledger, time):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle(ledger, State.ACKNOWLEDGED, sha256="old")
    (seen,) = ledger.confirmations.acknowledged(A, "series")
    ledger.arrivals.record([arrival("1", change_seq=2)])
    ledger.confirmations.confirm({seen.id: time.now})
    assert states(ledger) == {"1": State.WAITING}
    looked = time.now
    time.now += 1
    claim(ledger, "c")
    settle(ledger, State.ACKNOWLEDGED, "c", sha256="new")
    ledger.confirmations.confirm({seen.id: looked})
    assert states(ledger) == {"1": State.ACKNOWLEDGED}
    ledger.confirmations.confirm({seen.id: time.now})
    assert states(ledger) == {"1": State.CONFIRMED}


def test_what_was_read_before_changes_nothing(ledger):
    ledger.arrivals.record([arrival("1", change_seq=7)])
    claim(ledger)
    settle(ledger, State.ACKNOWLEDGED, sha256="d")
    for change in (7, 3, 0):
        ledger.arrivals.record([arrival("1", change_seq=change)])
        assert states(ledger) == {"1": State.ACKNOWLEDGED}


def test_a_later_reception_is_news_in_a_replaced_index(ledger):
    ledger.arrivals.record([arrival("1", change_seq=7)])
    claim(ledger)
    settle(ledger, State.ACKNOWLEDGED, sha256="d")
    ledger.arrivals.record([arrival("1", change_seq=2, received_at=6000.0)])
    assert states(ledger) == {"1": State.WAITING}


def test_a_clock_that_is_set_back_delays_nothing(ledger, time):
    ledger.arrivals.record([arrival("1"), arrival("2", series_instance_uid="other")])
    assert claim(ledger, most_instances=1) == ["1"]
    settle(ledger, State.DELAYED, next_attempt_at=time.now + 60)
    claim(ledger, "c")
    settle(ledger, State.ACKNOWLEDGED, "c", sha256="d")
    time.now -= 7200
    ledger.queue.requeue_due(A)
    assert states(ledger)["1"] == State.DELAYED
    ledger.queue.bring_forward()
    ledger.queue.requeue_due(A)
    assert states(ledger)["1"] == State.WAITING
    (row,) = ledger.confirmations.acknowledged(A, "other")
    assert ledger.confirmations.acknowledged_at([row.id]) == {row.id: time.now}
    time.now += 16
    assert ledger.confirmations.due(A) == ["other"]


def test_giving_up_counts_from_when_it_was_to_be_sent(ledger, time):
    """Not from when Orthanc received it, which may be years ago."""
    ledger.arrivals.record([arrival("1", received_at=1.0)])
    ledger.queue.give_up(A, ORTHANC, time.now - 60)
    assert states(ledger) == {"1": State.WAITING}
    time.now += 61
    ledger.queue.give_up(A, ORTHANC, time.now - 60)
    assert states(ledger) == {"1": State.QUARANTINED}
    with ledger.reading() as connection:
        (event,) = connection.execute(sql.select(events))
    assert event.detail == "gave_up: GiveUpAfterSeconds have passed"


def test_batches_hold_what_fits(ledger):
    ledger.arrivals.record([arrival(str(n), size_bytes=400) for n in range(5)])
    assert claim(ledger, most_bytes=1000) == ["0", "1"]
    assert claim(ledger, "c", most_bytes=1) == ["2"]  # one at least, whatever its size
    assert claim(ledger, "d", most_batches=2) == []
    assert claim(ledger, "d", most_instances=1) == ["3"]


def test_no_batch_has_a_sop_instance_uid_twice(ledger):
    ledger.arrivals.record([arrival("1"), arrival("2", sop_instance_uid="1.1"), arrival("3")])
    assert claim(ledger) == ["1", "3"]
    assert claim(ledger, "c") == ["2"]


def test_suspects_go_in_small_company(ledger):
    ledger.arrivals.record([arrival(str(n)) for n in range(6)])
    claim(ledger)
    settle(ledger, State.WAITING, max_batch_instances=2)
    assert [claim(ledger, f"b{n}") for n in range(4)] == [["0", "1"], ["2", "3"], ["4", "5"], []]


def test_urgent_instances_overtake(ledger):
    ledger.arrivals.record([arrival("old", priority=Priority.BACKFILL), arrival("new")])
    assert claim(ledger, "first") == ["new"]  # one batch, one priority
    assert claim(ledger, "second") == ["old"]


def test_held_instances_wait_for_their_study(ledger):
    ledger.arrivals.record(
        [arrival("1", held_for_orthanc_id="s"), arrival("2", held_for_orthanc_id="t")]
    )
    assert claim(ledger) == []
    assert sorted(ledger.arrivals.held(ORTHANC)) == ["s", "t"]
    ledger.arrivals.release(["s"])
    assert claim(ledger) == ["1"]
    assert ledger.arrivals.held(ORTHANC) == ["t"]


def test_a_batch_that_nobody_sends_waits_again(ledger):
    ledger.arrivals.record([arrival("1"), arrival("2")])
    claim(ledger, most_instances=1)
    claim(ledger, "other")
    assert sorted(ledger.queue.claimed_batches("w")) == ["b", "other"]
    ledger.queue.requeue_batches(["b"])
    assert ledger.queue.claimed_batches("w") == ["other"]
    assert claim(ledger, "c") == ["1"]


def test_what_a_dead_worker_claimed_waits_again(ledger):
    ledger.arrivals.record([arrival("1"), arrival("2")])
    claim(ledger, most_instances=1)
    ledger.queue.requeue_claims_of("another")
    assert states(ledger) == {"1": State.SENDING, "2": State.WAITING}
    ledger.queue.requeue_claims_of("w")
    assert states(ledger) == {"1": State.WAITING, "2": State.WAITING}


def test_an_outcome_settles_no_row_that_was_taken_over(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    (row,) = held(ledger, "b")
    ledger.queue.requeue_claims_of("w")
    ledger.queue.settle("b", [Outcome(row.id, State.ACKNOWLEDGED, sha256="d")])
    assert states(ledger) == {"1": State.WAITING}
    assert claim(ledger, "c") == ["1"]
    ledger.queue.settle("b", [Outcome(row.id, State.QUARANTINED, "invalid")])
    assert states(ledger) == {"1": State.SENDING}
    ledger.queue.settle("c", [Outcome(row.id, State.ACKNOWLEDGED, sha256="d")])
    assert states(ledger) == {"1": State.ACKNOWLEDGED}


def test_a_gap_and_what_was_unreadable_are_remembered(ledger):
    assert not ledger.arrivals.has_gap(ORTHANC)
    ledger.arrivals.open_gap(ORTHANC)
    ledger.arrivals.open_gap(ORTHANC)
    assert ledger.arrivals.has_gap(ORTHANC)
    ledger.arrivals.close_gap(ORTHANC)
    assert not ledger.arrivals.has_gap(ORTHANC)
    assert ledger.arrivals.unreadable(ORTHANC) == []
    ledger.arrivals.set_unreadable(ORTHANC, ["1", "2"])
    assert ledger.arrivals.unreadable(ORTHANC) == ["1", "2"]
    ledger.arrivals.set_unreadable(ORTHANC, [])
    assert ledger.arrivals.unreadable(ORTHANC) == []
