"""How fast an account is sent to: as fast as the store takes it.

Requests run side by side, as many as are allowed from the first on: the time that a store takes for
one is mostly waiting. Half as many run when the store asks for less (503 of RFC 9110 §15.6.4), as
TCP's multiplicative decrease (RFC 5681 §3.1), and one more after each that succeeds; a quota (429)
is found and kept to by :mod:`orthanc_gcp.custody.destinations.pace`. Batches grow while requests
are quick, and are halved when one takes too long.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.destinations.pace import Pace
from orthanc_gcp.errors import GcpError, StoreError
from orthanc_gcp.ledger.rows import Amount
from orthanc_gcp.outages import Outage

__all__ = ["ASKS_FOR_LESS", "CongestionWindow", "Totals"]

MEGABYTE = 1 << 20
SMALLEST, FIRST, LARGEST = MEGABYTE // 4, 32 * MEGABYTE, 64 * MEGABYTE
FEWEST_INSTANCES, FIRST_INSTANCES, MOST_INSTANCES = 10, 100, 1000
MOMENT = 0.15
"""Seconds of sending that are not divided among connections."""
QUICK, SLOW = 1.5, 10.0
"""Seconds of a request: below the one, batches grow; above the other, they shrink."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
SOON, PART_OF_OUTAGE = 10.0, 0.05
"""Seconds until it is asked again, at most, whether the store can be used, by one small request; or
the part of the outage so far, if that is longer: what lasted a minute is over within seconds."""
_BACKOFF = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
LONGEST_QUOTA_PAUSE = 8.0
_QUOTA_BACKOFF = Backoff(FIRST_PAUSE, LONGEST_QUOTA_PAUSE)
"""One request asks each time, and quotas are those of a minute."""
TOO_MANY_REQUESTS = 429
ASKS_FOR_LESS = (TOO_MANY_REQUESTS, 503)
ROUNDS_LENT = 50
"""So many searches run on each connection before one more is lent, after one was refused."""
SENDING, READING = "sending", "reading"
OUTAGE = 3
"""Failures in a row after which only one request at a time asks whether the store is back."""


@dataclass(frozen=True)
class Totals:
    """How requests that send have ended since the process began, and what was in those answered."""

    succeeded: int = 0
    throttled: int = 0
    failed: int = 0
    instances: int = 0
    bytes: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    """How many were refused or failed for each reason."""

    def failed_for(self, reason: str) -> Mapping[str, int]:
        """The reasons with one more."""
        return {**self.reasons, reason: self.reasons.get(reason, 0) + 1}


