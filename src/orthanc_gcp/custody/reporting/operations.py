"""What people may do with the transfers: pause, resume, retry."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSENT, State, events, transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["pause", "paused_accounts", "resume", "retry"]

_NEVER_STORED = (
    TransferReason.CONFLICT,
    TransferReason.DAMAGED_FILE,
    TransferReason.INVALID,
    TransferReason.REFUSED,
    TransferReason.UNCOMPARED,
)
"""Reasons that say that the store did not take it; elsewhere a digest means that it has."""


def paused_accounts(ledger: Ledger) -> set[str]:
    """The accounts that nothing is sent to, because somebody said so.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    prefix = _paused("")
    found = ledger.key_values.starting_with(prefix)
    return {name.removeprefix(prefix) for name, value in found.items() if value}


def pause(ledger: Ledger, account: str) -> None:
    """Begin no more requests to an account; those that run are finished.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing has changed.
    """
    _switch(ledger, account, paused=True)


def resume(ledger: Ledger, account: str) -> None:
    """Send to an account again.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing has changed.
    """
    _switch(ledger, account, paused=False)


def retry(
    ledger: Ledger,
    account: str | None = None,
    *,
    instance: str | None = None,
    study: str | None = None,
    reason: str | None = None,
) -> int:
    """Send again what is in quarantine, to what accounts are by now; how many instances.

    What was withdrawn or lost is meant, too, when its study or the instance itself is named. What
    has a UID that no request can name is not: it would come back.

    Parameters
    ----------
    instance, study
        A SOP Instance UID; a Study Instance UID.
    reason
        What is there for this reason only, as the ledger has it: ``conflict``, ``invalid``, …

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing has changed.
    """
    chosen = Selection(sop_instance_uid=instance, study_instance_uid=study, reason=reason)
    current = {name: one.id for name, one in ledger.destinations.current().items()}
    ids = [one for name, one in current.items() if account in (None, name)]
    named = (State.WITHDRAWN, State.LOST) if instance or study else ()
    hopeless = sql.func.coalesce(transfers.c.reason, "") == StoreReason.UID
    where = sql.and_(
        transfers.c.destination_id.in_(ids),
        transfers.c.state.in_([State.QUARANTINED, *named]),
        ~hopeless,
        *chosen.conditions,
    )
    # Since when Orthanc does not have what was lost stays known: at once it is lost again, or not.
    recycled = transfers.c.reason == TransferReason.RECYCLED
    absent = sql.case((recycled, transfers.c.absent_since), else_=None)
    now = ledger.now()
    with ledger.writing() as connection:
        _note_retried(connection, where, now)
        changed = connection.execute(
            transfers.update()
            .where(where)
            .values(
                **{**UNSENT, "absent_since": absent},
                state=State.WAITING,
                sha256=sql.case(
                    (transfers.c.reason.in_(_NEVER_STORED), None), else_=transfers.c.sha256
                ),
                attempts=0,
                replace=False,
                queued_at=now,
            )
        )
    return int(changed.rowcount)


def _note_retried(connection: sql.Connection, where: sql.ColumnElement[bool], now: float) -> None:
    """Write down for receipts which instances are sent again, and why they were not sent."""
    values = {
        "occurred_at": sql.literal(now),
        "account": transfers.c.account,
        "study_instance_uid": transfers.c.study_instance_uid,
        "sop_instance_uid": transfers.c.sop_instance_uid,
        "kind": sql.literal("retried"),
        "detail": transfers.c.reason,
    }
    query = sql.select(*values.values()).where(where)
    connection.execute(events.insert().from_select(list(values), query))


def _switch(ledger: Ledger, account: str, *, paused: bool) -> None:
    if (account in paused_accounts(ledger)) != paused:
        ledger.key_values.set(_paused(account), paused)
        ledger.events.add(account, "paused" if paused else "resumed", "")


def _paused(account: str) -> str:
    """Under which name the ledger has whether an account is paused."""
    return f"paused:{account}"
