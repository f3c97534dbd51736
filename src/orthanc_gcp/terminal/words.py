"""Figures as people read them."""

from __future__ import annotations

from datetime import datetime

__all__ = ["age", "count", "moment"]


def count(number: int, noun: str) -> str:
    """``1 instance``, ``1,234 instances``, ``2 studies``."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def age(seconds: float | None) -> str:
    """``5 s``, ``3 min``, ``7 h``, ``4 days``; nothing for none."""
    if seconds is None:
        return ""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(told: str | None, now: datetime) -> str:
    """A moment by ISO 8601 in the time of this machine, without the date when that is today's."""
    if told is None:
        return ""
    then, today = datetime.fromisoformat(told).astimezone(), now.astimezone()
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M")
