"""What the ledger has of a study."""

from __future__ import annotations

from collections.abc import Sequence
from sys import intern
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.audit.comparison import Recorded
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import COLUMNS, Transfer
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.reasons import TransferReason

__all__ = ["recorded"]

_ALL = [*COLUMNS, transfers.c.acknowledged_at, transfers.c.change_seq]
_SAME = {"account", "source", "study_instance_uid", "series_instance_uid", "state", "reason"}
_REPEATED = {number for number, column in enumerate(_ALL) if column.name in _SAME}
"""What many rows have in common is in memory once."""
_STATE, _REASON = (_ALL.index(column) for column in (transfers.c.state, transfers.c.reason))


def recorded(ledger: Ledger, study: str) -> dict[str, list[Recorded]]:
    """The rows of a study by account, by its Study Instance UID.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of = transfers.c
    query = sql.select(*_ALL)
    found: dict[str, list[Recorded]] = {}
    with ledger.reading() as connection:
        rows = connection.execute(query.where(of.study_instance_uid == study).order_by(of.id))
        for values in rows:
            *transfer, acknowledged_at, change_seq = _sound(values)
            row = Recorded(Transfer(*transfer), acknowledged_at, change_seq)
            found.setdefault(row.transfer.account, []).append(row)
    return found


def _sound(values: Sequence[Any]) -> list[Any]:
    """A row as it is, or as a worker that begins would put it into quarantine.

    SQLite stores whatever it is given ("Datatypes In SQLite", type affinity).
    """
    wrong = [
        number
        for number, (value, column) in enumerate(zip(values, _ALL, strict=True))
        if not _fits(value, column)
    ]
    sound = [
        intern(value) if number in _REPEATED and isinstance(value, str) else value
        for number, value in enumerate(values)
    ]
    for number in wrong:
        sound[number] = None if _ALL[number].nullable else _ALL[number].type.python_type()
    if wrong:
        sound[_STATE], sound[_REASON] = State.QUARANTINED, TransferReason.DAMAGED
    return sound


def _fits(value: Any, column: sql.Column[Any]) -> bool:
    if value is None:
        return bool(column.nullable)
    kind = column.type.python_type
    return isinstance(value, (int, float) if kind is float else kind)
