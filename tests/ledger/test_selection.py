"""Which instances a selection means."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.selection import Selection
from tests.support.ledgers import BEGIN
from tests.support.transfers import arrive, confirm, settle


@pytest.mark.parametrize(
    ("chosen", "studies"),
    [
        ({}, {"1", "2", "3"}),
        ({"account": "b"}, {"3"}),
        ({"state": State.CONFIRMED}, {"1"}),
        ({"state": State.QUARANTINED}, {"2"}),
        ({"account": "b", "state": State.CONFIRMED}, set()),
        ({"reason": "invalid"}, {"2"}),
        ({"study_instance_uid": "1"}, {"1"}),
        ({"series_instance_uid": "2.1"}, {"2"}),
        ({"sop_instance_uid": "3.1.0"}, {"3"}),
        ({"since": BEGIN + 10}, {"2", "3"}),
        ({"until": BEGIN + 10}, {"1"}),
        ({"since": BEGIN + 10, "until": BEGIN + 20}, {"2"}),
    ],
)
def test_what_fits_all_that_is_given(ledger, chosen, studies):
    arrive(ledger, study="1", received_at=BEGIN)
    confirm(ledger)
    arrive(ledger, study="2", received_at=BEGIN + 10)
    settle(ledger, State.QUARANTINED, reason="invalid")
    arrive(ledger, study="3", account="b", received_at=BEGIN + 20)
    query = sql.select(transfers.c.study_instance_uid).where(*Selection(**chosen).conditions)
    with ledger.reading() as connection:
        assert set(connection.scalars(query)) == studies
