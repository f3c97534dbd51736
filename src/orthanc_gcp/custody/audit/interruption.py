"""Ends an audit on a signal: SIGINT, as Ctrl-C sends it, or SIGTERM (signal(7))."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is entered, either signal raises KeyboardInterrupt in the main thread."""

    def __init__(self) -> None:
        self._stopping, self._guards = threading.Event(), 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came: threads of the audit end then."""
        return self._stopping.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, unless a signal comes; whether one did."""
        return self._stopping.wait(seconds)

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
        self._stopping.set()
        if not self._guards:
            raise KeyboardInterrupt
