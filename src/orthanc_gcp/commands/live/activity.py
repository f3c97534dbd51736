"""What runs on a ledger: who sends, which Orthancs are followed, backfills, retrievals, audits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["Activity"]

SHARE, FRESH = 10, 30.0
"""It is given again for so many times as long as it takes to read, and so many seconds at most."""
MOST_RETRIEVALS = 20


class Activity:
    """What runs, read from the ledger; of a large one some seconds old."""

    def __init__(
        self, ledger: Ledger, settings: Settings, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger, self._settings, self._now = ledger, settings, now
        self._read: dict[str, Any] = {}
        self._read_at, self._fresh = float("-inf"), 0.0

    def read(self) -> dict[str, Any]:
        """All of it, for programs.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        from orthanc_gcp.custody.reporting.activity import senders

        began = self._now()
        if began - self._read_at >= self._fresh:
            self._read = {
                "Senders": senders(self._ledger),
                "Orthancs": self._orthancs(),
                "Backfills": self._backfills(),
                "Retrievals": self._retrievals(),
                "Audits": self._audits(),
                "BrokenOffAudit": self._audit(),
            }
            self._read_at = self._now()
            self._fresh = min(FRESH, SHARE * (self._read_at - began))
        return self._read

    def _orthancs(self) -> list[dict[str, Any]]:
        from orthanc_gcp.custody.intake.open_transfers import seen_indexes
        from orthanc_gcp.custody.reporting.timestamps import utc

        here = seen_indexes(self._ledger)
        return [
            {
                "Index": one.source,
                "Orthanc": one.name,
                "Seen": utc(one.seen_at),
                "Followed": one.source in here,
            }
            for one in self._ledger.indexes.all()
        ]

    def _backfills(self) -> list[dict[str, Any]]:
        from orthanc_gcp.clock import SystemClock
        from orthanc_gcp.configuration import BackfillOptions
        from orthanc_gcp.custody.reporting.backfill_progress import running

        options = self._settings.backfill or BackfillOptions()
        accounts, now = {rule.to for rule in self._settings.rules}, SystemClock().utc().astimezone()
        found = running(self._ledger, accounts, options, now)
        return [{"Index": index, **one.as_json()} for index, one in found.items()]

    def _retrievals(self) -> list[dict[str, Any]]:
        """Those that have not ended, the newest first."""
        from orthanc_gcp.retrieval.report import as_json

        reports = self._ledger.retrievals.open_reports(MOST_RETRIEVALS)
        names = ("Id", "Study", "Series", "Instance", "State", "Instances", "Received", "Present")
        return [
            {"Account": one.row.account, **{name: as_json(one)[name] for name in names}}
            for one in reports
        ]

    def _audits(self) -> list[dict[str, Any]]:
        from orthanc_gcp.custody.audit.running import running_audits

        return [one.as_json() for one in running_audits(self._ledger)]

    def _audit(self) -> dict[str, Any] | None:
        """The place of an audit that was broken off and can go on."""
        from orthanc_gcp.custody.audit.positions import Positions
        from orthanc_gcp.custody.reporting.timestamps import utc

        found = Positions(self._ledger).last()
        if found is None:
            return None
        return {"Began": utc(found.began), "After": found.after, "Studies": found.totals.studies}
