"""The queue of all workers."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.ledger.rows import Outcome, Series
from orthanc_gcp.ledger.schema import Priority, State, events
from tests.support.ledgers import ORTHANC, A, arrival, claim, claimed_rows, settle_batch, states
from tests.support.transfers import events_of


def test_a_clock_that_is_set_back_delays_nothing(ledger, clock):
    ledger.arrivals.record([arrival("1"), arrival("2", series_instance_uid="other")])
    assert claim(ledger, most_instances=1) == ["1"]
    settle_batch(ledger, State.DELAYED, next_attempt_at=clock.now + 60)
    claim(ledger, "c")
    settle_batch(ledger, State.ACKNOWLEDGED, "c", sha256="d")
    clock.now -= 7200
    other = Series("study", "other")
    ledger.queue.requeue_due(A)
    assert states(ledger)["1"] == State.DELAYED
    ledger.queue.bring_forward()
    ledger.queue.requeue_due(A)
    assert states(ledger)["1"] == State.WAITING
    (row,) = ledger.confirmations.acknowledged(A, other)
    assert ledger.confirmations.acknowledged_at([row.id]) == {row.id: clock.now}
    clock.now += 16
    assert ledger.confirmations.due(A) == [other]


def test_giving_up_counts_from_when_it_was_to_be_sent(ledger, clock):
    """Not from when Orthanc received it, which may be years ago."""
    ledger.arrivals.record([arrival("1", received_at=1.0)])
    ledger.queue.give_up(A, ORTHANC, clock.now - 60)
    assert states(ledger) == {"1": State.WAITING}
    clock.now += 61
    ledger.queue.give_up(A, ORTHANC, clock.now - 60)
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
    other = arrival("2", sop_instance_uid="1.1", study_instance_uid="another study")
    ledger.arrivals.record([arrival("1"), other, arrival("3")])
    assert claim(ledger) == ["1", "3"]
    assert claim(ledger, "c") == ["2"]


def test_suspects_go_in_small_company(ledger):
    ledger.arrivals.record([arrival(str(n)) for n in range(6)])
    claim(ledger)
    settle_batch(ledger, State.WAITING, max_batch_instances=2)
    assert [claim(ledger, f"b{n}") for n in range(4)] == [["0", "1"], ["2", "3"], ["4", "5"], []]


def test_urgent_instances_overtake(ledger):
    ledger.arrivals.record([arrival("old", priority=Priority.BACKFILL), arrival("new")])
    assert claim(ledger, "first") == ["new"]  # one batch, one priority
    assert claim(ledger, "second") == ["old"]


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
    (row,) = claimed_rows(ledger, "b")
    ledger.queue.requeue_claims_of("w")
    ledger.queue.settle("b", [Outcome(row.id, State.ACKNOWLEDGED, sha256="d")])
    assert states(ledger) == {"1": State.WAITING}
    assert claim(ledger, "c") == ["1"]
    ledger.queue.settle("b", [Outcome(row.id, State.QUARANTINED, "invalid")])
    assert states(ledger) == {"1": State.SENDING}
    assert events_of(ledger, "quarantined") == []
    ledger.queue.settle("c", [Outcome(row.id, State.ACKNOWLEDGED, sha256="d")])
    assert states(ledger) == {"1": State.ACKNOWLEDGED}


def test_what_was_delayed_is_due_when_the_destination_takes_instances_again(ledger, clock):
    ledger.arrivals.record([arrival("1"), arrival("2", account="other")])
    claim(ledger)
    settle_batch(ledger, State.DELAYED, next_attempt_at=clock.now + 3600)
    ledger.queue.hasten("other")
    ledger.queue.requeue_due(A)
    assert states(ledger)["1"] == State.DELAYED
    ledger.queue.hasten(A)
    ledger.queue.requeue_due(A)
    assert states(ledger)["1"] == State.WAITING


def test_what_is_ready_is_what_a_claim_may_have(ledger):
    assert ledger.queue.ready(A, ORTHANC, tuple(Priority), 9) == (0, 0)
    ledger.arrivals.record([arrival(str(n), size_bytes=400) for n in range(5)])
    ledger.arrivals.record([arrival("6", source="other"), arrival("7", priority=Priority.BACKFILL)])
    live = [Priority.LIVE, Priority.DEMANDED]
    assert ledger.queue.ready(A, ORTHANC, live, 99) == (5, 2000)
    assert ledger.queue.ready(A, ORTHANC, live, 3) == (3, 1200)
    assert ledger.queue.ready("unknown", ORTHANC, live, 9) == (0, 0)
    claim(ledger, most_instances=2)
    assert ledger.queue.ready(A, ORTHANC, live, 99) == (3, 1200)
