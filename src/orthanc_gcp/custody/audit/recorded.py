"""What the ledger has of a study."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.custody.audit.comparison import Recorded
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import COLUMNS, Transfer
from orthanc_gcp.ledger.schema import transfers

__all__ = ["recorded"]


def recorded(ledger: Ledger, study: str) -> dict[str, list[Recorded]]:
    """The rows of a study by account, by its Study Instance UID.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of = transfers.c
    query = sql.select(*COLUMNS, of.acknowledged_at, of.change_seq)
    found: dict[str, list[Recorded]] = {}
    with ledger.reading() as connection:
        rows = connection.execute(query.where(of.study_instance_uid == study).order_by(of.id))
        for *values, acknowledged_at, change_seq in rows:
            row = Recorded(Transfer(*values), acknowledged_at, change_seq)
            found.setdefault(row.transfer.account, []).append(row)
    return found
