"""When in the week something may be done: ``"20:00-06:00"``, ``"Sat,Sun 00:00-24:00"``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

__all__ = ["Timetable", "is_window"]

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = 24 * 60
_WEEK = 7 * _DAY
_WINDOW = re.compile(r"(?:(\S+) +)?(\d\d):([0-5]\d)-(\d\d):([0-5]\d)")


class Timetable:
    """The open minutes of a week, by the clock on the wall.

    Where that clock is set back, an hour that it shows twice is open twice; an hour that it skips
    is not open.

    Parameters
    ----------
    windows
        Each with the days on which it begins (all if none are named) and its hours; one that ends
        before it begins ends on the next day. None at all: always open.

    Raises
    ------
    ValueError
        A window is not written so.
    """

    def __init__(self, windows: Iterable[str] = ()) -> None:
        self._open = bytearray(_WEEK)
        given = False
        for window in windows:
            given = True
            for minute in _minutes(window):
                self._open[minute % _WEEK] = 1
        if not given:
            self._open = bytearray(b"\1" * _WEEK)
        self._a_week = sum(self._open)

    def is_open(self, at: datetime) -> bool:
        """Whether it is open at a local time."""
        return bool(self._open[_minute(at)])

    def after(self, begin: datetime, seconds: float) -> datetime:
        """When it will have been open for so long; a change of the clocks is not foreseen."""
        weeks, rest = divmod(seconds / 60, self._a_week)
        minute, passed = _minute(begin), 0
        while rest > 0:
            rest -= self._open[(minute + passed) % _WEEK]
            passed += 1
        # The last minute was not needed whole.
        return begin + timedelta(weeks=weeks, minutes=passed + min(0.0, rest))


def is_window(text: str) -> bool:
    """Whether a window is written as it should be."""
    try:
        _minutes(text)
    except ValueError:
        return False
    return True


def _minutes(window: str) -> list[int]:
    """The minutes of a window, since the beginning of the week."""
    found = _WINDOW.fullmatch(window)
    if found is None:
        raise ValueError(window)
    days, *times = found.groups()
    hour, minute, last_hour, last_minute = map(int, times)
    begin, end = hour * 60 + minute, last_hour * 60 + last_minute
    if begin >= _DAY or end > _DAY or begin == end:
        raise ValueError(window)
    length = (end - begin) % _DAY or _DAY
    return [
        day * _DAY + begin + passed
        for day in (_days(days) if days else range(7))
        for passed in range(length)
    ]


def _days(text: str) -> list[int]:
    """``Sat,Sun`` or ``Mon-Fri`` as numbers."""
    found = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last if dash else first)
        found += [(begin + passed) % 7 for passed in range((end - begin) % 7 + 1)]
    return found


def _minute(at: datetime) -> int:
    return at.weekday() * _DAY + at.hour * 60 + at.minute
