"""What people may do with the transfers: pause, resume, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sql

from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import UNSENT, State, transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.stored_digests import unsure_where
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["not_retried", "pause", "paused_accounts", "resume", "retried_states", "retry"]

_NEVER_STORED = (
    TransferReason.CONFLICT,
    TransferReason.DAMAGED_FILE,
    TransferReason.INVALID,
    TransferReason.REFUSED,
    TransferReason.UNCOMPARED,
)
"""Reasons that say that the store did not take it; elsewhere a digest means that it has."""

_IS_HOPELESS = sql.func.coalesce(transfers.c.reason, "") == StoreReason.UID
_BY_NAME = (State.WITHDRAWN, State.LOST, State.DISMISSED)
"""The states of what is sent again only when it is named."""


def retried_states(*, named: bool, dismissed: bool) -> list[State]:
    """The states of what a retry sends again.

    Parameters
    ----------
    named
        Whether it names a study or an instance.
    dismissed
        Whether it is about what was dismissed alone.
    """
    if dismissed:
        return [State.DISMISSED]
    return [State.QUARANTINED, *(_BY_NAME if named else ())]


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
    dismissed: bool = False,
) -> list[int]:
    """Send again what is in quarantine, to what accounts are by now; the rows of the instances.

    What was withdrawn, lost or dismissed is meant, too, when its study or the instance itself is
    named. What has a UID that no request can name is not: it would come back.

    Parameters
    ----------
    instance, study
        A SOP Instance UID; a Study Instance UID.
    reason
        What is there for this reason only, as the ledger has it: ``conflict``, ``invalid``, …
    dismissed
        In place of what is in quarantine, what a person has dismissed.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: nothing has changed.
    """
    chosen = Selection(sop_instance_uid=instance, study_instance_uid=study, reason=reason)
    states = retried_states(named=bool(instance or study), dismissed=dismissed)
    where = (
        transfers.c.destination_id.in_(_current(ledger, account)),
        transfers.c.state.in_(states),
        ~_IS_HOPELESS,
        *chosen.conditions,
    )
    with ledger.writing() as connection:
        query = sql.select(transfers.c.id).where(*where).order_by(transfers.c.id)
        rows = list(connection.scalars(query.with_for_update()))
        for some in portions(rows, MOST_PARAMETERS):
            add_for(connection, ledger.now(), some, "retried", transfers.c.reason)
            _queue_again(connection, some, ledger.now())
    return rows


def not_retried(ledger: Ledger, chosen: Selection, *, dismissed: bool = False) -> int:
    """How many instances of a choice :func:`retry` leaves in quarantine, or dismissed.

    They are for a store that their account is not by now, or have a UID that no request can name.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    is_former = transfers.c.destination_id.not_in(_current(ledger, chosen.account))
    state = State.DISMISSED if dismissed else State.QUARANTINED
    where = replace(chosen, state=state).conditions
    query = sql.select(sql.func.count()).select_from(transfers).where(*where)
    with ledger.reading() as connection:
        return connection.scalar(query.where(is_former | _IS_HOPELESS)) or 0


def _current(ledger: Ledger, account: str | None) -> list[int]:
    """What an account is by now, or all of them."""
    current = ledger.destinations.current().items()
    return [one.id for name, one in current if account in (None, name)]


def _queue_again(connection: sql.Connection, rows: Sequence[int], now: float) -> None:
    of = transfers.c
    # Since when Orthanc does not have what was lost stays known: at once it is lost again, or not.
    lost = of.reason.in_((TransferReason.RECYCLED, TransferReason.RESTORED))
    absent = sql.case((lost, of.absent_since), else_=None)
    connection.execute(
        transfers.update()
        .where(of.id.in_(rows))
        .values(
            **{**UNSENT, "absent_since": absent},
            state=State.WAITING,
            sha256=sql.case((of.reason.in_(_NEVER_STORED), None), else_=of.sha256),
            attempts=0,
            stored_sha256=unsure_where(of.replace),
            replace=False,
            queued_at=now,
        )
    )


def _switch(ledger: Ledger, account: str, *, paused: bool) -> None:
    if (account in paused_accounts(ledger)) != paused:
        ledger.key_values.set(_paused(account), paused)
        ledger.events.add(account, "paused" if paused else "resumed", "")


def _paused(account: str) -> str:
    """Under which name the ledger has whether an account is paused."""
    return f"paused:{account}"
