"""The indexes of Orthanc that are followed: which is which, and how far each was read.

An index is Orthanc's database: what it has received, and ``/changes`` about it. It is recognized by
what was last read of its changes, and by the UUIDs that it gave to its files (Orthanc's attachments
have random ones). The names of an Orthanc, which anybody may change, are only for people.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import OneAtATime, lock_alone, reading, writing
from orthanc_gcp.ledger.key_values import KeyValues
from orthanc_gcp.ledger.rows import Cursor, Mark, Missing, Sample
from orthanc_gcp.ledger.schema import change_cursors, transfers

__all__ = [
    "MOST_MARKS",
    "Indexes",
    "SetBackError",
    "add_marks",
    "is_within",
    "undone",
    "write_cursor",
]

MOST_MARKS = 16
"""So many changes are remembered of an index, fewer of its past than of what was read last."""
_NEWEST_MARKS = 4
_SAMPLES = 20
_WANTED = "wanted:"
_UNDONE = "undone:"
_OF_COPY = "copy:"
_CLEARED = "cleared:"


class SetBackError(sql.exc.SQLAlchemyError):
    """The ledger is not as this process has written it: nothing was written.

    It was restored from a backup, or another server has taken over that did not have all yet
    (PostgreSQL, "Log-Shipping Standby Servers": replication is asynchronous by default).
    """

    def __init__(self) -> None:
        super().__init__("the ledger is an earlier state of what it was")


class Indexes:
    """The indexes that the ledger knows."""

    def __init__(self, engine: sql.Engine, now: Callable[[], float]) -> None:
        self._engine, self._now = engine, now
        self._key_values = KeyValues(engine)

    def all(self) -> list[Cursor]:
        """All that were ever followed."""
        with reading(self._engine) as connection:
            return _all(connection)

    def get(self, source: str) -> Cursor | None:
        """How far an index was read; None before the first time."""
        query = sql.select(change_cursors).where(change_cursors.c.source == source)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _cursor(row)

    def begin(
        self,
        name: str,
        seq: int,
        since: float,
        marks: Sequence[Mark] = (),
        known: Collection[Cursor] = (),
        address: str = "",
    ) -> Cursor | None:
        """Begin to follow an index after a change; ``since`` is that place in UTC seconds.

        Parameters
        ----------
        name
            What its Orthanc is called.
        known
            The indexes that this one was compared with. None is begun, and None returned, when
            there is more of them by now to compare with: it may be the same.
        address
            Where its Orthanc is asked; empty of one that has started its worker.
        """
        with self._alone() as connection:
            there = {cursor.source for cursor in _all(connection)}
            if _more_to_compare(connection, known):
                return None
            source = name
            while source in there or _has_rows(connection, source):
                source = f"{name}#{secrets.token_hex(4)}"
            cursor = Cursor(source, seq, since, name, tuple(marks), (), self._now(), since, address)
            connection.execute(change_cursors.insert().values(_values(cursor)))
        return cursor

    def mark(self, cursor: Cursor, known: Collection[Cursor]) -> bool:
        """Write down the first marks of an index; whether nobody was first.

        Two Orthancs of different names may have one empty index: nothing tells so before there is
        something in it.

        Parameters
        ----------
        known
            The indexes that this one was compared with.
        """
        with self._alone() as connection:
            there = {one.source for one in _all(connection)}
            if cursor.source not in there or _more_to_compare(connection, known):
                return False
            write_cursor(connection, cursor, self._now())
        return True

    def forget_unread(self, source: str) -> bool:
        """Forget an index if nothing was read of it: it is another one that is known."""
        mine = change_cursors.c.source == source
        with self._alone() as connection:
            unread = [one for one in _all(connection) if one.source == source and not one.marks]
            if not unread or _has_rows(connection, source):
                return False
            connection.execute(change_cursors.delete().where(mine))
        return True

    @contextmanager
    def _alone(self) -> Iterator[sql.Connection]:
        """A transaction in which no other worker begins to follow an index, or marks one."""
        with writing(self._engine) as connection:
            lock_alone(connection, OneAtATime.FOLLOW_INDEX)
            yield connection

    def seen(self, cursor: Cursor, name: str, address: str = "") -> Cursor:
        """An Orthanc of this name has the index now, and is asked for it at this address, if any.

        One that has started its worker may have others elsewhere, whose address stays.
        """
        now, address = self._now(), address or cursor.address
        seen = replace(cursor, name=name, seen_at=now, address=address)
        update = change_cursors.update().where(change_cursors.c.source == cursor.source)
        with writing(self._engine) as connection:
            connection.execute(
                update.values(name=name, seen_at=now, address=address, read_until=cursor.read_until)
            )
        return seen

    def want(self, source: str) -> None:
        """A worker whose Orthanc has the files of an index cannot follow it, as another does."""
        self._key_values.set(f"{_WANTED}{source}", self._now())

    def is_wanted(self, source: str, within: float) -> bool:
        """Whether some worker did so, so many seconds ago at most."""
        wanted_at = self._key_values.get(f"{_WANTED}{source}", float)
        return wanted_at is not None and abs(self._now() - wanted_at) <= within

    def note_copy(self, source: str, marks: Sequence[Mark]) -> None:
        """Changes of a copy of an index that the index itself does not have; none: no copy."""
        if marks:
            self._key_values.set(
                f"{_OF_COPY}{source}", [list(asdict(one).values()) for one in marks]
            )
        else:
            self._key_values.delete(f"{_OF_COPY}{source}")

    def of_copy(self, source: str) -> list[Mark]:
        """What was noted so."""
        return _marks(self._key_values.get(f"{_OF_COPY}{source}", list))

    def note_cleared(self, source: str, seq: int) -> None:
        """Somebody has cleared the changes of an index, of which was read up to this one."""
        self._key_values.set(f"{_CLEARED}{source}", seq)

    def cleared_to(self, source: str) -> int:
        """What was last noted so; 0 if nothing was."""
        return int(self._key_values.get(f"{_CLEARED}{source}", float) or 0)

    def undo(self, source: str, since: float, until: float) -> None:
        """What an index has received between two moments it may have no more.

        It was restored from a backup, or is a copy; by Orthanc's clock, in seconds since 1970.
        """

        def joined(before: list[Any] | None) -> list[Any]:
            found: list[list[float]] = []
            for first, last in sorted([*_entries(before, (float, float)), [since, until]]):
                if found and first <= found[-1][1]:
                    found[-1][1] = max(found[-1][1], last)
                else:
                    found.append([first, last])
            return found

        self._key_values.change(f"{_UNDONE}{source}", list, joined)

    def undone(self, source: str) -> list[list[float]]:
        """The beginning and the end of each of these times of an index."""
        return undone(self._key_values, source)

    def was_undone(self, source: str, received_at: float) -> bool:
        """Whether what an index has received at a moment may be in it no more, as :meth:`undo`."""
        return is_within(received_at, self.undone(source))

    def samples(self, source: str) -> dict[str, Sample]:
        """The first and the last instances of an index, by Orthanc's identifiers."""
        of = transfers.c
        mine = (of.source == source) & (of.attachment_uuid != "")
        columns = of.orthanc_id, of.attachment_uuid, of.received_at, of.change_seq
        found: dict[str, Sample] = {}
        with reading(self._engine) as connection:
            for order in (of.id.desc(), of.id):
                query = sql.select(*columns).where(mine).order_by(order).limit(_SAMPLES)
                for name, *sample in connection.execute(query):
                    found[name] = Sample(*sample)
        return found

    def samples_between(self, source: str) -> dict[str, Sample]:
        """Some between the first and the last, at ever longer steps into the past."""
        of = transfers.c
        mine = (of.source == source) & (of.attachment_uuid != "")
        with reading(self._engine) as connection:
            # Each by itself: so the database finds it without reading all rows.
            first, last = (
                connection.scalar(sql.select(of.id).where(mine).order_by(order).limit(1)) or 0
                for order in (of.id, of.id.desc())
            )
            each = [
                sql.select(of.orthanc_id, of.attachment_uuid, of.received_at, of.change_seq)
                .where(mine, of.id <= last - (1 << step))
                .order_by(of.id.desc())
                .limit(1)
                .subquery()
                for step in range((last - first).bit_length())
            ]
            found = connection.execute(sql.union_all(*map(sql.select, each))) if each else ()
            return {name: Sample(*sample) for name, *sample in found}

    def has_rows(self, source: str, *, read: bool = False) -> bool:
        """Whether anything of an index was ever to be sent, or to be sent as a change said so."""
        with reading(self._engine) as connection:
            return _has_rows(connection, source, read=read)


