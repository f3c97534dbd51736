"""The log of the emulator's process: what any terminal can show, and no more than can be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

__all__ = ["LINES", "PERIOD", "LineLimit", "PrintableFormatter", "log_to_stderr"]

LINES, PERIOD = 1000, 60.0
"""So many records pass in so many seconds; an import has one for each file that fails."""


class PrintableFormatter(logging.Formatter):
    """Formats a record as one line, and its traceback as lines, without control characters.

    What clients sent may stand in both.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - that of its base
        """The line."""
        left_out = getattr(record, "left_out", 0)
        more = f" (before it, {left_out} were left out)" if left_out else ""
        return _printable(super().formatMessage(record)) + more

    def formatException(self, exc_info: Any) -> str:  # noqa: N802 - that of its base
        """The traceback."""
        return "\n".join(map(_printable, super().formatException(exc_info).split("\n")))


class LineLimit(logging.Filter):
    """Lets only some records pass; the next that passes says how many did not."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._began, self._passed, self._left_out = now(), 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        now = self._now()
        if now - self._began >= PERIOD:
            record.left_out = self._left_out
            self._began, self._passed, self._left_out = now, 0, 0
        if self._passed >= LINES:
            self._left_out += 1
            return False
        self._passed += 1
        return True


def log_to_stderr() -> None:
    """Write the log of this process on its standard error.

    What pydicom says of values is said of each again and again, and may show them: it is left out.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    handler.addFilter(lambda record: not record.name.startswith("pydicom"))
    handler.addFilter(LineLimit())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
