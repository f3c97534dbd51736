"""Decides what is sent when: makes batches of what waits, as fast as each account's pace allows."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Mapping

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.transfer.threads import TransferThreads
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Priority

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)

DUE_EVERY, ABANDONED_EVERY, GIVE_UP_EVERY = 0.5, 10.0, 30.0
"""Seconds between two searches for what is due, for what no thread sends, for what is too old."""
BACKFILL_LASTS = 2.0
"""Seconds that a request of a capped backfill may take: the connections are not lent for long."""


class Dispatcher:
    """Claims batches for the threads of one worker.

    Parameters
    ----------
    source
        The ledger's name for the Orthanc that can be read from; empty until it is known.
    allowed
        Account -> what may be sent to it now: nothing while it is paused.
        See :meth:`orthanc_gcp.custody.transfer.permissions.Permissions.priorities`.
    give_up_after
        Account -> seconds after which what was not sent goes to quarantine; None for never.
    backfill_rate
        Bytes a second that a backfill is capped to; None for no cap.
    """

    def __init__(
        self,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        threads: TransferThreads,
        worker: str,
        clock: Clock,
        source: Callable[[], str],
        allowed: Callable[[str], Collection[Priority]],
        give_up_after: Mapping[str, float | None],
        backfill_rate: int | None = None,
    ) -> None:
        self._ledger, self._destinations, self._threads = ledger, destinations, threads
        self._worker, self._clock, self._allowed = worker, clock, allowed
        self._source, self._give_up_after = source, give_up_after
        self._backfill_rate = backfill_rate
        self._due_at = self._abandoned_at = self._gave_up_at = float("-inf")
        self._ahead = float("inf")

    def step(self) -> bool:
        """Start what can be started; whether something was.

        Raises
        ------
        SQLAlchemyError
            The ledger is away; what was started goes on.
        """
        now = self._clock.now()
        due = now - self._due_at > DUE_EVERY
        if due:
            self._due_at = now
            self._notice_clock_set_back(now)
        if now - self._abandoned_at > ABANDONED_EVERY:
            self._abandoned_at = now
            self._requeue_abandoned()
        started = False
        for destination in self._destinations.values():
            if due:
                self._start_due(destination)
            started |= self._start_allowed(destination)
        if now - self._gave_up_at > GIVE_UP_EVERY:
            self._gave_up_at = now
            self._give_up()
        return started

    def _start_allowed(self, destination: Destination) -> bool:
        priorities, window = self._allowed(destination.account), destination.congestion.window
        if not priorities or not window:
            return False
        size = destination.congestion.batch_bytes
        live = [priority for priority in priorities if priority != Priority.BACKFILL]
        of_all = destination.congestion.max_requests
        started = self._start(destination, live, window, of_all, size)
        if Priority.BACKFILL in priorities:
            # It never has all connections: what arrives meanwhile finds one that is free.
            if self._backfill_rate is not None:
                size = min(size, int(self._backfill_rate * BACKFILL_LASTS))
            lent = _lent(window), _lent(of_all)
            started |= self._start(destination, [Priority.BACKFILL], *lent, size)
        return started

    def _start(
        self,
        destination: Destination,
        priorities: Collection[Priority],
        here: int,
        of_all: int,
        size: int,
    ) -> bool:
        """Start batches until so many run here, or with all workers; or nothing waits."""
        account, source, started = destination.account, self._source(), False
        while source and priorities and self._threads.sending(account) < here:
            batch = f"batch-{uuid.uuid4().hex}"
            claimed = self._ledger.queue.claim(
                account,
                source,
                batch,
                self._worker,
                most_instances=destination.congestion.batch_instances,
                most_bytes=size,
                most_batches=of_all,
                priorities=priorities,
            )
            if not claimed:
                break
            self._threads.send(account, batch, claimed)
            started = True
        return started

    def _start_due(self, destination: Destination) -> None:
        """Queue what is to be tried again by now, and read back what is due."""
        if destination.congestion.delay:
            return
        self._ledger.queue.requeue_due(destination.account)
        series = self._ledger.confirmations.due(destination.account)
        if series:
            self._threads.read_back(destination.account, series)

    def _notice_clock_set_back(self, now: float) -> None:
        """When the wall clock was set back, nothing is to wait until it is the old time again.

        Whether that happened before this worker started is not known.
        """
        ahead = self._ledger.now() - now
        if ahead < self._ahead - 1:
            self._ledger.queue.bring_forward()
        self._ahead = ahead

    def _requeue_abandoned(self) -> None:
        """What no thread sends waits again: of one that failed, of this worker before it died.

        A batch is claimed on this very thread, and settled before its own ends: one that the
        ledger has, and that is not being sent a moment later, never will be.
        """
        abandoned = set(self._ledger.queue.claimed_batches(self._worker)) - self._threads.active()
        if abandoned:
            _log.warning("interrupted requests: %d; what they held waits again", len(abandoned))
            self._ledger.queue.requeue_batches(abandoned)

    def _give_up(self) -> None:
        """What was not sent for longer than the option ``GiveUpAfterSeconds`` needs a person."""
        for account, seconds in self._give_up_after.items():
            if seconds is not None:
                self._ledger.queue.give_up(account, self._source(), self._ledger.now() - seconds)


def _lent(connections: int) -> int:
    """How many of some connections a backfill may have."""
    return max(1, connections - max(1, connections // 4))
