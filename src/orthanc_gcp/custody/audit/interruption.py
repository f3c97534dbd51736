"""Ends an audit on a signal: SIGINT, as Ctrl-C sends it, or SIGTERM (signal(7))."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


_ASK_EVERY = 0.2
"""Seconds after which a thread that waits finds out whether a signal came."""


class Interruption:
    """While it is entered, either signal raises KeyboardInterrupt in the main thread.

    Its handler takes no lock, which that thread might hold (Python, "signal", section "Signals and
    threads").
    """

    def __init__(self) -> None:
        self._requested, self._guards = False, 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came: threads of the audit end then."""
        return self._requested

    def wait(self, seconds: float) -> bool:
        """Sleep, unless a signal comes; whether one did."""
        end = time.monotonic() + seconds
        while not self._requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _ASK_EVERY))
        return self._requested

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """What is done inside is done to its end first."""
        self._guards += 1
        try:
            yield
        finally:
            self._guards -= 1
        if self.requested and not self._guards:
            raise KeyboardInterrupt

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        if not self._guards:
            raise KeyboardInterrupt
