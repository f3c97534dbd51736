"""Parts to send, of files in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from orthanc_gcp.dicomweb import Part
from tests.emulator.client import make_dicom, read


def part_of(file: bytes, piece: int = 100_000) -> Part:
    """The part that a file is, read in pieces."""
    dataset = read(file)

    def open_file() -> AbstractContextManager[Iterator[bytes]]:
        return nullcontext(file[start : start + piece] for start in range(0, len(file), piece))

    return Part(
        dataset.StudyInstanceUID,
        dataset.SeriesInstanceUID,
        dataset.SOPInstanceUID,
        len(file),
        open_file,
    )


def new_part(pixels: bytes = b"\0\0", **attributes: Any) -> Part:
    return part_of(make_dicom(pixels, **attributes))


def part_from(pieces: Iterable[bytes], size: int, instance: str = "1.2.3") -> Part:
    """A part that need not be DICOM, nor of the size that it says."""
    return Part("1", "1.2", instance, size, lambda: nullcontext(iter(pieces)))
