"""What may be sent to which account just now."""

from __future__ import annotations

from collections.abc import Callable, Collection

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.intake.backfill import Backfill
from orthanc_gcp.custody.reporting.operations import paused_accounts
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Priority

__all__ = ["Permissions"]

ASK_EVERY = 0.5
"""Seconds between two questions whether somebody has paused an account."""
_AHEAD_OF_BACKFILL = (Priority.LIVE, Priority.DEMANDED)


class Permissions:
    """Pauses that people have set, and the hours of the backfill.

    Parameters
    ----------
    source
        The ledger's name for the Orthanc that is read from; empty until it is known.
    """

    def __init__(
        self, ledger: Ledger, backfill: Backfill, source: Callable[[], str], clock: Clock
    ) -> None:
        self._ledger, self._backfill = ledger, backfill
        self._source, self._clock = source, clock
        self._paused: set[str] = set()
        self._asked_at = float("-inf")

    def priorities(self, account: str) -> Collection[Priority]:
        """What may be sent to an account; nothing while it is paused.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        now = self._clock.now()
        if now - self._asked_at > ASK_EVERY:
            self._paused, self._asked_at = paused_accounts(self._ledger), now
        if account in self._paused:
            return ()
        return tuple(Priority) if self._backfill.is_open(self._source()) else _AHEAD_OF_BACKFILL

    def is_paused(self, account: str) -> bool:
        """Whether it was when :meth:`priorities` asked the ledger last."""
        return account in self._paused

    def ask_again(self) -> None:
        """Ask the ledger at the next question, however soon that is."""
        self._asked_at = float("-inf")
