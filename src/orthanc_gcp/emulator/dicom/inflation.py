"""Inflates Deflated Explicit VR Little Endian (DICOM PS3.5 annex A.5), never without a bound.

Zeros are deflated to a thousandth of their length. What comes out is bounded by what the data set
announces: its pixels, and as much beside them as the reader takes of any data set.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.pixel_data import PixelData, PixelDataError
from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    EXPLICIT_LITTLE,
    MAX_INFLATED,
    DicomFile,
    FileSource,
)

__all__ = ["inflate", "inflated"]

_PIECE = 1024 * 1024


def inflate(source: BinaryIO, target: BinaryIO) -> None:
    """Write a deflated file in Explicit VR Little Endian; a piece of it is in memory at a time.

    Raises :class:`ImagingError` when it is longer than it announces, or cannot be inflated.
    """
    limit = MAX_INFLATED + _announced(source)
    start = DicomFile(FileSource(source.fileno())).start
    source.seek(0)
    meta = _meta_information(source.read(start))
    target.write(bytes(128) + b"DICM")
    write_file_meta_info(DicomFileLike(target), meta, enforce_standard=False)
    written = 0
    try:
        for piece in inflated(source, start):
            written += len(piece)
            if written > limit:
                raise ImagingError("the deflated data set is longer than it announces")
            target.write(piece)
    except zlib.error as error:
        raise ImagingError("the deflated data set cannot be inflated") from error
    target.flush()


def _announced(source: BinaryIO) -> int:
    """Return how many bytes the pixels take, as the data set says."""
    try:
        pixels = PixelData(source)
    except PixelDataError:
        return 0
    return (pixels.count * pixels.frame_bits + 7) // 8


def _meta_information(head: bytes) -> FileMetaDataset:
    """Return that of the inflated file; pydicom must not see that the data set is deflated."""
    inflated = head.replace(DEFLATED.encode(), EXPLICIT_LITTLE.encode() + bytes(3))
    meta = pydicom.dcmread(io.BytesIO(inflated)).file_meta
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


def inflated(source: BinaryIO, start: int) -> Iterator[bytes]:
    """Yield what a deflated data set is, a piece at a time, given where it begins in its file.

    Raises :class:`ImagingError` at the end when it is cut off, and :class:`zlib.error`.
    """
    source.seek(start)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    while not stream.eof and (piece := stream.unconsumed_tail or source.read(_PIECE)):
        yield stream.decompress(piece, _PIECE)
    if not stream.eof:
        raise ImagingError("the deflated data set is cut off")
