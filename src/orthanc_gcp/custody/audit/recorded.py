"""What the ledger has of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.audit.comparison import Recorded
from orthanc_gcp.custody.audit.findings import Uids
from orthanc_gcp.ledger.destinations import AccountStore, StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import COLUMNS, Transfer
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.reasons import TransferReason

__all__ = ["StudyRows", "recorded"]

_ALL = [
    *COLUMNS,
    transfers.c.acknowledged_at,
    transfers.c.change_seq,
    transfers.c.queued_at,
    transfers.c.destination_id,
    transfers.c.confirmed_at,
]
_SAME = {"account", "source", "study_instance_uid", "series_instance_uid", "state", "reason"}
_REPEATED = {number for number, column in enumerate(_ALL) if column.name in _SAME}
"""What many rows have in common is in memory once."""
_STATE, _REASON = (_ALL.index(column) for column in (transfers.c.state, transfers.c.reason))


@dataclass
class StudyRows:
    """The rows of a study, and the stores that they are about.

    Attributes
    ----------
    by_account
        Those of each account, whatever its store was.
    """

    by_account: dict[str, list[Recorded]]
    _stores: dict[int, StoreName | None]
    _current: dict[str, AccountStore]

    def of(self, account: str) -> list[Recorded]:
        """Those of an account that are about the store that it is by now."""
        current = self._current.get(account)
        return [
            row
            for row in self.by_account.get(account, [])
            if current is not None and row.destination_id == current.id
        ]

    def former(self, account: str) -> list[tuple[Recorded, str]]:
        """Those of an account that are about a store that it was formerly, and which."""
        current = self._current.get(account)
        return [
            (row, str(self._stores.get(row.destination_id) or "a store that is not known"))
            for row in self.by_account.get(account, [])
            if current is None or row.destination_id != current.id
        ]

    def names(self, account: str, source: str | None) -> set[str]:
        """What of an Orthanc is written down for an account, by Orthanc's identifiers.

        What was given up for a store that it was formerly says nothing of the present one.
        """
        former = [row for row, _ in self.former(account) if not row.is_given_up]
        rows = [*self.of(account), *former]
        return {row.transfer.orthanc_id for row in rows if row.transfer.source == source}

    def in_store_of(self, account: str) -> set[Uids]:
        """What any account is to have, or had, in the store that this one is by now."""
        mine = {row.uids for row in self.by_account.get(account, [])}
        return mine | {row.uids for row in self._of_others(account)}

    def confirmed_for_others(self, account: str) -> list[Recorded]:
        """What is confirmed for other accounts in the store that this one is by now."""
        return [row for row in self._of_others(account) if row.transfer.state == State.CONFIRMED]

    def _of_others(self, account: str) -> Iterator[Recorded]:
        current = self._current.get(account)
        name = None if current is None else current.name
        for other, rows in self.by_account.items():
            if other != account and name is not None:
                yield from (row for row in rows if self._stores.get(row.destination_id) == name)


def recorded(ledger: Ledger, study: str) -> StudyRows:
    """The rows of a study, by its Study Instance UID.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of = transfers.c
    found: dict[str, list[Recorded]] = {}
    with ledger.reading() as connection:
        rows = connection.execute(
            sql.select(*_ALL).where(of.study_instance_uid == study).order_by(of.id)
        )
        for values in rows:
            sound = _sound(values)
            row = Recorded(Transfer(*sound[: len(COLUMNS)]), *sound[len(COLUMNS) :])
            found.setdefault(row.transfer.account, []).append(row)
    known = ledger.destinations.all()
    stores = {one.id: one.name for one in known}
    return StudyRows(found, stores, ledger.destinations.current(known))


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
