"""Ends what runs when this process is asked to, by SIGTERM or SIGINT, and in a bounded time.

A handler of Python runs in the main thread, between any two of its instructions: also while that
thread holds a lock, so that what takes the same lock there, as ``threading.Event.set`` does, waits
for ever; and not while it waits for a database (Python, "signal", sections "Execution of Python
signal handlers" and "Signals and threads"). So the number of a signal goes into a socket at once,
and another thread does the rest: a socket, since Windows has no pipes that never block.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["end_within", "stop_on_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_on_signals(stop: Callable[[], object], within: float) -> None:
    """Call a function, on a thread of its own, at the first signal that asks for the end.

    Parameters
    ----------
    within
        Seconds that the process may take then; see :func:`end_within`.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def wait() -> None:
        with reading:
            reading.recv(1)
            end_within(within)
            stop()

    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    threading.Thread(target=wait, name="gcp-signals", daemon=True).start()


def end_within(seconds: float) -> None:
    """End the process with code 1 if it has not ended by itself after so many seconds.

    What waits for a server that does not answer is left behind; it is as if it had been killed.
    """
    last = threading.Timer(seconds, os._exit, (1,))
    last.daemon = True
    with suppress(RuntimeError):  # no thread can be started: the end is tried without it
        last.start()
