"""Open files by their descriptors, on systems that have not all that POSIX has."""

from __future__ import annotations

import os
import sys
import tempfile
import threading

__all__ = ["AS_THEY_ARE", "WITHOUT_WAITING", "file_of", "open_to_read", "read_at"]

AS_THEY_ARE = getattr(os, "O_BINARY", 0)
"""Without it, Windows changes the ends of lines in what is read and written by descriptors."""
WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)

_SHARED_BY_ALL = 0x7
"""FILE_SHARE_READ, FILE_SHARE_WRITE and FILE_SHARE_DELETE (Microsoft, "CreateFileW")."""
_moving = threading.Lock()


def open_to_read(path: str) -> int:
    """A descriptor of a file, which others may rename and delete meanwhile.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    if sys.platform == "win32":
        import _winapi
        import msvcrt

        handle = _winapi.CreateFile(
            path, _winapi.GENERIC_READ, _SHARED_BY_ALL, 0, _winapi.OPEN_EXISTING, 0, 0
        )
        return msvcrt.open_osfhandle(handle, os.O_RDONLY | AS_THEY_ARE)
    return os.open(path, os.O_RDONLY)


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Bytes of an open file, whose position does not change (pread(2)); fewer at its end."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    with _moving:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, offset, os.SEEK_SET)
        try:
            return os.read(descriptor, length)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)


def file_of(content: bytes) -> int:
    """A descriptor of a file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("instance")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
