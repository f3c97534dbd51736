"""What is still to be sent of each index, and what becomes of it when its Orthanc stays away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.intake.identity import (
    Match,
    has_mark,
    is_apart,
    mark_of,
    newest_received,
    recognize,
)
from orthanc_gcp.custody.intake.open_rows import (
    ENDED,
    OPEN,
    close_rows,
    move_rows,
    take_up,
    withdraw,
)
from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.indexes import add_marks
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor
from orthanc_gcp.ledger.schema import UNSENT, State, transfers
from orthanc_gcp.ledger.stored_digests import unsure_where
from orthanc_gcp.orthanc.resources import Description, OrthancSource, seconds_of
from orthanc_gcp.reasons import TransferReason

__all__ = [
    "GONE",
    "SEEN_WITHIN",
    "OpenTransfers",
    "close",
    "hand_over",
    "open_transfers",
    "seen_indexes",
    "separate",
]

_log = logging.getLogger(__name__)

SEEN_WITHIN = 300.0
"""An Orthanc with an index was there just now, if that is so many seconds ago."""
GONE = "no Orthanc that a worker follows has this index any more"
_COUNTED = (*OPEN, State.SENDING)


@dataclass(frozen=True)
class OpenTransfers:
    """What is still to be sent of an index.

    Attributes
    ----------
    source, name
        What the ledger calls the index; what its Orthanc was called.
    since, seen_at
        When following began, and when an Orthanc last had it, in seconds since 1970; None where
        that is not known.
    instances
        Each once for every destination.
    oldest_seconds
        For how long the oldest of them has been to be sent; None without any.
    reason
        Why they wait; None while an Orthanc has the index.
    """

    source: str
    name: str
    since: float | None
    seen_at: float | None
    instances: int
    oldest_seconds: float | None
    reason: str | None


def seen_indexes(ledger: Ledger) -> set[str]:
    """The indexes that an Orthanc had just now, which a worker follows.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    now = ledger.now()
    return {
        one.source
        for one in ledger.indexes.all()
        if one.seen_at is not None and now - one.seen_at < SEEN_WITHIN
    }


