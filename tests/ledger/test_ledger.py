"""The parts of a ledger work on one database, by one clock."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers
from tests.support.ledgers import BEGIN, SERIES, A, arrival, claim, settle_batch, states
from tests.support.transfers import events_of


def test_the_way_of_an_instance_through_all_parts(ledger, clock):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    clock.now += 1
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    clock.now += 1
    found = {row.id: ledger.now() for row in ledger.confirmations.acknowledged(A, SERIES)}
    ledger.confirmations.confirm(found)
    ledger.events.add(A, "retried", "", "study", "1.1")
    ledger.key_values.set("paused:account", True)
    with ledger.reading() as connection:
        (row,) = connection.execute(sql.select(transfers))
    assert (row.queued_at, row.acknowledged_at, row.confirmed_at) == (BEGIN, BEGIN + 1, BEGIN + 2)
    assert [event.occurred_at for event in events_of(ledger, "retried")] == [BEGIN + 2]


def test_another_object_on_the_same_database_sees_the_same(ledger, clock):
    ledger.arrivals.record([arrival("1")])
    other = Ledger(ledger.engine, clock)
    assert claim(other) == ["1"]
    assert states(ledger) == {"1": State.SENDING}
    with other.writing() as connection:
        connection.execute(transfers.update().values(state=State.WAITING))
    assert states(ledger) == {"1": State.WAITING}
