"""How long to wait before something is tried again."""

from __future__ import annotations

__all__ = ["row_delay"]

LONGEST_PAUSE = 60.0


def row_delay(attempts: int, jitter: float) -> float:
    """Seconds until an instance is tried again, between half and all of a doubling wait."""
    return float(min(LONGEST_PAUSE, 0.25 * 2 ** min(attempts, 10)) * (0.5 + jitter / 2))
