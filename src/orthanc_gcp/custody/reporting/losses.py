"""What is not in Orthanc any more, unsent, and what a person has acknowledged of it.

A person acknowledges what was listed, and nothing else. The list ends at the newest event by which
an instance was lost, and at the newest row of lost changes; both numbers and a digest of all that
is on the list name it. Numbers alone would not do: PostgreSQL gives them in the order in which
transactions ask for them, not in that in which they are committed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.events import add_for, newest_event
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import (
    State,
    acknowledged_losses,
    events,
    lost_changes,
    transfers,
)

__all__ = [
    "Acknowledgement",
    "Acknowledgements",
    "ListChangedError",
    "Losses",
    "LostChanges",
    "LostStudy",
    "acknowledge",
    "acknowledgements",
    "losses",
    "lost_changes_of",
]

_ACKNOWLEDGED = "loss acknowledged"
_LISTED = re.compile(r"([0-9]{1,18})-([0-9]{1,18})-([0-9a-f]{16})")
_NONE, _EVERYTHING = 0, (1 << 63) - 1
_AT_ONCE = 1000


class ListChangedError(Exception):
    """What was listed is not what is lost by now: nothing was acknowledged."""


@dataclass(frozen=True)
class LostStudy:
    """Instances of a study that an account does not get; moments are seconds since 1970, UTC."""

    account: str
    source: str
    study_instance_uid: str
    instances: int
    size_bytes: int
    first_received_at: float
    last_received_at: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Source": self.source,
            "Study": self.study_instance_uid,
            "Instances": self.instances,
            "Bytes": self.size_bytes,
            "Received": [utc(self.first_received_at), utc(self.last_received_at)],
        }


@dataclass(frozen=True)
class LostChanges:
    """Changes of an Orthanc that nobody could read: of what, and of how much, is not known.

    Attributes
    ----------
    first_seq, last_seq
        Their numbers are between these, both included; 0 for newer versions than an index has that
        was restored, which were written down without a change.
    changes
        How many of these numbers.
    """

    account: str
    source: str
    first_seq: int
    last_seq: int
    changes: int
    noticed_at: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Source": self.source,
            "First": self.first_seq,
            "Last": self.last_seq,
            "Changes": self.changes,
            "Noticed": utc(self.noticed_at),
        }


@dataclass(frozen=True)
class Losses:
    """What nobody has acknowledged, or what was acknowledged just now.

    Attributes
    ----------
    listed
        What :func:`acknowledge` takes, to acknowledge this and nothing else; None where there is
        nothing.
    has_more
        Whether more is lost than is listed.
    """

    studies: tuple[LostStudy, ...]
    changes: tuple[LostChanges, ...]
    listed: str | None = None
    has_more: bool = False

    @property
    def all(self) -> tuple[LostStudy | LostChanges, ...]:
        """The studies, then the changes."""
        return (*self.studies, *self.changes)

    @property
    def instances(self) -> int:
        """How many instances are lost."""
        return sum(one.instances for one in self.studies)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Studies": [one.as_json() for one in self.studies],
            "Changes": [one.as_json() for one in self.changes],
            "Listed": self.listed,
            "More": self.has_more,
        }


@dataclass(frozen=True)
class Acknowledgement:
    """Who has acknowledged a loss, and when.

    Attributes
    ----------
    at
        Seconds since 1970, UTC.
    by
        With how that is known; None of a ledger that did not write it down.
    """

    loss: LostStudy | LostChanges
    at: float
    by: str | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {**self.loss.as_json(), "Acknowledged": utc(self.at), "By": self.by}


def losses(ledger: Ledger, account: str | None = None, most: int | None = None) -> Losses:
    """What nobody has acknowledged of an account, or of all; what was lost first comes first.

    Parameters
    ----------
    most
        So many studies, and so many gaps in the changes, if not all.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    with ledger.reading() as connection:
        found = _List(account, most)
        found.read(connection.execution_options(yield_per=_AT_ONCE))
    return found.losses


