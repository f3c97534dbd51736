"""How much may be begun a second, once a store has said that it is too much (429, RFC 6585 §4).

What a quota is, nobody says (Cloud Healthcare API, page "Quotas and limits": by region and minute,
differs between projects). It is found by what is taken: at a refusal nothing more begins until all
that runs has ended, then one request asks whether there is room again. When it is let in, the quota
has room for all that was taken before: that, a second, is the pace, less a little. It rises slowly,
and after a while without a refusal nothing limits it.
"""

from __future__ import annotations

import threading
from collections import deque

from orthanc_gcp.clock import Clock

__all__ = ["Pace"]

FIRST_PART, LATER_PART = 1.0, 0.97
"""The parts of what was found at the first refusal, and at those that follow, that are sent."""
SAVED_UP = 0.5
"""Seconds of its quota that a store is taken to let in at once, to whom has not used it before."""
FIRST_RISE, LATER_RISE = 0.03, 0.01
"""By how much the pace rises in a second, as a part of itself."""
FREE_AT = 4.0
"""At so many times the pace after the last refusal nothing limits it any more."""
WINDOW = 60.0
"""Seconds that it is remembered for what was taken: quotas are those of a minute."""
LONGEST_DRAIN = 10.0
"""Seconds that what runs, or asks, is waited for: a giant instance must not hold up all others."""
BURST = 0.25
"""Seconds that may be made up for at once."""
SECONDS_OF_REQUEST = 0.5
"""A request carries what its connection may send in this time, or in the time that requests take if
that is longer: few are refused of many."""
SLOWEST, SMALLEST = 256 * 1024, 1 << 20
"""Bytes a second, and bytes of a request, at least."""
_MOST_REMEMBERED = 10_000


class Pace:
    """The bytes a second of all requests that send to one account, for one worker.

    Several threads may use it at once. Times are those of the clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._rate, self._rise, self._rated_at = 0.0, 0.0, float("-inf")  # no rate is no limit
        self._taken: deque[tuple[float, int]] = deque(maxlen=_MOST_REMEMBERED)
        self._refused_at = self._next = self._asked_at = float("-inf")
        self._seconds = SECONDS_OF_REQUEST
        self._draining = self._asking = False

    def begun(self, size: int) -> None:
        """A request begins, of so many bytes."""
        with self._lock:
            now = self._clock.now()
            if self._asking:
                self._asked_at = now
            if rate := self._rate_at(now):
                self._next = max(self._next, now - BURST) + size / rate

    def taken(self, size: int, began: float) -> None:
        """A request was answered that began at a time."""
        with self._lock:
            if self._asking and began >= self._refused_at:
                self._asking = False
                self._find(began)
            elif began >= self._rated_at:
                self._seconds += (self._clock.now() - began - self._seconds) / 4
            self._taken.append((began, size))

    def refused(self, began: float) -> bool:
        """A request that began at a time was one too many; whether nobody had said so since."""
        with self._lock:
            if began < self._refused_at:
                return False
            self._refused_at = self._clock.now()
            self._draining, self._asking = True, False
            return True

    def wait(self, in_flight: int) -> float:
        """Seconds until the next request may begin; infinite while others have to end first.

        Parameters
        ----------
        in_flight
            How many run.
        """
        with self._lock:
            now = self._clock.now()
            if self._draining and (not in_flight or now - self._refused_at > LONGEST_DRAIN):
                self._draining, self._asking, self._asked_at = False, True, float("-inf")
            if self._draining:
                return float("inf")
            if self._asking:
                asks = in_flight and now - self._asked_at < LONGEST_DRAIN
                return float("inf") if asks else 0.0
            return max(0.0, self._next - now) if self._rate_at(now) else 0.0

    def most_bytes(self, connections: int) -> float:
        """What one request may carry, of so many that run at once; infinite without a limit.

        The first that asks alone carries little: the others wait for its answer. Later ones would
        be let in sooner than there is room for all.
        """
        with self._lock:
            rate = self._rate_at(self._clock.now())
            if not rate:
                return SMALLEST if self._draining or self._asking else float("inf")
            return max(SMALLEST, rate * max(SECONDS_OF_REQUEST, self._seconds) / connections)

    def _find(self, now: float) -> None:
        """The pace from what was taken until a request of a time was let in again."""
        known = self._rate_at(now) > 0
        found = self._found(now)
        self._rate = max(SLOWEST, found * (LATER_PART if known else FIRST_PART))
        self._rise = LATER_RISE if known else FIRST_RISE
        self._rated_at, self._next = now, float("-inf")
        self._seconds = SECONDS_OF_REQUEST
        self._taken.clear()

    def _found(self, now: float) -> float:
        """The least bytes a second of a quota that has room for all that was taken."""
        found, size = 0.0, 0
        for began, more in sorted(self._taken, reverse=True):
            if began < now - WINDOW:
                break
            size += more
            found = max(found, size / (now - began + SAVED_UP))
        # When the pace was found, hardly anything was left of what may be saved up.
        since = self._rated_at
        return max(found, size / (now - since)) if now - since < WINDOW else found

    def _rate_at(self, now: float) -> float:
        """Bytes a second at a time; 0 for no limit."""
        if not self._rate:
            return 0.0
        factor = 1 + self._rise * max(0.0, now - self._rated_at)
        if factor >= FREE_AT:
            self._rate = 0.0
        return self._rate * factor
