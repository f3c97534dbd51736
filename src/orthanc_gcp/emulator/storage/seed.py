"""DICOM files of a folder (PS3.10 section 7), stored before anybody asks."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orthanc_gcp.emulator.dicom.reader import InvalidDicomError
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.storage import Storage
from orthanc_gcp.emulator.storage.uploads import UploadResult
from orthanc_gcp.emulator.system.files import AS_THEY_ARE, WITHOUT_WAITING

__all__ = ["Seed", "store_seed"]

_BLOCK = 1024 * 1024
_SECONDS_BETWEEN_REPORTS = 2.0

Report = Callable[[str], None]
"""Takes a line for the person who started the emulator."""


@dataclass(frozen=True)
class Seed:
    """A folder whose DICOM files go into a store: by default, into the emulator's first one."""

    folder: Path
    store: StoreName | None = None

    @classmethod
    def parse(cls, text: str) -> Seed:
        """Read ``FOLDER``, or ``STORE=FOLDER`` where a full name of a DICOM store comes first."""
        name, equals, folder = text.partition("=")
        if equals:
            with suppress(ValueError):
                return cls(Path(folder), StoreName.parse(name))
        return cls(Path(text))


@dataclass
class _Progress:
    """Counts files, and says every few seconds how many."""

    report: Report
    folder: str
    stored: int = 0
    present: int = 0
    left_out: int = 0

    def __post_init__(self) -> None:
        self._said = time.monotonic()

    def leave_out(self, path: str, reason: str) -> None:
        self.left_out += 1
        self.report(f"not seeded: {_shown(path)}: {reason}")

    def say_sometimes(self) -> None:
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_REPORTS:
            self._said = time.monotonic()
            self.report(f"{self} so far")

    def __str__(self) -> str:
        return (
            f"seeding from {_shown(self.folder)}: {self.stored} stored, "
            f"{self.present} there already, {self.left_out} left out"
        )


def store_seed(storage: Storage, store: int, folder: Path, report: Report) -> None:
    """Store the DICOM files of a folder and of those below it, in the order of their paths.

    Symbolic links are followed, each folder is read once. What is stored already stays as it is.
    What cannot be stored is reported by its path and left out.

    Parameters
    ----------
    store : int
        The row of the store.
    report : callable
        Takes what is left out, every two seconds how far it is, and how it ended.

    Raises
    ------
    OSError
        There is no such folder, or the emulator's own directory cannot be written.
    """
    progress = _Progress(report, str(folder))
    with os.scandir(folder):
        pass  # it is a folder, and can be read
    for path in _files(str(folder), progress):
        _store(storage, store, path, progress)
        progress.say_sometimes()
    report(str(progress))


def _files(folder: str, progress: _Progress) -> Iterator[str]:
    seen = set()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            about = os.stat(path)  # noqa: PTH116 - half a million paths need no objects
            if stat.S_ISDIR(about.st_mode):
                if (about.st_dev, about.st_ino) not in seen:
                    seen.add((about.st_dev, about.st_ino))
                    names = sorted(os.listdir(path), reverse=True)  # noqa: PTH208
                    waiting += [os.path.join(path, name) for name in names]  # noqa: PTH118
                continue
        except OSError as error:
            progress.leave_out(path, error.strerror or "it cannot be read")
            continue
        if stat.S_ISREG(about.st_mode):
            yield path
        else:
            # To open a pipe would wait for whoever writes into it.
            progress.leave_out(path, "it is no file")


def _store(storage: Storage, store: int, path: str, progress: _Progress) -> None:
    try:
        file = os.open(path, os.O_RDONLY | WITHOUT_WAITING | AS_THEY_ARE)
    except OSError as error:
        progress.leave_out(path, error.strerror or "it cannot be read")
        return
    upload = storage.begin()
    try:
        while block := _read(file):
            upload.write(memoryview(block))
        if not upload.size:
            raise InvalidDicomError("it is empty")  # noqa: TRY301
        outcome = storage.keep(store, upload.read_record(), upload)
    except InvalidDicomError as error:
        upload.discard()
        progress.leave_out(path, f"invalid DICOM instance: {error}")
    except BaseException:
        upload.discard()
        raise
    else:
        if outcome is UploadResult.DIFFERENT:
            progress.leave_out(path, "other bytes are stored under its UIDs")
        progress.stored += outcome is UploadResult.STORED
        progress.present += outcome is UploadResult.IDENTICAL
    finally:
        os.close(file)


def _read(file: int) -> bytes:
    try:
        return os.read(file, _BLOCK)
    except OSError as error:
        raise InvalidDicomError(f"it cannot be read: {error.strerror}") from error


def _shown(path: str) -> str:
    """Return a path as any terminal can show it, in one line."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
