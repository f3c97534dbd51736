"""What time it is, for intervals and for people.

Intervals are measured on a clock that nobody can set, plus the time that the machine slept (Linux:
``CLOCK_BOOTTIME``, clock_gettime(2)). The wall clock only serves what people read, and the
comparison with other machines' clocks.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "age", "http_date"]

_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Where the time comes from; tests pass their own."""

    def now(self) -> float:
        """Seconds since some fixed moment: never set, never standing still."""

    def utc(self) -> datetime:
        """The wall clock, in UTC."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._asleep = 0.0

    def now(self) -> float:
        """Seconds since the machine started, its sleep included; it never goes back."""
        awake = time.monotonic()
        if _BOOT is not None:
            self._asleep = max(self._asleep, time.clock_gettime(_BOOT) - awake)
        return awake + self._asleep

    def utc(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)


def age(seconds: float | None) -> str:
    """``5 s``, ``3 min``, ``7 h``, ``4 days``; nothing for none."""
    if seconds is None:
        return ""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def http_date(text: str) -> datetime | None:
    """A date of a field of HTTP (RFC 9110 §5.6.7); None for what is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the library takes a number of any length for a year
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
