"""Instances that somebody waits for, until each is confirmed or has ended otherwise."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import UNSETTLED, State, transfers

__all__ = ["Followed", "Unconfirmed", "rows_of"]

_MOST_SHOWN = 20


@dataclass(frozen=True)
class Unconfirmed:
    """An instance that will not be confirmed by itself."""

    study_instance_uid: str
    sop_instance_uid: str
    state: State
    reason: str | None
    detail: str | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Study": self.study_instance_uid,
            "Instance": self.sop_instance_uid,
            "State": self.state.value,
            "Reason": self.reason,
            "Detail": self.detail,
        }


class Followed:
    """Reads what becomes of some rows; of those that have ended only the number stays.

    Attributes
    ----------
    total
        How many there are.
    ended
        State -> how many have ended in it.
    confirmed_bytes
        Of those that are confirmed.
    unconfirmed
        The first of those that have ended in another state.
    """

    def __init__(self, ledger: Ledger, rows: Iterable[int]) -> None:
        self._ledger, self._open = ledger, array("q", rows)
        self.total = len(self._open)
        self.ended: dict[State, int] = {}
        self.confirmed_bytes = 0
        self.unconfirmed: list[Unconfirmed] = []

    @property
    def confirmed(self) -> int:
        """How many are in the store."""
        return self.ended.get(State.CONFIRMED, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will become of any by itself."""
        return not self._open

    @property
    def first_open(self) -> int | None:
        """The row of one that has not ended."""
        return self._open[0] if self._open else None

    def read(self) -> None:
        """See how far they are.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        still: array[int] = array("q")
        for some in portions(self._open, MOST_PARAMETERS):
            still.extend(self._some(list(some)))
        self._open = still

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Instances": self.total,
            "Confirmed": self.confirmed,
            "Open": len(self._open),
            "States": {state.value: number for state, number in sorted(self.ended.items())},
            "Unconfirmed": [one.as_json() for one in self.unconfirmed],
        }

    def _some(self, rows: Sequence[int]) -> list[int]:
        """Those of some that have not ended."""
        of = transfers.c
        query = sql.select(
            of.id,
            of.state,
            of.size_bytes,
            of.study_instance_uid,
            of.sop_instance_uid,
            of.reason,
            of.detail,
        ).where(of.id.in_(rows))
        still = []
        with self._ledger.reading() as connection:
            for row in connection.execute(query.order_by(of.id)):
                if row.state in UNSETTLED:
                    still.append(row.id)
                    continue
                state = State(row.state)
                self.ended[state] = self.ended.get(state, 0) + 1
                if state is State.CONFIRMED:
                    self.confirmed_bytes += row.size_bytes
                elif len(self.unconfirmed) < _MOST_SHOWN:
                    self.unconfirmed.append(Unconfirmed(*row[3:5], state, row.reason, row.detail))
        return still


def rows_of(ledger: Ledger, account: str, source: str, resources: Sequence[str]) -> list[int]:
    """The rows of instances of an Orthanc, for the store that an account is by now.

    Parameters
    ----------
    source
        The ledger's name for the Orthanc.
    resources
        Orthanc's identifiers of instances.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of, found = transfers.c, list[int]()
    destination = ledger.destinations.find(account)
    with ledger.reading() as connection:
        for some in portions(resources, MOST_PARAMETERS):
            query = sql.select(of.id).where(
                of.destination_id == destination, of.source == source, of.orthanc_id.in_(some)
            )
            found += connection.scalars(query)
    return sorted(found)
