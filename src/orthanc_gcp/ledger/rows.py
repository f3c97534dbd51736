"""The rows of the ledger, as those read and write them who send, read back and report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sql

from orthanc_gcp.ledger.schema import Priority, State, transfers

__all__ = [
    "COLUMNS",
    "MOST_PARAMETERS",
    "Amount",
    "Cursor",
    "Mark",
    "Missing",
    "NewTransfer",
    "Outcome",
    "Sample",
    "Seen",
    "Series",
    "Transfer",
    "each_of",
    "in_state",
    "portions",
    "transfer_of",
    "values_of",
]

MOST_PARAMETERS = 500
"""So many values in one statement: older SQLite takes 999 at most."""

Item = TypeVar("Item")


class Amount(NamedTuple):
    """So many instances, and their bytes."""

    instances: int
    size_bytes: int


class Series(NamedTuple):
    """A series: its own UID does not name it alone, as some modalities use one in many studies."""

    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """An instance that a rule, or somebody, wants at a destination.

    Attributes
    ----------
    retrieved_sha256, retrieved_at
        What came from that very store, and when: these bytes are there, and are not to be sent.
    instead_of
        The UUID of the file that the ledger had of it at that destination, empty for none, when
        Orthanc was asked for this one, which takes the place of no other; None for whichever.
    patient_orthanc_id
        Orthanc's identifier of its patient, which goes by the PatientID; None if it is not known.
    """

    account: str
    source: str
    orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    received_at: float
    attachment_uuid: str = ""
    change_seq: int = 0
    priority: Priority = Priority.LIVE
    held_for_orthanc_id: str | None = None
    retrieved_sha256: str | None = None
    retrieved_at: float | None = None
    instead_of: str | None = None
    patient_orthanc_id: str | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """A row of the ledger, as far as sending needs it.

    Attributes
    ----------
    worker
        The last that had claimed it before it was read: the store may have what it was then.
    """

    id: int
    account: str
    source: str
    orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    attachment_uuid: str
    sha256: str | None
    state: str
    attempts: int
    max_batch_instances: int | None
    replace: bool
    received_at: float
    reason: str | None
    priority: int
    absent_since: float | None = None
    stored_sha256: str | None = None
    worker: str | None = None

    @property
    def series(self) -> Series:
        """The series that it is of."""
        return Series(self.study_instance_uid, self.series_instance_uid)

    @property
    def uids(self) -> tuple[str, str, str]:
        """Those of its study, its series and itself."""
        return self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid

    @property
    def may_be_other(self) -> bool:
        """Whether its store may have other bytes under its UIDs, whatever a search finds there."""
        return self.replace or self.stored_sha256 not in (None, self.sha256)


class Seen(NamedTuple):
    """What a store was seen to have under the UIDs of an instance.

    Attributes
    ----------
    sha256
        None where only its size was asked for, or more came than was read.
    """

    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one instance after an attempt.

    Attributes
    ----------
    other_is_there
        The store may have other bytes of it, whatever it says.
    seen
        What the store has in its place.
    """

    id: int
    state: State
    reason: str | None = None
    detail: str | None = None
    sha256: str | None = None
    next_attempt_at: float | None = None
    max_batch_instances: int | None = None
    replace: bool = False
    attempts: int = 0
    size_bytes: int | None = None
    absent_since: float | None = None
    other_is_there: bool = False
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A change that an index of Orthanc has, by which it is recognized."""

    seq: int
    kind: str
    orthanc_id: str
    date: str


class Sample(NamedTuple):
    """An instance by which an index is recognized.

    Attributes
    ----------
    file
        The UUID of its file in Orthanc.
    received_at
        When Orthanc has received it, in UTC seconds.
    change
        The number of the change that has reported it; 0 where none did.
    """

    file: str
    received_at: float
    change: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Numbers of changes that were not there when those after them were, and since when."""

    first: int
    last: int
    noticed_at: float


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the changes of an index of Orthanc have been read.

    Attributes
    ----------
    source
        What the ledger calls the index.
    seq
        The last change that was read.
    since
        When following began, in UTC seconds.
    name
        What its Orthanc was called when it was last seen.
    marks
        What it is recognized by, newest first.
    missing
        Changes that may become visible yet.
    seen_at
        When an Orthanc last had the index; None of a release that did not write it down.
    read_until
        Up to when all that it had received was read, for certain, in UTC seconds; None of a release
        that did not write it down.
    address
        Where a worker that Orthanc has not started last asked for the index; empty if none did.
    """

    source: str
    seq: int
    since: float
    name: str
    marks: tuple[Mark, ...] = ()
    missing: tuple[Missing, ...] = ()
    seen_at: float | None = None
    read_until: float | None = None
    address: str = ""


COLUMNS = [transfers.c[field.name] for field in fields(Transfer)]
"""What a Transfer is made of, in its order."""


_REPLACE = [column.name for column in COLUMNS].index("replace")


def transfer_of(row: Sequence[Any]) -> Transfer:
    """What a row of these columns is, as any driver gives it."""
    return Transfer(*(*row[:_REPLACE], bool(row[_REPLACE]), *row[_REPLACE + 1 :]))


_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in (NewTransfer, Outcome)}


def values_of(row: NewTransfer | Outcome) -> dict[str, Any]:
    """Its fields by their names: plain values, which need no copy as ``asdict`` makes one."""
    return {name: getattr(row, name) for name in _FIELDS[type(row)]}


def in_state(
    destination: int | sql.BindParameter[int] | None, state: State
) -> sql.ColumnElement[bool]:
    """The rows of a destination in a state; where there is none, there are none."""
    # A literal lets the database see that a partial index serves.
    return (transfers.c.destination_id == destination) & (
        transfers.c.state == sql.literal(state.value, literal_execute=True)
    )


def each_of(column: sql.Column[str], where: sql.ColumnElement[bool]) -> sql.CTE:
    """Each value of a column once, and no value at last.

    The index is asked for one after the other, not for rows.
    """
    first = sql.select(sql.func.min(column).label("value")).where(where)
    found = first.cte("found", recursive=True)
    following = first.where(column > found.c.value).scalar_subquery()
    return found.union_all(sql.select(following).where(found.c.value.is_not(None)))


def portions(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Some items after others."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
