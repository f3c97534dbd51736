"""Since when Orthanc is to be followed, while no ledger says it of what Orthanc has.

The ledger may be away when Orthanc is first started with rules, or either may be killed before a
worker has written anything. So the moment is noted in a file in Orthanc's storage folder, before
Orthanc listens. While it is followed, the moment goes on: what was received before it, was read. An
Orthanc in which nothing is left of that, and which has another name by now, is a new one to the
ledger; what it has received since that moment is followed all the same.

The file names no index: of one that was restored, or copied with its folder, it has an earlier
moment, and more is read than has to be.

This module is imported while Orthanc starts: it imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["FILE_NAME", "forget", "note", "note_read", "noted"]

FILE_NAME = "orthanc-gcp-since.json"
_LONGEST = 64
"""So many bytes of the file are read at most: a number has fewer."""


def note(folder: Path, now: float) -> float:
    """Since when Orthanc is to be followed: since what was noted, or else since now.

    Parameters
    ----------
    now
        Seconds since 1970, UTC; before Orthanc listens. What is noted and later than that was noted
        before the clock was set back.

    Raises
    ------
    OSError
        The file cannot be read, or not be written.
    """
    before = noted(folder, now)
    if before is not None:
        return before
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / FILE_NAME, now)
    return now


def noted(folder: Path, now: float) -> float | None:
    """The moment that was noted; None where none was, or one that is not over yet.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    file = folder / FILE_NAME
    if not file.is_file():  # what is no file might not end
        return None
    try:
        with file.open("rb") as opened:
            moment = json.loads(opened.read(_LONGEST))
    except (FileNotFoundError, ValueError):
        return None
    is_number = isinstance(moment, int | float) and not isinstance(moment, bool)
    return float(moment) if is_number and 0 < moment <= now else None


def note_read(folder: Path, moment: float) -> None:
    """All that Orthanc has received before a moment was read, and is in the ledger.

    Parameters
    ----------
    folder
        Where none is, as for a worker on another machine, nothing can be noted.
    moment
        Seconds since 1970, UTC.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    if folder.is_dir():
        _write(folder / FILE_NAME, moment)


def forget(folder: Path) -> None:
    """Nothing is followed any more.

    Raises
    ------
    OSError
        The file cannot be removed.
    """
    (folder / FILE_NAME).unlink(missing_ok=True)


def _write(file: Path, moment: float) -> None:
    new = file.with_name(f"{file.name}.{os.getpid()}")  # several workers may have one folder
    try:
        with new.open("w", encoding="utf-8") as opened:
            json.dump(moment, opened)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
