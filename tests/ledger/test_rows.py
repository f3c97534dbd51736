"""Rows, and the questions that are asked of them again and again."""

from __future__ import annotations

from dataclasses import fields

import sqlalchemy as sql

from orthanc_gcp.ledger.rows import COLUMNS, Transfer, in_state, portions
from orthanc_gcp.ledger.schema import State, transfers
from tests.support.ledgers import A, arrival


def test_a_transfer_is_made_of_its_columns_in_their_order(ledger):
    ledger.arrivals.record([arrival("1", size_bytes=17)])
    with ledger.reading() as connection:
        (row,) = connection.execute(sql.select(*COLUMNS))
    transfer = Transfer(*row)
    assert (transfer.orthanc_id, transfer.size_bytes, transfer.replace) == ("1", 17, False)
    assert [column.name for column in COLUMNS] == [field.name for field in fields(Transfer)]


def test_portions_leave_nothing_out():
    assert [list(some) for some in portions([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(portions([], 2)) == []


def test_rows_in_a_state_are_found_by_the_index_over_them(sqlite_ledger):
    for state, index in (
        (State.DELAYED, "gcp_transfers_delayed"),
        (State.ACKNOWLEDGED, "gcp_transfers_acknowledged"),
    ):
        due = transfers.c.next_attempt_at <= 1.0
        query = sql.select(transfers.c.id).where(in_state(A, state), due)
        written = query.compile(sqlite_ledger.engine, compile_kwargs={"literal_binds": True})
        with sqlite_ledger.reading() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}").all()
        assert index in str(plan)
