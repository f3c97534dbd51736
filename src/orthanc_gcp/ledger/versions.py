"""The versions of one instance in one store: the newest that was received is the current one.

Several rows have the same three UIDs where one Orthanc holds an instance under two PatientIDs
(which are part of Orthanc's identifiers, the Orthanc Book, "Orthanc identifiers"), or where several
Orthancs hold it. A store has room for one of them, whichever account it is sent by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import sqlalchemy as sql

from orthanc_gcp.ledger.database import find, reading
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, NewTransfer, Seen, portions
from orthanc_gcp.ledger.schema import UNSENT, UNSURE, State, destinations, transfers
from orthanc_gcp.reasons import TransferReason

__all__ = [
    "Received",
    "Versions",
    "doubt_others",
    "doubt_same",
    "doubt_stored",
    "doubts",
    "held_up",
    "in_order",
    "reopen_current",
    "reopen_versions",
    "supersede_replaced",
    "supersede_unsent",
]

_STORED = (State.ACKNOWLEDGED, State.CONFIRMED)
_MAYBE_STORED = (*_STORED, State.SENDING)
"""What is being sent was maybe compared with what the store had (409)."""
_TO_BE_SENT = (State.WAITING, State.DELAYED, State.SENDING)
_VOID = (State.WITHDRAWN, State.LOST, State.SUPERSEDED)
_WORDS = "a newer version of it, with the same UIDs, was received"


class Received(NamedTuple):
    """How a version came to its Orthanc: by that, the newest of several is known."""

    source: str
    received_at: float
    change_seq: int
    id: int
    reason: str | None

    def is_later(self, other: Received) -> bool:
        """Whether it was received later; Orthanc records whole seconds.

        What came from the store itself is older than whatever was not sent there before.
        """
        changes = (0, 0)  # numbers of two Orthancs cannot be compared
        if self.source == other.source:
            changes = self.change_seq, other.change_seq
        sent, other_sent = (one.reason != TransferReason.RETRIEVED for one in (self, other))
        mine = sent, self.received_at, changes[0], self.id
        return mine > (other_sent, other.received_at, changes[1], other.id)


@dataclass(frozen=True, slots=True)
class _Version:
    """A row, as far as it matters which of several is the newest."""

    id: int
    destination_id: int
    source: str
    orthanc_id: str
    attachment_uuid: str
    size_bytes: int
    study_instance_uid: str
    series_instance_uid: str
    received_at: float
    change_seq: int
    state: str
    sha256: str | None
    stored_sha256: str | None
    worker: str | None
    replace: bool
    reason: str | None

    def is_of_instance_of(self, other: _Version) -> bool:
        """Whether both are of one instance, whose SOP Instance UID both have."""
        return (self.study_instance_uid, self.series_instance_uid) == (
            other.study_instance_uid,
            other.series_instance_uid,
        )

    def is_same_file(self, other: _Version) -> bool:
        """Whether it is what another account is to send, too, as far as that is known."""
        files = {self.attachment_uuid, other.attachment_uuid} - {""}
        return (self.source, self.orthanc_id) == (other.source, other.orthanc_id) and len(files) < 2

    @property
    def received(self) -> Received:
        """How it came to its Orthanc."""
        return Received(self.source, self.received_at, self.change_seq, self.id, self.reason)

    def is_newer(self, other: _Version) -> bool:
        """See :meth:`Received.is_later`."""
        return self.received.is_later(other.received)

    def gives_way_to(self, other: _Version) -> bool:
        """Whether it is not to be sent any more: see :func:`supersede_unsent`."""
        is_to_be_sent = other.source == self.source and other.state != State.DISMISSED
        certain = self.replace or is_to_be_sent
        return certain and other.is_newer(self) and other.state not in _VOID

    def is_replaced_by(self, other: _Version) -> bool:
        """Whether the store had it, and has the other one by now, or may have."""
        return self.state in _STORED and other.is_newer(self) and other.takes_the_place_of(self)

    def takes_the_place_of(self, other: _Version) -> bool:
        """Whether the store has, or may have by now, these bytes in place of the other's."""
        if self.state in _STORED:
            return self.sha256 != other.sha256
        return self.replace and self.state in _TO_BE_SENT

    def may_have_left_another_than(self, other: _Version) -> bool:
        """Whether the store may have other bytes from it, or from its past, than another's."""
        left = {self.stored_sha256} - {None}
        maybe_sent = self.worker is not None or self.state == State.CONFIRMED
        if maybe_sent and not self.is_same_file(other):
            left.add(self.sha256)
        return bool(left - {other.sha256})

    def is_other_than(self, seen: Seen | None) -> bool:
        """Whether what the store was seen to have are not its bytes, as far as these are known."""
        if seen is None or self.sha256 is None:
            return False
        if seen.sha256 is None:
            return self.size_bytes != seen.size_bytes
        return self.sha256 != seen.sha256