def undone(key_values: KeyValues, source: str) -> list[list[float]]:
    """The beginning and the end of each time of which :meth:`Indexes.undo` was told."""
    return _entries(key_values.get(f"{_UNDONE}{source}", list), (float, float))


def is_within(moment: float, times: Collection[Sequence[float]]) -> bool:
    """Whether a moment is in one of some times, each with its beginning and its end."""
    return any(first <= moment <= last for first, last in times)


def write_cursor(
    connection: sql.Connection, cursor: Cursor, now: float, read_to: int | None = None
) -> None:
    """Write down how far an index was read, in a transaction that is open.

    Parameters
    ----------
    read_to
        The last change that was read before, as was written down; None where that is not known.

    Raises
    ------
    SetBackError
        Something else is written down by now.
    """
    of = change_cursors.c
    written = sql.true() if read_to is None else of.seq == read_to
    changed = connection.execute(
        change_cursors.update()
        .where(of.source == cursor.source, written)
        .values({**_values(cursor), "seen_at": now})
    )
    if read_to is not None and not changed.rowcount:
        raise SetBackError


def add_marks(marks: Sequence[Mark], read: Sequence[Mark]) -> tuple[Mark, ...]:
    """The marks of an index after more of it was read, newest first.

    Of what was read last, the changes of different resources: Orthanc forgets those of a resource
    that is deleted.

    Parameters
    ----------
    read
        Oldest first.
    """
    latest: dict[str, Mark] = {}
    for mark in reversed(read):
        latest.setdefault(mark.orthanc_id, mark)
        if len(latest) == _NEWEST_MARKS:
            break
    newest = list(latest.values())
    oldest_new = newest[-1].seq if newest else 0
    remembered = newest + [mark for mark in marks if not newest or mark.seq < oldest_new]
    while len(remembered) > MOST_MARKS:
        del remembered[_closest(remembered)]
    return tuple(remembered)


