"""What time it is, for intervals and for people.

Intervals are measured on a clock that nobody can set and that goes on while the machine sleeps
(``CLOCK_BOOTTIME`` where there is one). The wall clock only serves what people read, and the
comparison with other machines' clocks.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where the time comes from; tests pass their own."""

    def now(self) -> float:
        """Seconds since some fixed moment: never set, never standing still."""

    def utc(self) -> datetime:
        """The wall clock, in UTC."""


class SystemClock:
    """The machine's clocks."""

    _BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> float:
        """Seconds since the machine started, its sleep included."""
        return time.clock_gettime(self._BOOT)

    def utc(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)
