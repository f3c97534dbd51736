"""Which instances of the ledger are meant."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sql

from orthanc_gcp.ledger.schema import State, destinations, transfers

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """Which instances are meant: those that fit all that is given.

    ``since`` and ``until`` are about when they were received, in seconds since 1970. Those of an
    account are those of all stores that it ever was, those of a destination of one of these.
    """

    account: str | None = None
    destination_id: int | None = None
    state: State | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    reason: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def conditions(self) -> list[sql.ColumnElement[bool]]:
        """The same for a query."""
        of = transfers.c
        found = [
            of[name] == getattr(self, name)
            for name in ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "reason")
            if getattr(self, name) is not None
        ]
        # Most rows are confirmed, and of few accounts: an index on these would find nearly all,
        # and sort them, where the first page is at hand in the order that is asked for.
        rare = self.state not in (None, State.CONFIRMED)
        if self.account is not None:
            mine = sql.select(destinations.c.id).where(destinations.c.account == self.account)
            found.append((of.destination_id if rare else of.destination_id + 0).in_(mine))
        if self.destination_id is not None:
            found.append(of.destination_id == self.destination_id)
        if self.state is not None:
            found.append((of.state if rare else of.state.concat("")) == self.state)
        if self.since is not None:
            found.append(transfers.c.received_at >= self.since)
        if self.until is not None:
            found.append(transfers.c.received_at < self.until)
        return found
