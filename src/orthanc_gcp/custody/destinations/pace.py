"""How much may be begun a second, once a store has said that it is too much (429, RFC 6585 §4).

What a quota is, nobody says (Cloud Healthcare API, page "Quotas and limits": by region and minute,
differs between projects). It is found by what is taken: at the first refusal nothing more begins
until all that runs has ended, then one request asks whether there is room again, and what follows
goes at a part of the pace before. At later refusals it is known what was taken between two of them:
that is the quota. The pace rises slowly, and after a while without a refusal nothing limits it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from orthanc_gcp.clock import Clock

__all__ = ["Pace"]

FIRST_PART, LATER_PART = 0.6, 0.92
"""The parts of what was taken before the first refusal, and between two, that are sent then. Before
the first, a store may have taken what was saved up."""
FIRST_RISE, LATER_RISE = 0.04, 0.01
"""By how much the pace rises in a second, as a part of itself."""
FREE_AT = 4.0
"""At so many times the pace after the last refusal nothing limits it any more."""
WINDOW = 10.0
"""Seconds that it is remembered for what was taken."""
LONGEST_DRAIN = 10.0
"""Seconds that what runs, or asks, is waited for: a giant instance must not hold up all others."""
IDLE = 2.0
"""Seconds without an answer after which what was taken before says nothing of a pace."""
BURST = 0.25
"""Seconds that may be made up for at once."""
SECONDS_OF_REQUEST = 0.5
"""A request carries what a connection may send in this time: few are refused of many."""
SLOWEST, SMALLEST = 256 * 1024, 1 << 20
"""Bytes a second, and bytes of a request, at least."""
_MOST_REMEMBERED = 10_000


class Pace:
    """The bytes a second of all requests that send to one account, for one worker.

    Several threads may use it at once. Times are those of the clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._rate, self._rise, self._rated_at = 0.0, 0.0, 0.0  # no rate is no limit
        self._taken: deque[tuple[float, int]] = deque(maxlen=_MOST_REMEMBERED)
        self._busy_since = self._refused_at = self._since = self._next = float("-inf")
        self._probe_at = float("-inf")
        self._unrated = self._draining = self._probing = False

    def begun(self, size: int, in_flight: int) -> None:
        """A request begins, of so many bytes, while so many others run."""
        with self._lock:
            now = self._clock.now()
            last = self._taken[-1][0] if self._taken else self._refused_at
            if not in_flight and now - last > IDLE:
                self._busy_since = now
            if self._probing:
                self._probe_at = now
            if rate := self._rate_at(now):
                self._next = max(self._next, now - BURST) + size / rate

    def taken(self, size: int, began: float) -> None:
        """A request was answered that began at a time."""
        with self._lock:
            now = self._clock.now()
            self._taken.append((now, size))
            if self._probing and began >= self._refused_at:
                self._probing, self._rated_at = False, now

    def refused(self, began: float) -> bool:
        """A request that began at a time was one too many; whether nobody had said so since."""
        with self._lock:
            if began < self._refused_at:
                return False
            before, self._refused_at = self._refused_at, self._clock.now()
            if not self._draining and not self._probing:
                self._unrated, self._since = True, before
            self._draining, self._probing = True, False
            return True

    def wait(self, in_flight: int, progress: Callable[[], float]) -> float:
        """Seconds until the next request may begin; infinite while others have to end first.

        Parameters
        ----------
        in_flight
            How many run.
        progress
            Says how many bytes of these were sent already, as far as that is known.
        """
        sent = progress() if self._unrated else 0.0  # it may wait for who waits for this lock
        with self._lock:
            now = self._clock.now()
            if self._unrated:
                self._learn(sent)
            if self._draining and (not in_flight or now - self._refused_at > LONGEST_DRAIN):
                self._draining, self._probing, self._probe_at = False, True, float("-inf")
            if self._draining:
                return float("inf")
            if self._probing:
                asks = in_flight and now - self._probe_at < LONGEST_DRAIN
                return float("inf") if asks else 0.0
            return max(0.0, self._next - now) if self._rate_at(now) else 0.0

    def most_bytes(self, connections: int) -> float:
        """What one request may carry, of so many that run at once; infinite without a limit.

        The first that asks alone carries little: the others wait for its answer. Later ones would
        be let in sooner than there is room for all.
        """
        with self._lock:
            if (self._draining or self._probing) and self._rise != LATER_RISE:
                return SMALLEST
            rate = self._rate_at(self._clock.now())
            if not rate:
                return float("inf")
            return max(SMALLEST, rate * SECONDS_OF_REQUEST / connections)

    def _learn(self, progress: float) -> None:
        """The pace from what was taken until the refusal."""
        since = max(self._busy_since, self._since, self._refused_at - WINDOW)
        taken = sum(size for at, size in self._taken if at > since) + progress
        found = taken / max(self._refused_at - since, BURST)
        known = self._rate_at(self._refused_at) > 0
        self._rate = max(SLOWEST, found * (LATER_PART if known else FIRST_PART))
        self._rise = LATER_RISE if known else FIRST_RISE
        self._rated_at, self._next = self._refused_at, float("-inf")
        self._taken.clear()
        self._unrated = False

    def _rate_at(self, now: float) -> float:
        """Bytes a second at a time; 0 for no limit."""
        factor = 1 + self._rise * max(0.0, now - self._rated_at)
        if factor >= FREE_AT:
            self._rate = 0.0
        return self._rate * factor
