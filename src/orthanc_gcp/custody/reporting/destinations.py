"""What there is of each store that accounts name, or have named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.counts import COUNTS, TransferCounts
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.destinations import AccountStore
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import IS_OWED, UNSETTLED, transfers

__all__ = ["DestinationStatus", "destinations", "former_destinations"]


@dataclass(frozen=True)
class DestinationStatus:
    """How far one store of one account is.

    Attributes
    ----------
    configured
        Whether the configuration names it now.
    oldest_open_seconds
        For how long the oldest instance that is still to be sent has been to be sent, or to be
        read back if there is none; backfills may wait. None without any.
    """

    destination: AccountStore
    configured: bool
    counts: TransferCounts
    oldest_open_seconds: float | None

    @property
    def open_instances(self) -> int:
        """So many are still to be sent, or to be read back."""
        return self.counts.unfinished.instances

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        one, oldest = self.destination, self.oldest_open_seconds
        return {
            "Destination": one.id,
            "Account": one.account,
            "Store": one.store,
            "Endpoint": one.endpoint or None,
            "Since": utc(one.since),
            "Configured": self.configured,
            "OpenInstances": self.open_instances,
            "OldestOpenSeconds": None if oldest is None else round(oldest, 3),
            "QuarantinedInstances": self.counts.quarantined.instances,
            "ConfirmedInstances": self.counts.confirmed.instances,
            "LostInstances": self.counts.lost.instances,
        }


def destinations(ledger: Ledger, only: Iterable[int] | None = None) -> list[DestinationStatus]:
    """Each store that an account names or has named, in the order in which they were first named.

    Parameters
    ----------
    only
        The numbers of those that are asked for; None for all.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    chosen = None if only is None else set(only)
    every = ledger.destinations.all()
    known = [one for one in every if chosen is None or one.id in chosen]
    configured = _configured(ledger, every)
    with ledger.reading() as connection:
        counts = _counts(connection, [one.id for one in known] if only is not None else None)
        return [
            DestinationStatus(
                destination=one,
                configured=one.id in configured,
                counts=own,
                oldest_open_seconds=(
                    _oldest(ledger, connection, one.id) if own.unfinished.instances else None
                ),
            )
            for one in known
            for own in [counts.get(one.id, TransferCounts())]
        ]


def former_destinations(ledger: Ledger) -> list[DestinationStatus]:
    """The stores that the configuration does not name now, which accounts have named before.

    Nothing is sent there, and what is open waits until a person hands it over or closes it, or the
    configuration names the store again.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    every = ledger.destinations.all()
    return destinations(ledger, {one.id for one in every} - _configured(ledger, every))


def _configured(ledger: Ledger, every: Sequence[AccountStore]) -> set[int]:
    current = ledger.destinations.current(every)
    return {current[name].id for name in ledger.destinations.stores if name in current}


def _counts(connection: sql.Connection, only: Sequence[int] | None) -> dict[int, TransferCounts]:
    of = transfers.c
    query = sql.select(of.destination_id, *COUNTS).group_by(of.destination_id, of.state)
    if only is not None:
        query = query.where(of.destination_id.in_(only))
    rows: dict[int, list[sql.Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        rows[row.destination_id].append(row)
    return {number: TransferCounts.of(own) for number, own in rows.items()}


def _oldest(ledger: Ledger, connection: sql.Connection, destination: int) -> float | None:
    """For how long the oldest that is open has been to be sent; those of no backfill come first."""
    mine = transfers.c.destination_id == destination
    query = sql.select(sql.func.min(transfers.c.queued_at))
    oldest = connection.scalar(query.where(mine, sql.text(IS_OWED)))
    if oldest is None:
        oldest = connection.scalar(query.where(mine, transfers.c.state.in_(UNSETTLED)))
    return None if oldest is None else max(0.0, ledger.now() - oldest)
