"""The rows that are not settled, portion by portion, and how a person ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSENT, UNSURE, State, transfers
from orthanc_gcp.ledger.stored_digests import unsure_where
from orthanc_gcp.ledger.versions import reopen_versions
from orthanc_gcp.reasons import TransferReason

__all__ = ["ENDED", "OPEN", "close_rows", "move_rows", "open_rows", "take_up", "withdraw"]

OPEN = (State.HELD, State.WAITING, State.DELAYED)
ENDED = (State.WITHDRAWN, State.LOST)
"""The states of what nobody sends, and nobody has said that it is not to be sent to anyone."""
_PORTION = 200
_TRIES = 10
"""A worker may write down instances in the very moment in which they are handed over."""


def open_rows(
    ledger: Ledger, of: sql.ColumnElement[bool], states: Sequence[State] = OPEN
) -> Iterator[Sequence[Any]]:
    """Such rows in such states, some at once; no query lasts while they are used.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    last = 0
    while True:
        query = (
            sql.select(transfers)
            .where(of, transfers.c.state.in_(states), transfers.c.id > last)
            .order_by(transfers.c.id)
            .limit(_PORTION)
        )
        with ledger.reading() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return
        yield rows
        last = rows[-1].id


def move_rows(
    ledger: Ledger,
    of: sql.ColumnElement[bool],
    move: Callable[[Sequence[Any]], int],
    states: Sequence[State] = OPEN,
) -> int:
    """Hand over such rows in such states, portion by portion; how many are moved.

    Parameters
    ----------
    move
        Moves some in one transaction, and says how many; it is called again where a worker has
        written down meanwhile what it was about to.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: what was moved before stays so.
    """
    moved = 0
    for rows in open_rows(ledger, of, states):
        for tries in range(1, _TRIES + 1):
            try:
                moved += move(rows)
                break
            except sql.exc.IntegrityError:
                if tries == _TRIES:
                    raise
    return moved


def close_rows(ledger: Ledger, of: sql.ColumnElement[bool], states: Sequence[State] = OPEN) -> int:
    """End such rows, as a person wants it; how many transfers are withdrawn by it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: some may be closed already.
    """
    closed = 0
    while some := _close_each(ledger, of, states):  # older versions of what was closed wait by now
        closed += some
    return closed


def _close_each(ledger: Ledger, of: sql.ColumnElement[bool], states: Sequence[State]) -> int:
    closed, words = 0, "closed by a person"
    for rows in open_rows(ledger, of, states):
        with ledger.writing() as connection:
            ids = [row.id for row in rows]
            closed += withdraw(ledger, connection, ids, TransferReason.CLOSED, words, states)
    return closed


def withdraw(
    ledger: Ledger,
    connection: sql.Connection,
    rows: Sequence[int],
    reason: TransferReason,
    words: str,
    states: Sequence[State] = OPEN,
) -> int:
    """Send nothing of these rows, as far as they are still in such states; how many are withdrawn.

    Older versions of their instances, which were not sent because of them, wait again.

    Parameters
    ----------
    reason, words
        Why, for programs and for people.
    """
    of, now = transfers.c, ledger.now()
    mine = sql.select(of.id).where(of.id.in_(rows), of.state.in_(states)).with_for_update()
    still = connection.scalars(mine).all()
    values = {**UNSENT, "state": State.WITHDRAWN, "reason": reason, "detail": words}
    connection.execute(
        transfers.update().where(of.id.in_(still)).values(**values, held_for_orthanc_id=None)
    )
    add_for(connection, now, still, reason.replace("_", " "))
    reopen_versions(connection, now, still)
    return len(still)


def take_up(connection: sql.Connection, row: int, now: float, **described: object) -> None:
    """A row waits again, for what is handed over to it.

    Parameters
    ----------
    described
        Columns that say what that is: the file, when it was received.
    """
    of = transfers.c
    seen = sql.func.coalesce(of.stored_sha256, of.sha256, UNSURE)
    confirmed = of.state == State.CONFIRMED, seen
    values = {
        **UNSENT,
        **described,
        "state": State.WAITING,
        "held_for_orthanc_id": None,
        "sha256": None,
        "stored_sha256": sql.case(
            confirmed, else_=unsure_where(of.worker.is_not(None) | of.replace)
        ),
        "attempts": 0,
        "replace": False,
        "queued_at": now,
    }
    connection.execute(transfers.update().where(of.id == row).values(values))
    add_for(connection, now, [row], "returned")
