"""How much may be begun a second, once a store has said that it is too much (429, RFC 6585 §4).

What a quota is, nobody says (Cloud Healthcare API, page "Quotas and limits": by region and minute,
differs between projects), nor whether it counts bytes or requests. It is found by what is taken: at
a refusal nothing more begins until all that runs has ended, then one request asks whether there is
room again. When it is let in, the quota has room for all that was taken before: that, a second, is
the pace, less a little. It rises slowly, and after a while without a refusal nothing limits it.
Where a refusal says when to ask again (``Retry-After``, RFC 9110 §10.2.3), there was no room until
then, as if somebody had asked before in vain.

Only one of both is limited: at first bytes, unless requests were small. Whoever keeps to a limit
and is refused long before it is used up has kept to the wrong one, and so has whoever keeps to one
on bytes and is refused what has none.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum

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
WINDOW = 75.0
"""Seconds that it is remembered for what was taken: quotas are those of a minute, and whether that
is over is asked now and then."""
LONGEST_DRAIN = 10.0
"""Seconds that what runs, or asks, is waited for: a giant instance must not hold up all others."""
BURST = 0.25
"""Seconds that may be made up for at once."""
SECONDS_OF_REQUEST = 0.5
"""A request carries what its connection may send in this time, or in the time that requests take if
that is longer: few are refused of many."""
SLOWEST, SMALLEST = 256 * 1024, 1 << 20
"""Bytes a second, and bytes of a request, at least."""
FEWEST = 0.2
"""Requests a second, at least."""
SMALL = SMALLEST
"""Bytes of requests, on the mean, below which it is thought to be their number that counts."""
BELOW, STEADY = 0.05, 60.0
"""The part of a pace of requests, found well, that is left out at first, and the seconds until it
is reached again, or longer: as in CUBIC (RFC 9438 §4.2), it rises slowly around what was found, and
faster where nothing is refused there."""
REQUESTS_BETWEEN = 200
"""So many requests are to be let in until a pace that was found well is reached: a refusal is a
request, too, and there are to be few of them also where the quota is small."""
WELL_FOUND, SHORTEST, ENOUGH = WINDOW / 3, 5.0, 20
"""Seconds that a pace was looked at, to be found well; or fewer, and so many requests."""
ALIKE = 0.25
"""The part by which a pace may differ from the one before, which it confirms."""
MOST_SAVED_UP = 1.0
"""Seconds of a quota of requests that may have been saved up, where it is one of a second."""
OTHER_BELOW, OTHER_ABOVE = 0.5, 1.33
"""Of what a refusal has shown, the part that is taken at the next one where it was the other."""
READS_REFUSED, PART_REFUSED = 8, 0.07
"""So many requests that only read, and such a part of them, are refused at two paces of bytes, one
after the other: it is not bytes that count. After a quota was cut, it is so at one of them."""
POLL = 0.1
"""Seconds until it is looked again whether others have ended."""
AHEAD_IN_A_ROW = 8
"""So many urgent requests begin before one that is not, where both wait."""
_MOST_REMEMBERED = 10_000


class _Unit(Enum):
    """What a quota counts."""

    BYTES = "bytes"
    REQUESTS = "requests"

    def of(self, size: int) -> int:
        """How much a request of so many bytes is."""
        return size if self is _Unit.BYTES else 1


class Pace:
    """The bytes or requests a second to one account, of one worker.

    Several threads may use it at once. Times are those of the clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._unit, self._seen = _Unit.BYTES, dict[_Unit, float]()
        self._rate, self._rated_at = 0.0, float("-inf")  # no rate is no limit
        self._risen: Callable[[float], float] = float  # seconds -> as a part of the rate
        self._taken: deque[tuple[float, int]] = deque(maxlen=_MOST_REMEMBERED)
        self._refused_at = self._next = self._asked_at = self._used_up_at = float("-inf")
        self._seconds = SECONDS_OF_REQUEST
        self._draining = self._asking = self._asked_in_vain = False
        self._reads, self._reads_refused = 0, 0  # since the pace was found
        self._may_be_wrong = False  # by what was refused at the pace before
        self._running = 0
        self._awaited_until, self._ahead = float("-inf"), 0  # by urgent requests; begun in a row

    # -- What is sent -----------------------------------------------------------------------------

    def begun(self, size: int) -> None:
        """A request begins, of so many bytes."""
        with self._lock:
            now = self._clock.now()
            if self._asking:
                self._asked_at = now
            if rate := self._rate_at(now, _Unit.BYTES):
                self._next = max(self._next, now - BURST) + size / rate

    def taken(self, size: int, began: float) -> None:
        """A request was answered that began at a time; of no bytes, where it only reads."""
        with self._lock:
            if self._asking and began >= self._refused_at:
                self._asking = False
                self._find(began)
            elif began >= self._rated_at and size:
                self._seconds += (self._clock.now() - began - self._seconds) / 4
            self._taken.append((began, size))
            self._reads += not size

    def refused_to_read(self, began: float, *, says_when: bool = False) -> None:
        """A request that only reads was one too many; no matter while bytes are limited.

        Unless that is so again and again: it has none, and that is the wrong limit.

        Parameters
        ----------
        says_when
            The answer says when to ask again.
        """
        with self._lock:
            limits_bytes = self._rate_at(self._clock.now(), _Unit.BYTES) > 0
            self._reads_refused += limits_bytes and began >= self._rated_at
            is_wrong = self._may_be_wrong and self._are_reads_refused
            matters = not limits_bytes or self._asking or is_wrong
        if matters:
            self.refused(began, says_when=says_when)

    def refused(self, began: float, *, says_when: bool = False) -> bool:
        """A request that began at a time was one too many; whether nobody had said so since.

        Parameters
        ----------
        says_when
            The answer says when to ask again.
        """
        with self._lock:
            if began < self._refused_at:
                return False
            self._asked_in_vain = self._asking or says_when
            if not self._asking:
                self._used_up_at = began
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
            if self._others_first(now, in_flight):
                return float("inf")
            if self._asking:
                return 0.0
            return max(0.0, self._next - now) if self._rate_at(now, _Unit.BYTES) else 0.0

    def most_bytes(self, connections: int) -> float:
        """What one request may carry, of so many that run at once; infinite without a limit.

        The first that asks alone carries little: the others wait for its answer. Later ones would
        be let in sooner than there is room for all.
        """
        with self._lock:
            rate = self._rate_at(self._clock.now(), _Unit.BYTES)
            if not rate:
                asks = self._draining or self._asking
                return SMALLEST if asks and not self._rate else float("inf")
            return max(SMALLEST, rate * max(SECONDS_OF_REQUEST, self._seconds) / connections)

    # -- Each request, of whatever kind -----------------------------------------------------------

    def turn(self, *, behind: bool = False) -> float:
        """Begin a request; or the seconds until it is worth to try that again.

        Parameters
        ----------
        behind
            Let urgent ones go ahead, though not all of them.
        """
        with self._lock:
            now = self._clock.now()
            if self._others_first(now, self._running):
                return POLL
            if self._asking:
                self._asked_at = now
            elif rate := self._rate_at(now, _Unit.REQUESTS):
                if behind and now < self._awaited_until and self._ahead < AHEAD_IN_A_ROW:
                    return POLL
                if self._next > now:
                    if not behind:
                        self._awaited_until = self._next + POLL
                    return self._next - now
                self._next = max(self._next, now - BURST) + 1 / rate
                self._ahead = 0 if behind else self._ahead + 1
            self._running += 1
            return 0.0

    def ended(self) -> None:
        """A request ended whose turn it was, whatever came of it."""
        with self._lock:
            self._running -= 1

    @property
    def requests_per_second(self) -> float:
        """How many may begin; 0 for no limit."""
        with self._lock:
            return self._rate_at(self._clock.now(), _Unit.REQUESTS)

    @property
    def seconds(self) -> float:
        """How long a request that sends takes."""
        with self._lock:
            return self._seconds

    def _others_first(self, now: float, running: int) -> bool:
        """Whether what runs has to end before anything begins, or one that asks to be answered."""
        if self._draining and (not running or now - self._refused_at > LONGEST_DRAIN):
            self._draining, self._asking, self._asked_at = False, True, float("-inf")
        if self._asking:
            return bool(running) and now - self._asked_at < LONGEST_DRAIN
        return self._draining

    @property
    def _are_reads_refused(self) -> bool:
        """Whether too much is refused of what has no bytes, while these are limited."""
        asked = self._reads + self._reads_refused
        return self._reads_refused >= max(READS_REFUSED, PART_REFUSED * asked)

    # -- What the quota is ------------------------------------------------------------------------

    def _find(self, now: float) -> None:
        """The pace from what was taken until a request of a time was let in again."""
        known = any(self._rate_at(now, unit) for unit in _Unit)
        # If the first that asked was let in, what was taken until the refusal says more: since then
        # nothing was, and there may have been room.
        until = now if self._asked_in_vain else self._used_up_at
        seen = {unit: self._found(until, unit) for unit in _Unit}
        self._choose(seen, known=known)
        if self._unit is _Unit.REQUESTS:
            least = len(self._taken) / (until - self._since(now) + MOST_SAVED_UP)
            before, self._rate = self._rate, max(FEWEST, self._found(now, self._unit), least)
            is_sure = self._is_sure(now) or abs(self._rate - before) < before * ALIKE
            self._risen = _around(self._rate) if is_sure else _from(FIRST_RISE)
            self._next = now + 1 / self._rate
        else:
            found = self._found(now, self._unit)
            self._rate = max(SLOWEST, found * (LATER_PART if known else FIRST_PART))
            self._risen = _from(LATER_RISE if known else FIRST_RISE)
            self._next = float("-inf")
        self._seen, self._rated_at = seen, now
        self._seconds = SECONDS_OF_REQUEST
        self._may_be_wrong = self._are_reads_refused
        self._reads = self._reads_refused = 0
        self._taken.clear()

    def _is_sure(self, now: float) -> bool:
        """Whether a pace of requests was looked at for long enough."""
        lasted = now - self._since(now)
        return lasted > WELL_FOUND or (lasted > SHORTEST and len(self._taken) >= ENOUGH)

    def _since(self, now: float) -> float:
        """When what is remembered began."""
        return max(self._rated_at, min((began for began, _ in self._taken), default=now))

    def _choose(self, taken: dict[_Unit, float], *, known: bool) -> None:
        """What the quota counts, by what was taken a second, and until the refusal before."""
        if not known:
            small = taken[_Unit.BYTES] < taken[_Unit.REQUESTS] * SMALL
            self._unit = _Unit.REQUESTS if small else _Unit.BYTES
            return
        (other,) = set(_Unit) - {self._unit}
        if self._may_be_wrong and self._are_reads_refused:
            self._unit = other
            return
        own = taken[self._unit] / self._rate
        others = taken[other] / self._seen[other] if self._seen[other] else 1.0
        if own < OTHER_BELOW and others > own * OTHER_ABOVE:
            self._unit = other

    def _found(self, end: float, unit: _Unit) -> float:
        """The least units a second of a quota that has room for all that was taken until a time."""
        found, total = 0.0, 0
        for began, size in sorted(self._taken, reverse=True):
            if began < end - WINDOW:
                break
            total += unit.of(size)
            found = max(found, total / (max(0.0, end - began) + SAVED_UP))
        # When the pace was found, hardly anything was left of what may be saved up.
        since = self._rated_at
        if 0 < end - since < WINDOW:
            found = max(found, total / (end - since))
        return found

    def _rate_at(self, now: float, unit: _Unit) -> float:
        """Units a second at a time; 0 for no limit."""
        if not self._rate or unit is not self._unit:
            return 0.0
        factor = self._risen(max(0.0, now - self._rated_at))
        if factor >= FREE_AT:
            self._rate = 0.0
        return self._rate * factor


def _from(rise: float) -> Callable[[float], float]:
    """A pace that rises by a part of itself each second."""
    return lambda seconds: 1 + rise * seconds


def _around(requests_per_second: float) -> Callable[[float], float]:
    """A pace that rises slowly until it is what was found, and later faster and faster."""
    steady = max(STEADY, REQUESTS_BETWEEN / requests_per_second)
    return lambda seconds: 1 + BELOW * (seconds / steady - 1) ** 3