def acknowledge(ledger: Ledger, listed: str, *, by: str, account: str | None = None) -> Losses:
    """A person knows of the losses that were listed: they are not listed any more; which they were.

    Parameters
    ----------
    listed
        What the list of the same account, or of all, was named by.
    by
        Who it is, with how that is known: ``jane (as typed)``.

    Raises
    ------
    ValueError
        No list is named so.
    ListChangedError
        Something of it has been acknowledged or received again meanwhile, or was lost at the
        very moment when it was listed.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing is acknowledged.
    """
    parts = _LISTED.fullmatch(listed)
    if parts is None:
        raise ValueError("expected the Listed of a list of losses")
    now, found = ledger.now(), _List(account)
    with ledger.writing() as connection:
        found.read_again(connection, int(parts[1]), int(parts[2]))
        if found.losses.listed != listed:
            raise ListChangedError("what is lost has changed since it was listed: list it again")
        _end_transfers(connection, found.rows, now, by)
        _end_changes(connection, found, now, by)
        for study in found.losses.studies:
            row = {**asdict(study), "acknowledged_at": now, "acknowledged_by": by}
            connection.execute(acknowledged_losses.insert().values(row))
    return found.losses


@dataclass(frozen=True)
class Acknowledgements:
    """What was acknowledged: of either kind, newest first."""

    studies: tuple[Acknowledgement, ...]
    changes: tuple[Acknowledgement, ...]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Studies": [one.as_json() for one in self.studies],
            "Changes": [one.as_json() for one in self.changes],
        }


def acknowledgements(
    ledger: Ledger, account: str | None = None, most: int | None = None
) -> Acknowledgements:
    """What was acknowledged of an account, or of all.

    Parameters
    ----------
    most
        So many studies, and so many gaps in the changes, if not all.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    with ledger.reading() as connection:
        return Acknowledgements(
            tuple(_acknowledged(connection, acknowledged_losses, LostStudy, account, most)),
            tuple(_acknowledged(connection, lost_changes, LostChanges, account, most)),
        )


def _acknowledged(
    connection: sql.Connection,
    table: sql.Table,
    kind: type[LostStudy | LostChanges],
    account: str | None,
    most: int | None,
) -> Iterator[Acknowledgement]:
    of = table.c
    columns = [of[name] for name in kind.__dataclass_fields__]
    mine = [] if account is None else [of.account == account]
    query = (
        sql.select(*columns, of.acknowledged_at, of.acknowledged_by)
        .where(of.acknowledged_at.is_not(None), *mine)
        .order_by(of.acknowledged_at.desc(), of.id)
        .limit(most)
    )
    for *loss, at, by in connection.execute(query):
        yield Acknowledgement(kind(*loss), at, by)


def lost_changes_of(ledger: Ledger) -> dict[str, int]:
    """How many changes are lost by account, as far as nobody has acknowledged it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of = lost_changes.c
    query = sql.select(of.account, sql.func.sum(of.changes)).where(of.acknowledged_at.is_(None))
    with ledger.reading() as connection:
        return {
            account: int(changes)
            for account, changes in connection.execute(query.group_by(of.account))
        }


class _Row(NamedTuple):
    account: str
    source: str
    study_instance_uid: str
    id: int
    size_bytes: int
    received_at: float
    lost_by: int


