"""What compressed frames announce of themselves, read before a codec allocates memory for it.

Codecs trust the head of a code stream: a few hundred bytes can announce an image of gigabytes,
whatever the data set around them says.

Sources: ISO/IEC 10918-1 annex B (JPEG), ISO/IEC 14495-1 annex C (JPEG-LS), ISO/IEC 15444-1 annexes
A.5.1 and I (JPEG 2000, with HTJ2K), DICOM PS3.5 annex G (RLE).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.transfer_syntaxes import FRAME_TYPES

__all__ = ["CodeStreamError", "Extents", "announced", "longest_rle"]

MAX_COMPONENTS = 4
"""No photometric interpretation has more samples for each pixel (DICOM PS3.3 section C.7.6.3)."""

_JPEG_TYPES = {"image/jpeg", "image/jls"}
_JPEG_2000_TYPES = {"image/jp2", "image/jphc"}
_START_OF_SCAN, _END_OF_IMAGE, _HIERARCHICAL = 0xDA, 0xD9, 0xDE
_STARTS_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length."""
_CODE_STREAM = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE = b"\0\0\0\x0cjP  "


class CodeStreamError(ImagingError):
    """The code stream has no head that can be read, or one that a codec must not be given."""


@dataclass(frozen=True)
class Extents:
    """How many rows and columns a code stream has, and samples for each pixel."""

    rows: int
    columns: int
    components: int


def announced(stream: bytes, transfer_syntax: str) -> Extents | None:
    """Return what a frame announces; nothing in a transfer syntax whose frames announce nothing.

    Raises
    ------
    CodeStreamError
        It cannot be read, or has more components than any image of DICOM.
    """
    kind = FRAME_TYPES.get(transfer_syntax)
    try:
        if kind in _JPEG_TYPES:
            found = _of_jpeg(stream)
        elif kind in _JPEG_2000_TYPES:
            found = _of_jpeg_2000(_without_boxes(stream))
        else:
            return None
    except (struct.error, IndexError) as error:
        raise CodeStreamError("the head of the code stream is cut off") from error
    if not 1 <= found.components <= MAX_COMPONENTS:
        raise CodeStreamError(f"the code stream has {found.components} components")
    return found


def longest_rle(decoded: int) -> int:
    """Return how long an RLE frame is at most that has so many bytes when it is decoded.

    A run that cannot be shortened takes 129 bytes for 128 (PS3.5 section G.3.1); each row of each
    of 15 segments may begin a run of its own, so that twice the size is ample.
    """
    return 64 + 2 * decoded + 15


def _of_jpeg(stream: bytes) -> Extents:
    """Return the largest extents of those that stand before the first scan."""
    found: list[Extents] = []
    for marker, segment in _segments(stream):
        if marker == _HIERARCHICAL:
            raise CodeStreamError("the code stream is hierarchical")
        if marker in _STARTS_OF_FRAME:
            _, rows, columns, components = struct.unpack_from(">BHHB", segment)
            found.append(Extents(rows, columns, components))
    if not found:
        raise CodeStreamError("the code stream does not say how large it is")
    return max(found, key=lambda one: one.rows * one.columns * one.components)


def _segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield markers and what stands in their segments, up to the first scan."""
    at = 0
    while (at := stream.find(b"\xff", at)) >= 0:
        marker = stream[at + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            at += 1 if marker in (0x00, 0xFF) else 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        (length,) = struct.unpack_from(">H", stream, at + 2)
        yield marker, stream[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def _without_boxes(stream: bytes) -> bytes:
    """Return a JPEG 2000 code stream that a writer has left in the boxes of a file (annex I)."""
    if not stream.startswith(_JP2_SIGNATURE):
        return stream
    at = 0
    while at + 8 <= len(stream):
        length, kind = struct.unpack_from(">L4s", stream, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", stream, at + 8)
            head = 16
        if kind == b"jp2c":
            return stream[at + head :]
        if length < head:
            break
        at += length
    raise CodeStreamError("the boxes have no code stream in them")


def _of_jpeg_2000(stream: bytes) -> Extents:
    if not stream.startswith(_CODE_STREAM):
        raise CodeStreamError("the code stream does not begin with its size")
    right, bottom, left, top = struct.unpack_from(">4L", stream, 8)
    (components,) = struct.unpack_from(">H", stream, 40)
    if left >= right or top >= bottom:
        raise CodeStreamError("the code stream is of no size")
    # From the origin of the grid on, since some codecs allocate all of it.
    return Extents(bottom, right, components)
