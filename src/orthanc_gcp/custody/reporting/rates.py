"""How fast instances get confirmed, and when all will be."""

from __future__ import annotations

from collections import deque

from orthanc_gcp.custody.reporting.counts import Amount

__all__ = ["WINDOW", "ConfirmationRate"]

WINDOW = 60.0
"""Seconds that rates are the mean of."""
_MARK_EVERY = 1.0


class ConfirmationRate:
    """The mean over the last minute, of totals that were noted at moments."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, Amount]] = deque(maxlen=int(WINDOW / _MARK_EVERY) + 2)

    def mark(self, now: float, confirmed: Amount) -> None:
        """So much is confirmed in all, at a moment in seconds."""
        marks = self._marks
        if marks and (now < marks[-1][0] or confirmed.instances < marks[-1][1].instances):
            marks.clear()  # the clock was set back, or instances were received again
        if len(marks) > 1 and now - marks[-2][0] < _MARK_EVERY:
            marks.pop()
        while len(marks) > 1 and marks[1][0] <= now - WINDOW:
            marks.popleft()
        marks.append((now, confirmed))

    @property
    def instances(self) -> float:
        """A second."""
        (_, first), (_, last) = self._marks[0], self._marks[-1]
        return self._per_second(last.instances - first.instances)

    @property
    def bytes(self) -> float:
        """A second."""
        (_, first), (_, last) = self._marks[0], self._marks[-1]
        return self._per_second(last.bytes - first.bytes)

    def end(self, now: float, unfinished: Amount) -> float | None:
        """When all that is known will be confirmed at this rate; None while it is unknown."""
        if not unfinished.instances or self.instances <= 0:
            return None
        seconds = unfinished.instances / self.instances
        return now + max(seconds, unfinished.bytes / self.bytes if self.bytes > 0 else 0)

    def _per_second(self, increase: int) -> float:
        seconds = self._marks[-1][0] - self._marks[0][0]
        return max(0.0, increase / seconds) if seconds > 0 else 0.0
