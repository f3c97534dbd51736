"""How long to wait before something is tried again: the one policy of every retry.

Delays double from the first to the longest, and a share of each is random, so that those who failed
together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff"]

_MOST_DOUBLINGS = 64
"""More would only make a number that no float holds."""


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff.

    Attributes
    ----------
    first, longest : float
        Seconds; where the longest is below the first, it is the only one.
    jitter : float
        The share of a delay that is random: with 0.5 it lies between half and all of what the
        doubling gives ("equal jitter"), with 0 it is all of it.
    """

    first: float
    longest: float
    jitter: float = 0.5

    def delay(self, attempt: int, random: Callable[[], float] = random.random) -> float:
        """Seconds to wait after an attempt that failed; the first is 1.

        Parameters
        ----------
        random
            Gives numbers from 0 to 1.
        """
        doublings = min(max(attempt, 1) - 1, _MOST_DOUBLINGS)
        return self._jittered(self.first * 2.0**doublings, random)

    def after(self, previous: float, random: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the delay before this one, in seconds; 0 for none."""
        return self._jittered(max(self.first, 2 * previous), random)

    def lasts(self, until: float, now: float) -> bool:
        """Whether a delay that ends at a moment of the wall clock is not over yet.

        One that ends later than any does was noted before the clock was set back.
        """
        return now < until <= now + self.longest

    def _jittered(self, delay: float, random: Callable[[], float]) -> float:
        return min(self.longest, delay) * (1 - self.jitter * (1 - random()))