class CongestionWindow:
    """The size and number of an account's requests, and when the next may start.

    Parameters
    ----------
    max_requests
        The most that may run at once.
    outage
        Takes what keeps the store from being used.

    Attributes
    ----------
    batch_bytes, batch_instances
        The most that the next request may carry.
    totals
        Of all requests so far.
    problem
        Why the last request failed; None after one that succeeded.
    """

    def __init__(
        self,
        clock: Clock,
        max_requests: int,
        outage: Outage,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock, self._outage, self._jitter = clock, outage, jitter
        self._lock = threading.Lock()
        self.max_requests = max_requests
        self._window = float(max_requests)
        self._failures = 0
        self._throttled_at = float("-inf")
        self._pace = Pace(clock)
        self._bytes_per_second = self._instances_per_second = 0.0
        self._reading_fails = False
        self._searches, self._searched_in_vain_at = 2.0 * max_requests, float("-inf")
        self._resume = self._failing_since = 0.0
        self.batch_bytes = FIRST
        self.batch_instances = FIRST_INSTANCES
        self.totals = Totals()
        self.problem: str | None = None

    @property
    def window(self) -> int:
        """How many requests may run at once; 0 during a pause."""
        with self._lock:
            if self._clock.now() < self._resume:
                return 0
            return 1 if self._failures >= OUTAGE else int(self._window)

    @property
    def searches(self) -> int:
        """How many requests that read back may run at once, whatever the connections allow."""
        with self._lock:
            return int(self._searches)

    @property
    def now(self) -> float:
        """The time of its clock."""
        return self._clock.now()

    @property
    def delay(self) -> float:
        """Seconds until the next request may start, 0 or more."""
        with self._lock:
            return max(0.0, self._resume - self._clock.now())

    def succeeded(
        self, instances: int, size: int, seconds: float, began: float | None = None
    ) -> None:
        """A request was answered.

        Parameters
        ----------
        size
            The bytes of its instances.
        seconds
            How long the store took, without what limits of ours have held back.
        began
            When it began, by the clock: one from before an outage does not end it.
        """
        self._outage.ended(by=SENDING, began=began)
        with self._lock:
            self.totals = replace(
                self.totals,
                succeeded=self.totals.succeeded + 1,
                instances=self.totals.instances + instances,
                bytes=self.totals.bytes + size,
            )
            self._failures, self.problem = 0, None
            self._window = min(self.max_requests, self._window + 1)
            self._learn_speed(instances, size, seconds)
            self._pace.taken(size, began if began is not None else self._clock.now())
            if seconds > SLOW:
                self._shrink()
            elif seconds < QUICK:
                if size > self.batch_bytes // 2:
                    self.batch_bytes = min(LARGEST, self.batch_bytes * 2)
                if instances > self.batch_instances // 2:
                    self.batch_instances = min(MOST_INSTANCES, self.batch_instances * 2)

    def read_succeeded(self, began: float) -> None:
        """What the store has was read, by requests that began at a time of the clock."""
        self._outage.ended(by=READING, began=began)
        with self._lock:
            lent = self._searches >= self.max_requests
            more = 1 / self._searches / (ROUNDS_LENT if lent else 1)
            self._searches = min(2.0 * self.max_requests, self._searches + more)
            if self._reading_fails and not self._outage.active:
                self._reading_fails, self._failures, self.problem = False, 0, None

    @property
    def least(self) -> Amount:
        """What a request carries at least, if so much waits, however many connections are free.

        What one connection has sent in a moment is not worth to be divided.
        """
        with self._lock:
            if not self._instances_per_second:
                return Amount(FIRST_INSTANCES, MEGABYTE)
            return Amount(
                max(FEWEST_INSTANCES, int(self._instances_per_second * MOMENT)),
                max(MEGABYTE, int(self._bytes_per_second * MOMENT)),
            )

    def part_left(self, size: int, seconds: float) -> float:
        """The part of a request that is still to be sent, by the pace of others.

        Parameters
        ----------
        size
            The bytes of its instances.
        seconds
            Since it began.
        """
        with self._lock:
            if not self._bytes_per_second:  # nothing is known, as none was answered yet
                return 1.0
            return max(0.0, 1 - seconds * self._bytes_per_second / max(size, 1))

    def _learn_speed(self, instances: int, size: int, seconds: float) -> None:
        """How much one connection sends in a second; the shortest requests show only waiting."""
        if seconds > 0 and (size >= MEGABYTE or instances >= FEWEST_INSTANCES):
            self._bytes_per_second = _smoothed(self._bytes_per_second, size / seconds)
            self._instances_per_second = _smoothed(self._instances_per_second, instances / seconds)

    def throttled(self, error: StoreError, began: float) -> float:
        """Send less: 429, 503 or ``Retry-After``; returns the seconds until the next request.

        Parameters
        ----------
        began
            When the request began, by the clock: of those that ran at once, the first counts.
        """
        with self._lock:
            reasons = self.totals.failed_for(error.reason)
            self.totals = replace(self.totals, throttled=self.totals.throttled + 1, reasons=reasons)
            if error.status == TOO_MANY_REQUESTS:
                says_when = error.retry_after is not None
                if not self._pace.refused(began, says_when=says_when) and not says_when:
                    return max(0.0, self._resume - self._clock.now())
            elif began >= self._throttled_at:
                self._throttled_at = self._clock.now()
                self._window = max(1.0, self._window / 2)
            return self._back_off(error, SENDING, error.retry_after)

    def begun(self, size: int) -> None:
        """A request of so many bytes begins."""
        self._pace.begun(size)

    def turn(self, *, behind: bool = False) -> float:
        """Begin a request of whatever kind, as far as a quota is known; or the seconds until later.

        What ends is told to :meth:`ended`.

        Parameters
        ----------
        behind
            Where others wait, most of them go ahead.
        """
        delay = self.delay
        return delay if 0 < delay <= LONGEST_QUOTA_PAUSE else self._pace.turn(behind=behind)

    def ended(self) -> None:
        """A request ended whose turn it was."""
        self._pace.ended()

    def read(self, began: float, error: StoreError | None) -> None:
        """A request that reads was answered: it counts for a quota."""
        if error is None:
            self._pace.taken(0, began)
        elif error.status == TOO_MANY_REQUESTS:
            self._pace.refused_to_read(began, says_when=error.retry_after is not None)

    def fed(self, connections: int, seconds: float | None = None) -> int:
        """How many of some connections a quota of requests leaves work for.

        Parameters
        ----------
        seconds
            How long a request takes; None for one that sends.
        """
        rate = self._pace.requests_per_second
        if not rate:
            return connections
        return min(connections, 2 + int(rate * (seconds or self._pace.seconds)))

    def may_begin(self, in_flight: int) -> bool:
        """Whether a quota, as far as it is known, has room for another request.

        Parameters
        ----------
        in_flight
            How many run.
        """
        return self._pace.wait(in_flight) <= 0

    def most_bytes(self, connections: int) -> int:
        """What the next request may carry, of so many that run at once; little in an outage."""
        most = SMALLEST if self.is_away else self.batch_bytes
        return int(min(most, self._pace.most_bytes(connections)))

    def read_failed(
        self, error: StoreError, began: float | None = None, *, suspect: bool = False
    ) -> float:
        """What the store has could not be read; the seconds until the next request.

        Fewer run at once where the store asks for less: none on connections that are lent, then
        half as many.

        Parameters
        ----------
        began
            When the request did, by the clock: of those that ran at once, the first counts. None
            for just now.
        suspect
            It may be for what was asked for: nothing else is held up.
        """
        with self._lock:
            self._reading_fails = True
            if suspect:
                self.problem = str(error)
                return 0.0
            now = self._clock.now()
            is_new = began is None or began >= self._searched_in_vain_at
            if error.status in ASKS_FOR_LESS and is_new:
                self._searched_in_vain_at = now
                # First those that are lent: without them it may have been within the quota.
                is_lent = self._searches > self.max_requests
                self._searches = self.max_requests if is_lent else max(1.0, self._searches / 2)
            return self._back_off(error, READING, error.retry_after)

    def failed(
        self,
        error: GcpError,
        *,
        too_big: bool = False,
        suspect: bool = False,
        several: bool = False,
    ) -> float:
        """A request was not answered as it should; the seconds until the next.

        Parameters
        ----------
        too_big
            It may have failed because it carried too much.
        suspect
            It was that of one instance which has failed before: as long as the others succeed, it
            does not hold them up.
        several
            Others fail, too, and nothing succeeds: that is to be known.
        """
        with self._lock:
            self._count_failed(error)
            if suspect and self._failures == 0:
                if several:
                    self.problem = str(error)
                return 0.0
            if too_big:
                self._shrink()
            return self._back_off(error, SENDING, None)

    def answered(self) -> None:
        """The only one that was refused is not tried again: nothing else is known to be wrong."""
        self._outage.ended(by=SENDING)
        with self._lock:
            self._failures, self.problem = 0, None

    @property
    def is_away(self) -> bool:
        """Whether requests have failed for so long that one at a time asks for the end of it."""
        with self._lock:
            return self._failures >= OUTAGE

    @property
    def failures(self) -> int:
        """How many requests in a row were not answered as they should, for which it has paused."""
        with self._lock:
            return self._failures

    def too_large(self, error: GcpError) -> None:
        """A request carried too much: the next ones carry less, and nothing pauses for it."""
        with self._lock:
            self._count_failed(error)
            self._shrink()

    def _count_failed(self, error: GcpError) -> None:
        reasons = self.totals.failed_for(error.reason)
        self.totals = replace(self.totals, failed=self.totals.failed + 1, reasons=reasons)

    def _shrink(self) -> None:
        self.batch_bytes = max(SMALLEST, self.batch_bytes // 2)
        self.batch_instances = max(FEWEST_INSTANCES, self.batch_instances // 2)

    def _back_off(self, error: GcpError, by: str, retry_after: float | None) -> float:
        now = self._clock.now()
        if now >= self._resume:  # nothing begins in a pause: what fails then belongs to its cause
            self._failures += 1
        if self._failures == 1:
            self._failing_since = now
        self.problem = str(error)
        of_quota = error.status == TOO_MANY_REQUESTS
        backoff = _QUOTA_BACKOFF if of_quota else _BACKOFF
        longest = max(SOON, PART_OF_OUTAGE * (now - self._failing_since))
        pause = min(longest, backoff.delay(self._failures, self._jitter))
        if of_quota and (rate := self._pace.requests_per_second):
            pause = max(pause, min(1 / rate, LONGEST_QUOTA_PAUSE))  # sooner there is no room again
        if retry_after is not None:  # "0" must not make it ask without a breath
            pause = max(retry_after, FIRST_PAUSE)
        self._resume = max(self._resume, now + pause)
        if self._is_outage(error):
            self._outage.failed(self.problem, pause, kind=error.kind, by=by)
        return pause

    def _is_outage(self, error: GcpError) -> bool:
        """Whether people want to know: not of a quota used up for a moment."""
        return error.status != TOO_MANY_REQUESTS or self._failures >= OUTAGE


def _smoothed(before: float, now: float) -> float:
    return before + (now - before) / 4 if before else now
