"""Files in which instances arrive."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from enum import Enum, auto
from pathlib import Path

from orthanc_gcp.emulator.dicom.reader import FileSource
from orthanc_gcp.emulator.storage.instances import StoredFile
from orthanc_gcp.emulator.storage.records import Record, read_record

__all__ = ["Upload", "UploadResult"]


class UploadResult(Enum):
    """What became of an instance that arrived whole."""

    STORED = auto()
    IDENTICAL = auto()
    DIFFERENT = auto()


class Upload:
    """A file in which an instance arrives, until it is stored or discarded.

    ``size`` is how many bytes have arrived.
    """

    def __init__(self, staging: Path) -> None:
        self.name = secrets.token_hex(16)
        self._path = staging / self.name
        self._hash = hashlib.sha256()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._lock = threading.Lock()
        self.size = 0

    def write(self, data: memoryview) -> None:
        """Append bytes, unless the file is closed by now."""
        # Another thread may discard the upload meanwhile, and the kernel reuses descriptors.
        with self._lock:
            if self._file < 0:
                return
            self._hash.update(data)
            self.size += len(data)
            while data:
                data = data[os.write(self._file, data) :]

    def stored_file(self) -> StoredFile:
        """Return what the index knows of the file when it is complete."""
        return StoredFile(self.name, self.size, self._hash.digest())

    def read_record(self) -> Record:
        """Read the header of what has arrived; raise :class:`InvalidDicomError` if it is none."""
        return read_record(FileSource(self._file))

    def move_to(self, folder: Path) -> None:
        self._path = self._path.rename(folder / self.name)

    def discard(self) -> None:
        """Forget the file."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
