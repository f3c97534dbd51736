"""Keys that are pressed at a terminal, without a line feed (termios(3), "noncanonical mode")."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["quit_key"]

_QUIT = b"qQ"
_TICK = 0.2


@contextmanager
def quit_key() -> Iterator[Callable[[float], bool]]:
    """Gives what waits for so many seconds, or until ``q`` is pressed: whether it was.

    Where the standard input is no terminal, it only waits.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield _wait
        return
    if not sys.stdin.isatty():
        yield _wait
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSANOW)  # Ctrl-C remains a signal
        yield lambda seconds: _pressed(terminal, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(terminal: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not select.select([terminal], [], [], min(left, _TICK))[0]:
            continue
        pressed = os.read(terminal, 1024)
        if not pressed or any(one in _QUIT for one in pressed):  # its other end is gone
            return True
    return False
