"""The rows of one study, by account."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.audit.findings import Uids
from orthanc_gcp.custody.audit.recorded import recorded
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from tests.support.transfers import arrive, confirm


def test_by_account(ledger, clock):
    arrive(ledger, 2, study="1.1", change_seq=7)
    arrive(ledger, 1, study="1.1", account="b")
    arrive(ledger, 1, study="1.2")
    confirm(ledger)
    found = recorded(ledger, "1.1")
    assert {name: len(rows) for name, rows in found.by_account.items()} == {"a": 2, "b": 1}
    first, second = found.of("a")
    assert (first.change_seq, first.acknowledged_at) == (7, clock.now)
    assert (first.transfer.state, first.transfer.sha256) == ("confirmed", "d")
    assert second.uids == Uids("1.1", "1.1.1", "1.1.1.1")
    assert found.of("b")[0].acknowledged_at is None
    assert (found.of("c"), found.former("a"), found.former("c")) == ([], [], [])
    assert recorded(ledger, "1.3").by_account == {}


def test_an_account_that_is_another_store_by_now(engine, ledger, clock):
    old, new = StoreName("projects/old"), StoreName("projects/new")
    before = Ledger(engine, clock, {"a": old, "b": old})
    arrive(before, 2, study="1.1")
    arrive(before, 1, study="1.1", account="b", prefix="b")
    now = Ledger(engine, clock, {"a": new, "b": old, "c": old})
    found = recorded(now, "1.1")
    assert found.of("a") == []
    assert {store for _, store in found.former("a")} == {"projects/old"}
    arrive(now, 1, study="1.1", prefix="new")
    found = recorded(now, "1.1")
    assert [row.transfer.orthanc_id for row in found.of("a")] == ["new-0"]
    assert len(found.former("a")) == 2
    assert (len(found.of("b")), found.former("b")) == (1, [])
    assert len(found.in_store_of("b")) == 2, "those that account a had there, too"
    assert found.confirmed_for_others("b") == []
    confirm(before)
    (confirmed,) = recorded(now, "1.1").confirmed_for_others("b")
    assert confirmed.uids == Uids("1.1", "1.1.1", "1.1.1.1")
    assert confirmed.confirmed_at == now.now()
    assert recorded(now, "1.1").confirmed_for_others("a") == [], "that is another store"
    assert len(recorded(before, "1.1").of("a")) == 2, "to whom that is its store"


@pytest.mark.parametrize(
    "damage",
    [
        {"received_at": "yesterday"},
        {"sop_instance_uid": b"1"},
        {"size_bytes": "many"},
        {"acknowledged_at": "x"},
        {"change_seq": b""},
    ],
    ids=str,
)
def test_a_damaged_row_needs_a_person(sqlite_ledger, damage):
    arrive(sqlite_ledger, 2, study="1.1")
    ((name, value),) = damage.items()
    with sqlite_ledger.writing() as connection:
        statement = sql.text(f"UPDATE gcp_transfers SET {name} = :value WHERE id = 1")
        connection.execute(statement, {"value": value})
    damaged, sound = recorded(sqlite_ledger, "1.1").of("a")
    assert (damaged.transfer.state, damaged.transfer.reason) == ("quarantined", "damaged")
    assert sound.transfer.state == "waiting"
    assert not damaged.is_newer(sound)
