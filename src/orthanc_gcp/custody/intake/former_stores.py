"""What becomes of what is open for a store that no account of the configuration names any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.intake.open_rows import (
    ENDED,
    OPEN,
    close_rows,
    move_rows,
    take_up,
    withdraw,
)
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSENT, State, destinations, transfers
from orthanc_gcp.ledger.stored_digests import unsure_where
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["close", "hand_over"]

_UNSETTLED = (*OPEN, State.ACKNOWLEDGED, State.QUARANTINED)
"""All but what is being sent just now."""
_FILE = ("attachment_uuid", "size_bytes", "received_at", "change_seq")


def hand_over(ledger: Ledger, destination: int, to: str) -> int:
    """Have what is not settled for one store sent to the one that an account is by now.

    What that one has a row for already is withdrawn; where that row has ended, or is for an older
    version, it waits again in its place. What is being sent just now is left out, and so is what
    no request could ever name. What the former store may have of it says nothing of that one,
    unless they are the same: an account may have been given another name.

    Parameters
    ----------
    destination
        The number of the store.
    to
        An account.

    Returns
    -------
    int
        How many transfers.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away; what was handed over before is sent.
    """
    of = transfers.c
    names = sql.func.coalesce(of.reason, "") != StoreReason.UID
    which = (of.destination_id == destination) & names
    return move_rows(ledger, which, lambda rows: _move(ledger, rows, to), _UNSETTLED)


def close(ledger: Ledger, destination: int) -> int:
    """End what is not settled for a store; how many transfers are withdrawn by it.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: some may be closed already.
    """
    return close_rows(ledger, transfers.c.destination_id == destination, _UNSETTLED)


def _move(ledger: Ledger, rows: Sequence[Any], to: str) -> int:
    of, now = transfers.c, ledger.now()
    with ledger.writing() as connection:
        target = ledger.destinations.of(connection, [to])[to]
        ids = [row.id for row in rows]
        mine = sql.select(transfers).where(of.id.in_(ids), of.state.in_(_UNSETTLED))
        still = connection.execute(mine.with_for_update()).all()
        twice = _has_too(connection, target, still)
        for row in still:
            other = twice.get(row.id)
            if other is not None and (other.state in ENDED or _is_newer(row, other)):
                take_up(connection, other.id, now, **{name: getattr(row, name) for name in _FILE})
        withdraw(
            ledger,
            connection,
            list(twice),
            TransferReason.HANDED_OVER,
            f"account {to} has it for its store, too",
            _UNSETTLED,
        )
        moved = [row for row in still if row.id not in twice]
        add_for(connection, now, [row.id for row in moved], "handed over", f"to account {to}")
        there: dict[str, Any] = {"stored_sha256": None, "worker": None}
        if _may_be_one_store(connection, {target, *(row.destination_id for row in moved)}):
            there = {"stored_sha256": unsure_where(of.replace)}
        for held in (True, False):
            ids = [row.id for row in moved if (row.state == State.HELD) is held]
            connection.execute(
                transfers.update()
                .where(of.id.in_(ids))
                .values(
                    **UNSENT,
                    destination_id=target,
                    account=to,
                    state=State.HELD if held else State.WAITING,
                    sha256=None,
                    **there,
                    attempts=0,
                    replace=False,
                    queued_at=now,
                )
            )
    return len(still)


def _may_be_one_store(connection: sql.Connection, numbers: Collection[int]) -> bool:
    """Whether some destinations are one store, as far as is known."""
    of = destinations.c
    query = sql.select(of.endpoint, of.store).where(of.id.in_(numbers))
    stores = {(endpoint, store) for endpoint, store in connection.execute(query)}
    return len(stores) == 1 or any(store is None for _, store in stores)


def _has_too(connection: sql.Connection, target: int, rows: Sequence[Any]) -> dict[int, Any]:
    """Those of some rows whose instances another store has rows for, by their ids."""
    of = transfers.c
    query = sql.select(transfers).where(
        of.destination_id == target,
        of.source.in_({row.source for row in rows}),
        of.orthanc_id.in_([row.orthanc_id for row in rows]),
    )
    query = query.order_by(of.id).with_for_update()  # a worker may be sending it by now
    there = {(row.source, row.orthanc_id): row for row in connection.execute(query)}
    keys = {row.id: (row.source, row.orthanc_id) for row in rows}
    return {row: there[key] for row, key in keys.items() if key in there}


def _is_newer(row: Any, other: Any) -> bool:
    """Whether it is a version that was received after the one for another store."""
    received = row.received_at, row.change_seq
    is_other = row.attachment_uuid != other.attachment_uuid
    return is_other and received > (other.received_at, other.change_seq)