_NAMES = [field.name for field in fields(_Version)]
_MINE, _OTHER = transfers.alias("mine"), transfers.alias("other")
# Made once, and by the index of SOP Instance UIDs alone: by that of series, each row would read a
# series.
_SAME_INSTANCE = (
    sql.select(*(_MINE.c[name] for name in _NAMES), *(_OTHER.c[name] for name in _NAMES))
    .join_from(
        _MINE,
        _OTHER,
        (_OTHER.c.sop_instance_uid == _MINE.c.sop_instance_uid) & (_OTHER.c.id != _MINE.c.id),
    )
    .where(_MINE.c.id.in_(sql.bindparam("rows", expanding=True)))
)


class Versions:
    """Which rows are not the current version of their instance."""

    def __init__(self, engine: sql.Engine) -> None:
        self._engine = engine

    def outdated(self, rows: Sequence[int]) -> set[int]:
        """Those of some rows of whose instance a newer version was received, by any Orthanc.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        with reading(self._engine) as connection:
            return {row.id for row, newer in _newer(connection, rows) if newer.state not in _VOID}


def held_up(connection: sql.Connection, rows: Sequence[int]) -> set[int]:
    """Those of some rows of whose instance another version is being sent, by any account."""
    return {row.id for row, other in _versions(connection, rows) if other.state == State.SENDING}


def supersede_unsent(
    connection: sql.Connection, now: float, rows: Sequence[int]
) -> tuple[set[int], set[int]]:
    """Those of some waiting rows that are not to be sent any more, and those not just now.

    Not any more: the same Orthanc has a newer version, whose bytes are others for certain, as its
    PatientID is; or it would replace what the store has, and another Orthanc has a newer version,
    whose bytes may be the same otherwise. One that a person has dismissed is not sent in its place,
    but not replaced either: the store may have it. Not just now: another version is being sent, or
    something else becomes of it in this moment.
    """
    found = list(_versions(connection, rows))
    if not any(row.gives_way_to(other) for row, other in found):
        return set(), {row.id for row, other in found if other.state == State.SENDING}
    # Nobody may withdraw the newer one until the older is superseded by it: who holds it may be
    # about to, and is not waited for, as it may want a row that was chosen here.
    held = _lock(connection, [other.id for _, other in found], skip_locked=True)
    old: set[int] = set()
    busy: set[int] = set()
    for row, other in _versions(connection, rows):
        if other.id not in held or other.state == State.SENDING:
            busy.add(row.id)
        if other.id in held and row.gives_way_to(other):
            old.add(row.id)
    _supersede(connection, now, old)
    return old, busy - old


def supersede_replaced(connection: sql.Connection, now: float, rows: Sequence[int]) -> None:
    """These rows were settled: what they have replaced in the store, or are replaced by, is old.

    One that the store has just taken, or said that it has, shows that it has no newer one any more,
    whoever has deleted that: it is to be read back.
    """
    replaced = _replaced(connection, rows)
    _supersede(connection, now, {one.id for one, _ in replaced})
    settled = set(rows)
    _doubt(connection, now, {newer.id for one, newer in replaced if one.id in settled})


def _replaced(connection: sql.Connection, rows: Sequence[int]) -> list[tuple[_Version, _Version]]:
    """What these rows have replaced, or are replaced by, each with what took its place.

    Both are locked, as they were when it was decided: one may be received anew meanwhile, or
    withdrawn.
    """
    locked: set[int] = set()
    while True:
        found = [
            (one, newer)
            for row, other in _versions(connection, rows)
            for one, newer in ((row, other), (other, row))
            if one.is_replaced_by(newer)
        ]
        concerned = {version.id for pair in found for version in pair}
        if concerned <= locked:
            return found
        _lock(connection, concerned - locked)
        locked |= concerned


def doubts(connection: sql.Connection, rows: Sequence[int]) -> tuple[set[int], set[int]]:
    """Those of some rows of which the store may have another version, and those that may be so.

    It may, where another row of the instance was ever sent, and its bytes were others or are not
    known. They are not known yet, while it is being sent.
    """
    unsure: set[int] = set()
    soon: set[int] = set()
    for row, other in _of_one_instance(connection, rows):
        if other.may_have_left_another_than(row):
            is_sent = other.state == State.SENDING and other.stored_sha256 is None
            (soon if is_sent else unsure).add(row.id)
    return unsure, soon - unsure


def doubt_stored(connection: sql.Connection, now: float, rows: Sequence[int]) -> None:
    """An older state of these rows may have replaced what the store had of their instances.

    Whatever it is known to have of them is to be read back, with its bytes.
    """
    others = {other.id for _, other in _of_one_instance(connection, rows)}
    _doubt(connection, now, others.union(rows))


def doubt_same(
    connection: sql.Connection,
    now: float,
    digests: Mapping[int, str | None],
    seen: Mapping[int, Seen] | None = None,
) -> None:
    """The store has other bytes than these rows, by their SHA-256: nor has it those of others.

    Whoever sends what is the same, or is not what it has, as far as that was seen: it is to be read
    back. The digest of what is being sent is not known yet.
    """
    there = seen or {}

    def is_not_there(row: _Version, other: _Version) -> bool:
        same = other.sha256 == digests[row.id] is not None
        return same or other.is_other_than(there.get(row.id))

    others = {
        other.id
        for row, other in _of_one_instance(connection, list(digests))
        if other.state == State.SENDING or (other.state in _STORED and is_not_there(row, other))
    }
    _doubt(connection, now, others)


def doubt_others(connection: sql.Connection, now: float, rows: Sequence[int]) -> None:
    """What else is confirmed of the instances of these rows does not say what the store has now."""
    others = {
        other.id for _, other in _of_one_instance(connection, rows) if other.state in _MAYBE_STORED
    }
    for some in portions(sorted(others.difference(rows)), MOST_PARAMETERS):
        mine = transfers.c.id.in_(some)
        connection.execute(transfers.update().where(mine).values(_UNSURE))
        is_read = transfers.c.state.in_((State.ACKNOWLEDGED, State.SENDING))
        connection.execute(transfers.update().where(mine, is_read).values(next_attempt_at=now))


_UNSURE: dict[str, Any] = {
    "stored_sha256": UNSURE,
    "reason": sql.case(
        (transfers.c.reason == TransferReason.COMPARED, sql.null()), else_=transfers.c.reason
    ),
}
"""The store may have something else by now, whatever it was compared with before."""


def _doubt(connection: sql.Connection, now: float, rows: Collection[int]) -> None:
    """What is stored of these rows is to be read back, with its bytes.

    What came from the store itself was never acknowledged: it was there when it was retrieved. Of
    what is being sent, what it was compared with may be gone: when it is doubted is remembered.
    """
    of = transfers.c
    again = {
        "state": State.ACKNOWLEDGED,
        "acknowledged_at": sql.func.coalesce(of.acknowledged_at, of.confirmed_at, now),
        "confirmed_at": None,
        "next_attempt_at": now,
    }
    for some in portions(sorted(rows), MOST_PARAMETERS):
        mine = of.id.in_(some)
        connection.execute(transfers.update().where(mine).values(_UNSURE))
        there = transfers.update().where(mine, of.state.in_(_STORED))
        connection.execute(there.values(again))
        is_sent = transfers.update().where(mine, of.state == State.SENDING)
        connection.execute(is_sent.values(next_attempt_at=now))


def reopen_versions(connection: sql.Connection, now: float, rows: Sequence[int]) -> None:
    """These rows are not sent any more: what they had superseded may be the newest again."""
    _reopen(
        connection,
        now,
        {other.id for _, other in _versions(connection, rows) if other.state == State.SUPERSEDED},
    )


def reopen_current(connection: sql.Connection, now: float, rows: Sequence[int]) -> set[int]:
    """Those of some rows, just superseded, that have no newer version: they wait again.

    That was withdrawn, or lost, since it was seen.
    """
    _lock(connection, {newer.id for _, newer in _newer(connection, rows)})
    outdated = {row.id for row, newer in _newer(connection, rows) if newer.state not in _VOID}
    current = set(rows) - outdated
    _reopen(connection, now, current)
    return current


def _reopen(connection: sql.Connection, now: float, rows: Collection[int]) -> None:
    """What is superseded of these rows waits again."""
    for some in portions(sorted(rows), MOST_PARAMETERS):
        fresh = {**UNSENT, "state": State.WAITING, "attempts": 0, "queued_at": now}
        still = transfers.c.id.in_(some), transfers.c.state == State.SUPERSEDED
        connection.execute(transfers.update().where(*still).values(fresh))


_READ_BEFORE = sql.select(
    transfers.c.source,
    transfers.c.study_instance_uid,
    transfers.c.series_instance_uid,
    transfers.c.sop_instance_uid,
    transfers.c.change_seq,
    transfers.c.received_at,
).where(
    transfers.c.sop_instance_uid.in_(sql.bindparam("instances", expanding=True)),
    transfers.c.change_seq > 0,
)
ONE_SECOND = 1.0
"""Orthanc records whole seconds."""


def in_order(connection: sql.Connection, arrivals: Sequence[NewTransfer]) -> list[NewTransfer]:
    """What arrives while Orthanc's clock is set back: none is older than a version before it.

    The numbers of changes say which version an Orthanc has received later. Its clock says so
    everywhere else, as these numbers begin anew in an index that was restored.
    """
    read: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for some in portions(arrivals, MOST_PARAMETERS):
        wanted = {"instances": [one.sop_instance_uid for one in some]}
        for *key, seq, received_at in find(connection, _READ_BEFORE, wanted):
            read.setdefault(tuple(key), []).append((seq, received_at))
    found = []
    for one in sorted(arrivals, key=lambda arrival: arrival.change_seq):
        versions = read.setdefault((one.source, *_uids(one)), [])
        before = [at for seq, at in versions if seq < one.change_seq and at > one.received_at]
        if before:
            one = replace(one, received_at=max(before) + ONE_SECOND)
        versions.append((one.change_seq, one.received_at))
        found.append(one)
    return found


def _uids(one: NewTransfer) -> tuple[str, str, str]:
    return one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid


def _versions(
    connection: sql.Connection, rows: Sequence[int]
) -> Iterator[tuple[_Version, _Version]]:
    """Each of some rows with each other version of its instance: most have none."""
    for row, other in _of_one_instance(connection, rows):
        if not row.is_same_file(other):
            yield row, other


def _newer(connection: sql.Connection, rows: Sequence[int]) -> Iterator[tuple[_Version, _Version]]:
    """Each of some rows with each newer version of its instance, whatever became of that."""
    return ((row, other) for row, other in _versions(connection, rows) if other.is_newer(row))


def _of_one_instance(
    connection: sql.Connection, rows: Sequence[int]
) -> Iterator[tuple[_Version, _Version]]:
    """Each of some rows with each other row of its instance that is for the same store."""
    stores: dict[int, object] | None = None
    for some in portions(rows, MOST_PARAMETERS):
        for found in find(connection, _SAME_INSTANCE, {"rows": list(some)}):
            row, version = _Version(*found[: len(_NAMES)]), _Version(*found[len(_NAMES) :])
            if not version.is_of_instance_of(row):
                continue
            one, other = row.destination_id, version.destination_id
            if one != other and stores is None:
                stores = _stores(connection)
            if one == other or (stores and stores.get(one, one) == stores.get(other, other)):
                yield row, version


def _stores(connection: sql.Connection) -> dict[int, object]:
    """What several accounts may have in common: destination -> store, where that is known."""
    of = destinations.c
    query = sql.select(of.id, of.endpoint, of.store).where(of.store.is_not(None))
    return {number: (endpoint, store) for number, endpoint, store in connection.execute(query)}


def _lock(
    connection: sql.Connection, rows: Collection[int], *, skip_locked: bool = False
) -> set[int]:
    """Keep other transactions from changing these rows until the end of this one; which it does."""
    held: set[int] = set()
    for some in portions(sorted(rows), MOST_PARAMETERS):
        mine = sql.select(transfers.c.id).where(transfers.c.id.in_(some)).order_by(transfers.c.id)
        held.update(connection.scalars(mine.with_for_update(skip_locked=skip_locked)))
    return held


def _supersede(connection: sql.Connection, now: float, rows: Collection[int]) -> None:
    for some in portions(sorted(rows), MOST_PARAMETERS):
        connection.execute(
            transfers.update()
            .where(transfers.c.id.in_(some))
            .values(
                state=State.SUPERSEDED,
                reason=TransferReason.SUPERSEDED,
                detail=_WORDS,
                batch=None,
                next_attempt_at=None,
                stored_sha256=UNSURE,
            )
        )
        add_for(connection, now, some, "superseded")
