"""Instances that arrive: in memory while they are small, in files of their own from then on.

The small ones go to the database with their rows: a file for each would take most of the time.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import threading
from enum import Enum, auto
from pathlib import Path

from orthanc_gcp.emulator.dicom.reader import BytesSource, FileSource
from orthanc_gcp.emulator.storage.instances import StoredFile
from orthanc_gcp.emulator.storage.records import Record, read_record
from orthanc_gcp.emulator.system.files import AS_THEY_ARE

__all__ = ["MAX_HELD", "Upload", "UploadResult"]

MAX_HELD = 64 * 1024
"""How many bytes an instance has at most that gets no file; beyond, a file is as fast."""

# Random once a process: the kernel takes its time for random numbers.
_PREFIX = secrets.token_hex(8)
_NUMBERS = itertools.count()


class UploadResult(Enum):
    """What became of an instance that arrived whole."""

    STORED = auto()
    IDENTICAL = auto()
    DIFFERENT = auto()


class Upload:
    """An instance that arrives, until it is stored or discarded.

    ``size`` is how many bytes have arrived, and ``name`` what the file is called.
    """

    def __init__(self, staging: Path) -> None:
        self.name = f"{_PREFIX}{next(_NUMBERS):016x}"
        self.size = 0
        self._staging = staging
        self._path: Path | None = None
        self._hash = hashlib.sha256()
        self._held: list[bytes] = []
        self._file: int | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def write(self, data: memoryview) -> None:
        """Append bytes, unless the upload is closed by now."""
        # Another thread may discard the upload meanwhile, and the kernel reuses descriptors.
        with self._lock:
            if self._is_closed:
                return
            self._hash.update(data)
            self.size += len(data)
            if self._file is None and self.size <= MAX_HELD:
                self._held.append(bytes(data))
            else:
                _write(self._opened(), data)

    def stored_file(self) -> StoredFile:
        """Return what the index knows of an instance that is complete."""
        content = b"".join(self._held) if self._file is None else None
        return StoredFile(self.name, self.size, self._hash.digest(), content)

    def read_record(self) -> Record:
        """Read the header of what has arrived; raise :class:`InvalidDicomError` if it is none."""
        if self._file is None:
            return read_record(BytesSource(b"".join(self._held)))
        return read_record(FileSource(self._file))

    def move_to(self, folder: Path) -> None:
        """Move the file, if there is one."""
        if self._path is not None:
            self.close()  # Windows moves no file that is open
            self._path = self._path.rename(folder / self.name)

    def discard(self) -> None:
        """Forget the instance."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Take no more bytes."""
        with self._lock:
            if not self._is_closed and self._file is not None:
                os.close(self._file)
            self._is_closed = True
            self._held.clear()

    def _opened(self) -> int:
        """Return the file, which is made when there is none yet."""
        if self._file is None:
            self._path = self._staging / self.name
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | AS_THEY_ARE
            self._file = os.open(self._path, flags, 0o600)
            for piece in self._held:
                _write(self._file, memoryview(piece))
            self._held.clear()
        return self._file


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]
