"""How far each account is, read again and again: what ``status`` and ``top`` show."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from orthanc_gcp.commands.ledger_access import standstill_of

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["Figures", "LedgerFigures"]

Figures = dict[str, Any]
"""What the ledger says of one account, or of all: as ``GET /gcp/transfers`` answers it."""


class LedgerFigures:
    """The figures of a ledger, with what they are made of from one reading to the next."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        from orthanc_gcp.custody.reporting.overview import Overview
        from orthanc_gcp.custody.reporting.problems import Problems

        self._ledger, self._settings = ledger, settings
        self._names = [account.name for account in settings.accounts]
        self._overview = Overview(ledger, standstill_of(ledger, settings))
        self._problems = Problems(ledger, self._names, settings.rejections)

    def read(self) -> Figures:
        """All accounts, and which workers run; of a large ledger some seconds old.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        from orthanc_gcp.custody.reporting.activity import senders
        from orthanc_gcp.custody.reporting.overview import delays
        from orthanc_gcp.custody.reporting.problems import without_worker
        from orthanc_gcp.ledger.workers import alive_workers, any_alive

        rejections = self._settings.rejections
        problems = {**delays(self._ledger, self._names), **rejections}
        runs = any_alive(self._ledger.engine)
        found = (
            self._problems.found()
            if runs
            else without_worker(self._ledger, self._names, rejections, self._settings.rules)
        )
        accounts = self._overview.accounts({*self._names, *problems}, problems, found)
        sending: Counter[str | None] = Counter()
        for one in senders(self._ledger):
            sending[one["Worker"]] += one["Instances"]
        workers = [
            {"Worker": name, "Instances": sending[name]}
            for name in (alive_workers(self._ledger.engine) if runs else ())
        ]
        return {
            "Worker": runs,
            "Workers": workers,
            "Accounts": [one.as_json() for one in accounts],
        }
