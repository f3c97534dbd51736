"""What every line of a log passes: secrets are masked, and there are no more than can be read.

What a library writes is nothing of ours: urllib3 quotes the headers of an answer that it cannot
read, google-auth a program's output, pydicom values of patients. None of it is written; and of an
exception that nobody has thought of, where it happened, and not its message.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from orthanc_gcp.redaction import masked

__all__ = [
    "LINES",
    "PERIOD",
    "LineLimit",
    "MaskingFormatter",
    "log_to_stderr",
    "places",
    "silence_libraries",
]

_log = logging.getLogger(__name__)

LINES, PERIOD = 300, 60.0
"""So many lines of one logger pass in so many seconds."""


_ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)

_QUOTING = ("google", "PIL", "pydicom", "pynetdicom", "requests", "urllib3")
"""Libraries that write what a server, a program or a file has said."""


def places(error: BaseException) -> str:
    """Where an exception was raised, and what it and its causes are; nothing of their messages."""
    lines = traceback.format_tb(error.__traceback__)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    names = [type(error).__name__]
    while cause is not None and len(names) < _MOST_CAUSES:
        names.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return "".join(lines) + " because of ".join(names)


_MOST_CAUSES = 5


class MaskingFormatter(logging.Formatter):
    """Formats a record without what looks like a secret; an exception without its message."""

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802 -- as logging has it
        """Where an exception was raised."""
        return "" if ei[1] is None else places(ei[1])

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

    What ends a thread, or the process, is written in it, too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(MaskingFormatter(form))
    handler.addFilter(lambda record: record.name.partition(".")[0] not in _QUOTING)
    handler.addFilter(LineLimit())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    warnings.simplefilter("ignore", UserWarning)
    threading.excepthook = _log_thread
    sys.excepthook = _log_process


def silence_libraries() -> None:
    """Keep :mod:`logging` from writing what these libraries log where nobody has asked for it.

    Without any handler, it would write their warnings on standard error (``logging.lastResort``).
    """
    for name in _QUOTING:
        logging.getLogger(name).addHandler(logging.NullHandler())


def _log_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or isinstance(ended.exc_value, SystemExit):
        return
    name = ended.thread.name if ended.thread is not None else "a thread"
    _log.error("%s has ended unexpectedly", name, exc_info=ended.exc_value)


def _log_process(
    kind: type[BaseException], error: BaseException, place: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, place)
    else:
        _log.critical("this process has ended unexpectedly", exc_info=error)
