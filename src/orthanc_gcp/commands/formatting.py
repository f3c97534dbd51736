"""Figures as people read them."""

from __future__ import annotations

from datetime import datetime

__all__ = ["count", "moment"]


def count(number: int, noun: str) -> str:
    """``1 instance``, ``1,234 instances``, ``2 studies``."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def moment(timestamp: str | None, now: datetime) -> str:
    """A time by ISO 8601 in the time zone of this machine; today's without the date."""
    if timestamp is None:
        return ""
    then, today = datetime.fromisoformat(timestamp).astimezone(), now.astimezone()
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M")
