"""Moments as people and programs read them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["utc"]


def utc(seconds: float | None) -> str | None:
    """Seconds since 1970 by ISO 8601, with milliseconds: ``2026-01-31T18:00:00.000+00:00``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
