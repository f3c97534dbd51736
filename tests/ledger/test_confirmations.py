"""From acknowledged to confirmed, or back to the queue."""

from __future__ import annotations

from orthanc_gcp.ledger.schema import Priority, State
from tests.support.ledgers import A, arrival, claim, claimed_rows, settle_batch, states


def test_the_way_of_an_instance(ledger):
    ledger.arrivals.record([arrival("1")])
    assert states(ledger) == {"1": State.WAITING}
    assert claim(ledger) == ["1"]
    assert states(ledger) == {"1": State.SENDING}
    assert claim(ledger, "c") == []
    assert ledger.confirmations.fully_sent(A, ["series"]) == []
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    assert ledger.confirmations.fully_sent(A, ["series"]) == ["series"]
    ledger.confirmations.confirm(
        {row.id: ledger.now() for row in ledger.confirmations.acknowledged(A, "series")}
    )
    assert states(ledger) == {"1": State.CONFIRMED}


def test_only_acknowledged_instances_are_confirmed(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    (row,) = claimed_rows(ledger, "b")
    for state in (State.DELAYED, State.QUARANTINED, State.WITHDRAWN):
        ledger.confirmations.confirm({row.id: ledger.now()})
        settle_batch(ledger, state, next_attempt_at=0.0, reason="r")
        ledger.confirmations.confirm({row.id: ledger.now()})
        assert states(ledger) == {"1": state}
        ledger.arrivals.record([arrival("1", priority=Priority.DEMANDED)])
        if state == State.DELAYED:
            ledger.queue.requeue_due(A)
        assert claim(ledger) == ["1"]


def test_a_newer_version_of_an_acknowledged_instance_is_not_confirmed_by_an_old_look(ledger, clock):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="old")
    (seen,) = ledger.confirmations.acknowledged(A, "series")
    ledger.arrivals.record([arrival("1", change_seq=2)])
    ledger.confirmations.confirm({seen.id: clock.now})
    assert states(ledger) == {"1": State.WAITING}
    looked = clock.now
    clock.now += 1
    claim(ledger, "c")
    settle_batch(ledger, State.ACKNOWLEDGED, "c", sha256="new")
    ledger.confirmations.confirm({seen.id: looked})
    assert states(ledger) == {"1": State.ACKNOWLEDGED}
    ledger.confirmations.confirm({seen.id: clock.now})
    assert states(ledger) == {"1": State.CONFIRMED}