def open_transfers(ledger: Ledger) -> list[OpenTransfers]:
    """What is still to be sent of each index that was ever followed.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of, now = transfers.c, ledger.now()
    query = (
        sql.select(of.source, sql.func.count().label("count"), sql.func.min(of.queued_at))
        .where(of.state.in_(_COUNTED))
        .group_by(of.source)
    )
    with ledger.reading() as connection:
        counted = {source: (count, oldest) for source, count, oldest in connection.execute(query)}
    known, here = {one.source: one for one in ledger.indexes.all()}, seen_indexes(ledger)
    found = []
    for source in sorted({*known, *counted}):
        cursor, (count, oldest) = known.get(source), counted.get(source, (0, None))
        found.append(
            OpenTransfers(
                source,
                cursor.name if cursor else source,
                cursor.since if cursor else None,
                cursor.seen_at if cursor else None,
                count,
                None if oldest is None else max(0.0, now - oldest),
                None if source in here else GONE,
            )
        )
    return found


def hand_over(ledger: Ledger, orthanc: OrthancSource, source: str, to: str) -> int:
    """Have an Orthanc send what is open of another index, as far as it holds the same instances.

    An instance is the same with the same identifiers and the same size: its bytes are what this
    Orthanc has. Those of the other may have been sent before. What is being sent just now is left
    out.

    Parameters
    ----------
    source, to
        What the ledger calls the two indexes.

    Returns
    -------
    int
        How many transfers.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now; what was handed over before is sent.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away; what was handed over before is sent.
    """

    def move(rows: Sequence[Any]) -> int:
        described, _ = orthanc.describe_each([row.orthanc_id for row in rows])
        there = {one.orthanc_id: one for one in described}
        same = [row for row in rows if _is_same(row, there.get(row.orthanc_id))]
        return _move(ledger, same, there, to)

    return move_rows(ledger, transfers.c.source == source, move)


def close(ledger: Ledger, source: str) -> int:
    """Send nothing more of an index; how many transfers are withdrawn by it.

    What could not be read for the rules makes none, and is not waited for any more.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: some may be closed already.
    """
    unreadable = ledger.arrivals.unreadable(source)
    if unreadable:
        words = "%d instances of %s, which its Orthanc could not read, are not waited for any more"
        _log.warning(words, len(unreadable), source)
        ledger.arrivals.change_unreadable(source, (), unreadable)
    return close_rows(ledger, transfers.c.source == source)


def separate(ledger: Ledger, orthanc: OrthancSource) -> str:
    """Follow an index by itself that is a copy of another, from where the two are not the same.

    Returns
    -------
    str
        What the ledger calls it.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now, or it has no such copy.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing has changed.
    """
    name = orthanc.name()
    known = ledger.indexes.all()
    found = recognize(ledger, orthanc, name, known)
    if found is None or not (found[0] is Match.RESTORED or is_apart(orthanc, found[1])):
        raise OrthancError("its index is not a copy that has gone on otherwise than the original")
    place, since = _place_of_copy(ledger, orthanc, found[1])
    marks = add_marks((), [mark_of(one) for one in orthanc.newest_changes()])
    if not marks:
        raise OrthancError(
            "its changes were cleared, and nothing else tells it from the original: try again when "
            "it has received something"
        )
    begun = ledger.indexes.begin(name, place, min(since, ledger.now()), marks, known)
    if begun is None:
        raise OrthancError("another index was begun just now: try again")
    Patients(ledger).copy(found[1].source, begun.source)
    return begun.source


def _place_of_copy(ledger: Ledger, orthanc: OrthancSource, original: Cursor) -> tuple[int, float]:
    """The change after which a copy is not the same as its original, and since when.

    Where the copy has no change of before, a comparison finds what it has received since.
    """
    common = [mark for mark in original.marks if has_mark(orthanc, mark)]
    if common:
        return common[0].seq, seconds_of(common[0].date)
    received = newest_received(ledger, orthanc, original.source)
    return orthanc.last_change(), received or ledger.now()


def _is_same(row: Any, there: Description | None) -> bool:
    return there is not None and (
        row.study_instance_uid,
        row.series_instance_uid,
        row.sop_instance_uid,
        row.size_bytes,
    ) == (
        there.study_instance_uid,
        there.series_instance_uid,
        there.sop_instance_uid,
        there.size_bytes,
    )


def _move(ledger: Ledger, rows: Sequence[Any], there: dict[str, Description], to: str) -> int:
    of, moved, reason = transfers.c, 0, TransferReason.HANDED_OVER
    with ledger.writing() as connection:
        own = sql.select(of.destination_id, of.orthanc_id, of.id, of.state).where(
            of.destination_id.in_({row.destination_id for row in rows}),
            of.source == to,
            of.orthanc_id.in_([row.orthanc_id for row in rows]),
        )
        own = own.order_by(of.id).with_for_update()  # its worker may be sending it by now
        twice = {(one.destination_id, one.orthanc_id): one for one in connection.execute(own)}
        for row in rows:
            mine = twice.get((row.destination_id, row.orthanc_id))
            if mine is not None:
                if mine.state in ENDED:
                    file = there[row.orthanc_id].attachment_uuid
                    take_up(connection, mine.id, ledger.now(), attachment_uuid=file)
                words = f"index {to} has it, too, and sends it"
                moved += withdraw(ledger, connection, [row.id], reason, words)
                continue
            changed = connection.execute(
                transfers.update()
                .where(of.id == row.id, of.state.in_(OPEN))
                .values(
                    **UNSENT,
                    source=to,
                    state=State.WAITING,
                    held_for_orthanc_id=None,
                    attachment_uuid=there[row.orthanc_id].attachment_uuid,
                    stored_sha256=unsure_where(of.worker.is_not(None)),
                    change_seq=0,
                    queued_at=ledger.now(),  # its patient is protected here from now on
                )
            )
            if changed.rowcount:
                moved += 1
                add_for(connection, ledger.now(), [row.id], "handed over")
    return moved
