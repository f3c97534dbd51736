"""Locks on files that end with the process, however it ends.

``flock(2)`` where there is one. filelock, which knows Windows, too, stands in elsewhere only: it
may not lock what it is not to write or to delete again. A command asks whether a worker runs by a
file that its user may only read, and an audit locks the very report that it writes.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

try:
    import fcntl
except ImportError:  # Windows
    HAS_FLOCK = False
else:
    HAS_FLOCK = True

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["FileLock", "file_lock", "is_locked", "lock_opened"]

_MODE = 0o600


class FileLock(Protocol):
    """A file that one process at a time has."""

    def acquire(self) -> bool:
        """Whether nobody else has it; it is not waited for.

        Raises
        ------
        OSError
            The file cannot be made or opened.
        """

    def release(self) -> None:
        """Let another one have it."""


def file_lock(path: Path) -> FileLock:
    """A lock on a file that is made for it."""
    return _Flock(path) if HAS_FLOCK else _Portable(path)


def is_locked(path: Path) -> bool:
    """Whether some process has the lock on a file; nobody has it where there is none.

    Raises
    ------
    OSError
        The file cannot be opened.
    """
    if not HAS_FLOCK:
        if not path.exists():
            return False
        lock = _Portable(path)
        free = lock.acquire()
        lock.release()
        return not free
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def lock_opened(file: int, path: Path) -> FileLock | None:
    """Lock an open file until it is closed; without ``flock(2)``, one beside it until released.

    Windows lets nobody read what is locked there, so that the file itself cannot be.

    Returns
    -------
    FileLock or None
        What has to be released besides; None where to close the file is enough.

    Raises
    ------
    OSError
        Another process has it.
    """
    if HAS_FLOCK:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    beside = _Portable(path.with_name(f"{path.name}.lock"))
    if not beside.acquire():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return beside


class _Flock:
    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1

    def acquire(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, _MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Portable:
    def __init__(self, path: Path) -> None:
        self._lock = _made(path)

    def acquire(self) -> bool:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()


def _made(path: Path) -> BaseFileLock:
    from filelock import FileLock as Library

    return Library(path, mode=_MODE, thread_local=False)
