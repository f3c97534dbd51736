"""Rate caps that hold for all workers on one database together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["RateLimit"]

_BURST = 0.25
"""Seconds of the rate that one worker takes at once; so the database is asked four times a second
for each request that runs."""


class RateLimit:
    """So many units a second, whoever takes them.

    Parameters
    ----------
    name
        What is capped; workers that share the cap give the same name.
    rate
        Units a second.
    wait
        Sleeps for some seconds; True says that the worker stops.
    """

    def __init__(
        self, ledger: Ledger, name: str, rate: float, wait: Callable[[float], bool]
    ) -> None:
        self._ledger, self._name, self._rate, self._wait = ledger, f"allowance:{name}", rate, wait

    def taker(self) -> Callable[[int], None]:
        """What one request calls with the units that it is about to use."""
        left = 0.0

        def take(units: int) -> None:
            nonlocal left
            if units > left:
                portion = max(units - left, self._rate * _BURST)
                self.take(portion)
                left += portion
            left -= units

        return take

    def take(self, units: float) -> None:
        """Take units, and wait until they are there."""
        pause = self._reserve(units)
        while pause > 0 and not self._wait(min(pause, 1.0)):
            pause -= 1.0

    def _reserve(self, units: float) -> float:
        """Book units after all that are booked already; how long to wait for their turn."""
        now = self._ledger.now()
        start = now

        def book(booked: Any) -> float:
            nonlocal start
            # A clock that was set back must not make anybody wait for the old time.
            start = max(now, min(float(booked or 0), now + 60))
            return start + units / self._rate

        self._ledger.change_key_value(self._name, book)
        return start - now
