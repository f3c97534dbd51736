"""Events are added, one at a time or for many rows."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.ledger.database import writing
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.schema import events
from tests.support.ledgers import BEGIN
from tests.support.transfers import arrive, settle


def all_of(ledger) -> list[tuple[object, ...]]:
    with ledger.reading() as connection:
        query = sql.select(events).order_by(events.c.id)
        return [tuple(row)[1:] for row in connection.execute(query)]


def test_an_event_of_an_account_and_one_of_an_instance(ledger):
    ledger.events.add("a", "paused", "")
    ledger.events.add("a", "replacing", "other bytes", "1.2", "1.2.3")
    assert all_of(ledger) == [
        (BEGIN, "a", "", "", "paused", ""),
        (BEGIN, "a", "1.2", "1.2.3", "replacing", "other bytes"),
    ]


def test_an_event_for_each_of_many_rows(ledger):
    arrive(ledger, 1200)
    rows = settle(ledger, "quarantined", 1200, reason="invalid", detail="no")
    before = len(all_of(ledger))
    with writing(ledger.engine) as connection:
        add_for(connection, BEGIN + 1, rows, "seen")
    added = all_of(ledger)[before:]
    assert len(added) == 1200
    assert added[0][0] == BEGIN + 1
    assert {(kind, detail) for *_, kind, detail in added} == {("seen", "invalid: no")}
