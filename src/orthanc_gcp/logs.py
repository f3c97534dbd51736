"""What every line of a log passes: secrets are masked, and there are no more than can be read."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from orthanc_gcp.redaction import masked

__all__ = ["LINES", "PERIOD", "LineLimit", "MaskingFormatter", "log_to_stderr"]

LINES, PERIOD = 300, 60.0
"""So many lines of one logger pass in so many seconds."""


class MaskingFormatter(logging.Formatter):
    """Formats a record, its traceback included, without what looks like a secret."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        left_out = getattr(record, "left_out", 0)
        text = masked(super().format(record))
        return f"{text} (before it, {left_out} lines were left out)" if left_out else text


@dataclass
class _Period:
    """The lines of one logger since a moment of the monotonic clock."""

    began: float
    passed: int = 0
    left_out: int = 0


class LineLimit(logging.Filter):
    """Lets only some lines of each logger pass; the next that passes says how many did not.

    A logger that writes without end takes nothing from the others.
    """

    def __init__(
        self,
        lines: int = LINES,
        period: float = PERIOD,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._lines, self._period, self._now = lines, period, now
        self._periods: dict[str, _Period] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        now = self._now()
        current = self._periods.setdefault(record.name, _Period(now))
        if now - current.began >= self._period:
            record.left_out = current.left_out
            current = self._periods[record.name] = _Period(now)
        current.passed += 1
        if current.passed == self._lines:
            record.msg = f"{record.getMessage()} (what follows is left out for a while)"
            record.args = ()
        if current.passed <= self._lines:
            return True
        current.left_out += 1
        return False


def log_to_stderr(form: str) -> None:
    """Write the log of this process on its standard error, in a form of :mod:`logging`.

    What pydicom warns of holds values of patients: it is not written.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(MaskingFormatter(form))
    handler.addFilter(lambda record: not record.name.startswith("pydicom"))
    handler.addFilter(LineLimit())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    warnings.simplefilter("ignore", UserWarning)
