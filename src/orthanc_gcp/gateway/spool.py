"""The data set of a C-STORE while it is received: in memory if it is small, else in a file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

__all__ = ["Spool"]

IN_MEMORY = 1024 * 1024
"""Bytes above which it is in a file, which has no name, and so is gone with the process."""
LEAST_FREE = 256 * 1024 * 1024
"""Bytes that others of this machine need in the folder of these files."""
_PIECE = 256 * 1024
_LOOK_EVERY = 16 * 1024 * 1024


class Spool:
    """Takes what pynetdicom writes into the file of a data set.

    Parameters
    ----------
    discards
        Whether nothing is kept, as it will be refused.

    Attributes
    ----------
    problem
        Why it has not been kept; empty where it has.
    """

    def __init__(self, *, discards: bool = False) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 -- see close()
        self._size = self._looked_at = 0
        self.problem = "" if not discards else "it is not to be kept"
        self.file = self  # it is what pynetdicom flushes

    def write(self, data: bytes) -> None:
        """Keep more of it; without room for it, nothing."""
        if self.problem:
            return
        try:
            self._check_room()
            self._file.write(data)
        except (OSError, ValueError) as error:  # ValueError: it has been closed meanwhile
            self.problem = getattr(error, "strerror", "") or type(error).__name__
            self._file.close()
        self._size += len(data)

    def flush(self) -> None:
        """Do nothing: it is read by this process."""

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def head(self, size: int) -> bytes:
        """How it begins."""
        self._file.seek(0)
        return self._file.read(size)

    def close(self) -> None:
        """Keep nothing of it."""
        self.problem = self.problem or "it has been closed"
        self._file.close()

    def _check_room(self) -> None:
        if self._size - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = self._size
        if shutil.disk_usage(tempfile.gettempdir()).free < LEAST_FREE:
            raise OSError(0, "there is no room for temporary files")
