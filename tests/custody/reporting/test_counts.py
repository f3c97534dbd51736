"""Amounts are added up by what people see of the states."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.counts import COUNTS, Amount, TransferCounts
from orthanc_gcp.ledger.schema import State, transfers
from tests.support.transfers import arrive, confirm, settle


def counted(ledger):
    query = sql.select(*COUNTS).group_by(transfers.c.state)
    with ledger.reading() as connection:
        return TransferCounts.of(connection.execute(query))


def test_nothing(ledger):
    assert counted(ledger) == TransferCounts()
    assert counted(ledger).unfinished == Amount()


def test_what_waits_for_whatever_reason_is_one(ledger):
    arrive(ledger, 1, study="1")
    settle(ledger, State.DELAYED, next_attempt_at=ledger.now() + 9)
    arrive(ledger, 2, study="2", held_for_orthanc_id="series")
    arrive(ledger, 3, study="3", size=7)
    assert counted(ledger).waiting == Amount(6, 300 + 21)
    assert counted(ledger).unfinished == Amount(6, 321)


def test_what_is_done_is_not_unfinished(ledger):
    arrive(ledger, 2, study="1")
    confirm(ledger)
    arrive(ledger, 1, study="2")
    settle(ledger, State.QUARANTINED, reason="invalid")
    counts = counted(ledger)
    assert (counts.confirmed, counts.quarantined) == (Amount(2, 200), Amount(1, 100))
    assert counts.unfinished == Amount()


def test_as_programs_see_it():
    nothing = {"Instances": 0, "Bytes": 0}
    assert TransferCounts(confirmed=Amount(1, 2)).as_json() == {
        "Waiting": nothing,
        "Sending": nothing,
        "Acknowledged": nothing,
        "Confirmed": {"Instances": 1, "Bytes": 2},
        "Quarantined": nothing,
        "Superseded": nothing,
        "Withdrawn": nothing,
        "Lost": nothing,
        "Dismissed": nothing,
    }
