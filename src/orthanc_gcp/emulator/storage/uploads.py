"""Instances that arrive: in memory while they are small, in files of their own from then on."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import threading
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from orthanc_gcp.emulator.dicom.reader import BytesSource, FileSource
from orthanc_gcp.emulator.storage.instances import StoredFile
from orthanc_gcp.emulator.storage.records import Record, read_record

__all__ = ["MAX_HELD", "Upload", "UploadResult"]

MAX_HELD = 128 * 1024
"""How many bytes of an instance are in memory at most before they go to a file."""

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

    ``size`` is how many bytes have arrived, and ``name`` what its file is called.
    """

    def __init__(self, staging: Path) -> None:
        self.name = f"{_PREFIX}{next(_NUMBERS):016x}"
        self.size = 0
        self._path = f"{staging}/{self.name}"
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

    def save(self) -> None:
        """Write to the file what is still in memory."""
        with self._lock:
            if not self._is_closed:
                self._opened()

    def stored_file(self) -> StoredFile:
        """Return what the index knows of the file when it is complete."""
        return StoredFile(self.name, self.size, self._hash.digest())

    def read_record(self) -> Record:
        """Read the header of what has arrived; raise :class:`InvalidDicomError` if it is none."""
        if self._file is None:
            return read_record(BytesSource(b"".join(self._held)))
        return read_record(FileSource(self._file))

    def move_to(self, folder: Path) -> None:
        """Move the file, once it is saved."""
        target = f"{folder}/{self.name}"
        os.rename(self._path, target)  # noqa: PTH104 - a path object costs as much as the call
        self._path = target

    def discard(self) -> None:
        """Forget the instance."""
        self.close()
        if self._file is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108

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
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            for piece in self._held:
                _write(self._file, memoryview(piece))
            self._held.clear()
        return self._file


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]
