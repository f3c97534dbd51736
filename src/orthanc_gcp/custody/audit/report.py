"""The report of an audit as a file of JSON lines (https://jsonlines.org), for the archive.

The first line says what was compared, and when that began; then there is one line for each study
and account, by Study Instance UID; the last line says how it ended. UIDs are in it, and no names.
An audit that was broken off goes on where its report ends: a line that is not whole does not count,
and neither does the study that it is of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from orthanc_gcp.custody.audit.positions import Position, ResumeError, began_of, refuse_another
from orthanc_gcp.custody.audit.totals import Totals
from orthanc_gcp.file_locks import FileLock, lock_opened

__all__ = ["Report"]

FORMAT = 1
_ONLY_OWNER = 0o600
LONGEST_LINE = 64 << 20
"""Bytes; one has what differs of a study."""


class Report:
    """Written study by study; only its owner may read it.

    Parameters
    ----------
    file
        Open to be read and written, at its end.
    lock
        What is released when it is closed.
    """

    def __init__(self, file: BinaryIO, lock: FileLock | None) -> None:
        self._file, self._lock = file, lock

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Report:
        """Begin a report in a new file.

        Raises
        ------
        OSError
            It cannot be written, or is there already.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        report = cls(*_locked(os.open(path, flags, _ONLY_OWNER), path))
        report._write([{"Audit": FORMAT, **header}])
        return report

    @classmethod
    def resume(cls, path: Path, what: Mapping[str, Any]) -> tuple[Report, Position]:
        """Go on with a report, and where: what is not whole at its end is cut off.

        Parameters
        ----------
        what
            Is to be compared, as in its header: ``Selection``, ``Stores``, ``Rules``, ``Ledger``.

        Raises
        ------
        ResumeError
            It is of something else, complete, or no report.
        OSError
            It cannot be read or written.
        """
        report = cls(*_locked(os.open(path, os.O_RDWR), path))
        try:
            return report, report._cut(what)
        except BaseException:
            report._close()
            raise

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write down what came of a study: all of it at once.

        Raises
        ------
        OSError
            It cannot be written; what is there of it does not count.
        """
        self._write(lines)

    def end(self, document: Mapping[str, Any]) -> None:
        """Write the last line, and see to it that all is on the disk.

        Raises
        ------
        OSError
            It cannot be written.
        """
        self._write([{"End": document}])
        os.fsync(self._file.fileno())

    def _close(self) -> None:
        # What could not be written was an error already, and is tried once more.
        with suppress(OSError):
            self._file.close()
        if self._lock is not None:
            self._lock.release()

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self._file.flush()

    def _cut(self, what: Mapping[str, Any]) -> Position:
        """Leave what is of whole studies, and find out where that ends."""
        lines = _lines(self._file)
        header, end = next(lines, ({}, 0))
        if header.get("Audit") != FORMAT:
            raise ResumeError("it is no report of an audit")
        refuse_another(what, header)
        try:
            position, place = _last_whole_study(lines, began_of(header), end)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ResumeError("it is no report of an audit") from None
        self._file.seek(place)
        self._file.truncate()
        return position


def _last_whole_study(
    lines: Iterator[tuple[dict[str, Any], int]], began: float, end: int
) -> tuple[Position, int]:
    """How far a report came for certain, and where that ends in the file.

    Of the last study that it has, not all lines may be there.
    """
    totals, after, place = Totals(), None, end
    study: list[Mapping[str, Any]] = []
    for line, behind in lines:
        if "End" in line:
            if line["End"]["Complete"]:
                raise ResumeError("it is complete")
            break
        if study and line["Study"] != study[0]["Study"]:
            totals.add_study(study)
            after, study, place = study[0]["Study"], [], end
        study.append(line)
        end = behind
    return Position(began, after, totals), place


def _locked(descriptor: int, path: Path) -> tuple[BinaryIO, FileLock | None]:
    """A file that no other audit writes at the same time, and what to release after it.

    Raises
    ------
    OSError
        One does.
    """
    try:
        lock = lock_opened(descriptor, path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "r+b"), lock


def _lines(file: BinaryIO) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines, each with where it ends; a longer one than a report has is none."""
    place = 0
    while line := file.readline(LONGEST_LINE):
        place += len(line)
        if not line.endswith(b"\n"):
            return
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(document, dict):
            return
        yield document, place