class _List:
    """A list of losses while it is read.

    Attributes
    ----------
    rows, gaps
        Those of the transfers and of the lost changes that are on it.
    """

    def __init__(self, account: str | None, most: int | None = None) -> None:
        self._account, self._most = account, most
        self._studies: dict[tuple[str, str, str], LostStudy] = {}
        self._changes: list[LostChanges] = []
        self._last_event, self._last_gap = _NONE, _NONE
        self._digest, self._has_more = hashlib.sha256(), False
        self.rows: list[int] = []
        self.gaps: list[int] = []

    @property
    def losses(self) -> Losses:
        """What is on it."""
        digest = self._digest.hexdigest()[:16]
        name = f"{self._last_event}-{self._last_gap}-{digest}"
        return Losses(
            tuple(self._studies.values()),
            tuple(self._changes),
            name if self.rows or self.gaps else None,
            self._has_more,
        )

    def read(self, connection: sql.Connection) -> None:
        """Read what is lost."""
        # Whoever has some of the rows of a server's cursor only has to close it.
        with connection.execute(_lost_rows(self._account, _EVERYTHING)) as rows:
            self._add_rows(map(_Row._make, rows))
        with connection.execute(_lost_gaps(self._account, _EVERYTHING)) as gaps:
            self._add_gaps(gaps)

    def read_again(self, connection: sql.Connection, last_event: int, last_gap: int) -> None:
        """Read what is lost up to an event and a row of lost changes; nobody else changes it."""
        self._last_event, self._last_gap = last_event, last_gap
        rows = _lost_rows(self._account, last_event).with_for_update(of=transfers)
        self._add_rows(map(_Row._make, connection.execute(rows)))
        self._add_gaps(connection.execute(_lost_gaps(self._account, last_gap).with_for_update()))

    def _add_rows(self, rows: Iterator[_Row]) -> None:
        for row in rows:
            study = row.account, row.source, row.study_instance_uid
            # Rows of one event belong together: the list is named by the last of its events.
            is_next = study not in self._studies and row.lost_by != self._last_event
            if is_next and self._most is not None and len(self._studies) >= self._most:
                self._has_more = True
                return
            self._studies[study] = _with(self._studies.get(study), row)
            self.rows.append(row.id)
            self._digest.update(f"{row.id} {row.lost_by}\n".encode())
            self._last_event = max(self._last_event, row.lost_by)

    def _add_gaps(self, gaps: Iterable[Sequence[Any]]) -> None:
        for number, *values in gaps:
            if len(self._changes) == self._most:
                self._has_more = True
                return
            self._changes.append(LostChanges(*values))
            self.gaps.append(number)
            self._digest.update(f"changes {number}\n".encode())
            self._last_gap = max(self._last_gap, number)


def _lost_rows(account: str | None, last_event: int) -> sql.Select[Any]:
    """The instances that are lost, each with the newest event that says so."""
    of = transfers.c
    is_lost = [of.state == State.LOST, *([] if account is None else [of.account == account])]
    rows, lost_by = newest_event(State.LOST, is_lost)
    columns = of.account, of.source, of.study_instance_uid, of.id, of.size_bytes, of.received_at
    return (
        sql.select(*columns, lost_by.label("lost_by"))
        .select_from(rows)
        .where(*is_lost, lost_by <= last_event)
        .order_by(lost_by, of.id)
    )


def _lost_gaps(account: str | None, last: int) -> sql.Select[Any]:
    of = lost_changes.c
    columns = [of[name] for name in LostChanges.__dataclass_fields__]
    mine = [] if account is None else [of.account == account]
    query = sql.select(of.id, *columns).where(of.acknowledged_at.is_(None), of.id <= last, *mine)
    return query.order_by(of.id)


def _with(study: LostStudy | None, row: _Row) -> LostStudy:
    """What is lost of a study, with one more instance."""
    received = row.received_at
    one = study or LostStudy(
        row.account, row.source, row.study_instance_uid, 0, 0, received, received
    )
    return replace(
        one,
        instances=one.instances + 1,
        size_bytes=one.size_bytes + row.size_bytes,
        first_received_at=min(one.first_received_at, received),
        last_received_at=max(one.last_received_at, received),
    )


def _end_transfers(connection: sql.Connection, rows: list[int], now: float, by: str) -> None:
    values = {
        "state": State.WITHDRAWN,
        "detail": f"it was lost, and {by} has acknowledged that",
    }
    for some in portions(rows, MOST_PARAMETERS):
        connection.execute(transfers.update().where(transfers.c.id.in_(some)).values(values))
        add_for(connection, now, some, _ACKNOWLEDGED)


def _end_changes(connection: sql.Connection, found: _List, now: float, by: str) -> None:
    values = {"acknowledged_at": now, "acknowledged_by": by}
    for some in portions(found.gaps, MOST_PARAMETERS):
        mine = lost_changes.c.id.in_(some)
        connection.execute(lost_changes.update().where(mine).values(values))
    for one in found.losses.changes:
        connection.execute(events.insert().values(_event(one, now, by)))


def _event(one: LostChanges, now: float, by: str) -> dict[str, Any]:
    words = f"{one.changes} changes of Orthanc {one.source}, {one.first_seq} to {one.last_seq}"
    return {
        "occurred_at": now,
        "account": one.account,
        "study_instance_uid": "",
        "sop_instance_uid": "",
        "kind": _ACKNOWLEDGED,
        "detail": f"{words}: {by}",
    }
