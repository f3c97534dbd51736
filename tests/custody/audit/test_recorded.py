"""The rows of one study, by account."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.audit.findings import Uids
from orthanc_gcp.custody.audit.recorded import recorded
from tests.support.transfers import arrive, confirm


def test_by_account(ledger, clock):
    arrive(ledger, 2, study="1.1", change_seq=7)
    arrive(ledger, 1, study="1.1", account="b")
    arrive(ledger, 1, study="1.2")
    confirm(ledger)
    found = recorded(ledger, "1.1")
    assert {account: len(rows) for account, rows in found.items()} == {"a": 2, "b": 1}
    first, second = found["a"]
    assert (first.change_seq, first.acknowledged_at) == (7, clock.now)
    assert (first.transfer.state, first.transfer.sha256) == ("confirmed", "d")
    assert second.uids == Uids("1.1", "1.1.1", "1.1.1.1")
    assert found["b"][0].acknowledged_at is None
    assert recorded(ledger, "1.3") == {}


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
    damaged, sound = recorded(sqlite_ledger, "1.1")["a"]
    assert (damaged.transfer.state, damaged.transfer.reason) == ("quarantined", "damaged")
    assert sound.transfer.state == "waiting"
    assert not damaged.is_newer(sound)