def _closest(marks: Sequence[Mark]) -> int:
    """Which of the older marks is missed least: the past is remembered at ever longer steps."""

    def share(place: int) -> float:
        age = marks[0].seq - marks[place].seq + 1
        return (marks[place - 1].seq - marks[place + 1].seq) / age

    return min(range(_NEWEST_MARKS, len(marks) - 1), key=share)


def _more_to_compare(connection: sql.Connection, known: Collection[Cursor]) -> bool:
    """Whether an index is new, or has its first marks, since some were read."""
    marked = {one.source: bool(one.marks) for one in known}
    return any(
        one.source not in marked or (one.marks and not marked[one.source])
        for one in _all(connection)
    )


def _all(connection: sql.Connection) -> list[Cursor]:
    query = sql.select(change_cursors).order_by(change_cursors.c.source)
    return [_cursor(row) for row in connection.execute(query)]


def _has_rows(connection: sql.Connection, source: str, *, read: bool = False) -> bool:
    query = sql.select(transfers.c.id).where(transfers.c.source == source).limit(1)
    if read:
        query = query.where(transfers.c.change_seq > 0)
    return connection.scalar(query) is not None


def _values(cursor: Cursor) -> dict[str, Any]:
    return {
        **asdict(cursor),
        "marks": [list(asdict(mark).values()) for mark in cursor.marks],
        "missing": [list(asdict(one).values()) for one in cursor.missing],
    }


def _cursor(row: sql.Row[Any]) -> Cursor:
    # What a damaged value says of an index is nothing: it is recognized by its files then.
    marks = tuple(_marks(row.marks))
    missing = tuple(Missing(*entry) for entry in _entries(row.missing, (int, int, float)))
    name = row.source if row.name is None else row.name
    moments = row.seen_at, row.read_until
    return Cursor(row.source, row.seq, row.since, name, marks, missing, *moments, row.address or "")


def _marks(value: Any) -> list[Mark]:
    return [Mark(*entry) for entry in _entries(value, (int, str, str, str))]


def _entries(value: Any, types: Sequence[type]) -> list[list[Any]]:
    if not isinstance(value, list):
        return []
    return [
        entry
        for entry in value
        if isinstance(entry, list)
        and len(entry) == len(types)
        and all(isinstance(one, kind) for one, kind in zip(entry, types, strict=True))
    ]
