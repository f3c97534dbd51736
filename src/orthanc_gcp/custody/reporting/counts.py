"""How many instances are where on their way, and their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.schema import State, transfers

__all__ = ["COUNTS", "Amount", "TransferCounts"]

_STATES: Mapping[str, tuple[State, ...]] = {
    "waiting": (State.HELD, State.WAITING, State.DELAYED),
    "sending": (State.SENDING,),
    "acknowledged": (State.ACKNOWLEDGED,),
    "confirmed": (State.CONFIRMED,),
    "quarantined": (State.QUARANTINED,),
    "superseded": (State.SUPERSEDED,),
    "withdrawn": (State.WITHDRAWN,),
    "lost": (State.LOST,),
    "dismissed": (State.DISMISSED,),
}
COUNTS = (
    transfers.c.state,
    sql.func.count().label("instances"),
    sql.func.sum(transfers.c.size_bytes).label("bytes"),
)
"""What a query that is grouped by state selects, for :meth:`TransferCounts.of`."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many instances, and their bytes."""

    instances: int = 0
    bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.instances + other.instances, self.bytes + other.bytes)

    def as_json(self) -> dict[str, int]:
        """The same for programs."""
        return {"Instances": self.instances, "Bytes": self.bytes}


@dataclass(frozen=True, slots=True)
class TransferCounts:
    """What is where on its way.

    Attributes
    ----------
    waiting
        Held until a series or study is stable, waiting, or delayed after a failure.
    """

    waiting: Amount = Amount()
    sending: Amount = Amount()
    acknowledged: Amount = Amount()
    confirmed: Amount = Amount()
    quarantined: Amount = Amount()
    superseded: Amount = Amount()
    withdrawn: Amount = Amount()
    lost: Amount = Amount()
    dismissed: Amount = Amount()

    @classmethod
    def of(cls, rows: Iterable[sql.Row[Any]]) -> TransferCounts:
        """Of rows with the columns of :data:`COUNTS`."""
        found: dict[str, Amount] = {
            row.state: Amount(row.instances, int(row.bytes)) for row in rows
        }
        return cls(
            **{
                name: sum((found.get(state, Amount()) for state in states), Amount())
                for name, states in _STATES.items()
            }
        )

    @property
    def unfinished(self) -> Amount:
        """What is known and is not confirmed yet, and needs nobody."""
        return self.waiting + self.sending + self.acknowledged

    @property
    def in_need(self) -> Amount:
        """What no store is known to have, and what is not given up."""
        return self.unfinished + self.quarantined

    def as_json(self) -> dict[str, dict[str, int]]:
        """The same for programs."""
        return {
            field.name.capitalize(): getattr(self, field.name).as_json() for field in fields(self)
        }
