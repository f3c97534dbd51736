"""Which instances of the ledger are meant."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sql

from orthanc_gcp.ledger.schema import State, transfers

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """Which instances are meant: those that fit all that is given.

    ``since`` and ``until`` are about when they were received, in seconds since 1970.
    """

    account: str | None = None
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
        found += [
            (of[name] if rare else of[name].concat("")) == getattr(self, name)
            for name in ("account", "state")
            if getattr(self, name) is not None
        ]
        if self.since is not None:
            found.append(transfers.c.received_at >= self.since)
        if self.until is not None:
            found.append(transfers.c.received_at < self.until)
        return found
