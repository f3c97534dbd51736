"""Ends a process while threads of it still run.

Python finalizes its interpreter at the end of the main thread, and C libraries then free what they
have for all threads, without waiting for those that are daemons: one in the middle of a TLS
handshake uses what OPENSSL_cleanup(3) has freed, and the process ends by SIGSEGV or SIGABRT.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_finalizing"]

_NOT_WRITTEN = 120
"""As Python ends where its output cannot be written (``Py_FinalizeEx``)."""


@contextmanager
def without_finalizing() -> Iterator[None]:
    """Run the program of a process that ends at once then, with the exit code of the program.

    Threads that are no daemons are waited for, exit handlers of Python run, and what was written
    and logged is written out, as ever.
    """
    code = 1

    def leave() -> None:
        logging.shutdown()
        os._exit(code if _written_out() else code or _NOT_WRITTEN)

    atexit.register(leave)
    try:
        yield
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
        raise


def _exit_code(end: SystemExit) -> int:
    """As Python has it: text is written on standard error, and stands for 1."""
    if end.code is None:
        return 0
    return end.code if isinstance(end.code, int) else 1


def _written_out() -> bool:
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as in a process without a terminal on Windows
                stream.flush()
    except (OSError, ValueError):
        return False
    return True
