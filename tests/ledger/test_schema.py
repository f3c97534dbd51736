"""The tables hold UIDs, sizes, digests and states, and no patient data."""

from __future__ import annotations

import re

import sqlalchemy as sql

from orthanc_gcp.ledger.schema import IS_OWED, UNSENT, UNSETTLED, State, metadata, transfers


def test_every_table_is_known_as_ours():
    assert all(name.startswith("gcp_") for name in metadata.tables)
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    assert all(str(index.name).startswith(index.table.name) for index in indexes)


def test_what_is_about_sending_may_be_nothing():
    assert all(transfers.c[name].nullable for name in UNSENT)


def test_what_is_owed_is_what_was_not_sent_yet():
    quoted = re.findall(r"'(\w+)'", IS_OWED)
    assert set(quoted) == set(UNSETTLED) - {State.ACKNOWLEDGED}


def test_the_age_of_what_is_owed_is_read_from_an_index(sqlite_ledger):
    query = f"SELECT min(queued_at) FROM gcp_transfers WHERE account = 'a' AND {IS_OWED}"
    with sqlite_ledger.reading() as connection:
        plan = connection.execute(sql.text(f"EXPLAIN QUERY PLAN {query}")).all()
    assert "INDEX gcp_transfers_owed" in str(plan)
