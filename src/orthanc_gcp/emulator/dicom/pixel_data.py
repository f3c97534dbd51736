"""The frames of an image, as they lie in its file.

Sources: DICOM PS3.5 section 8 and annex A.4; PS3.3 section C.7.6.3 (image pixel).
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from pydicom.encaps import get_frame

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError, reason_of
from orthanc_gcp.emulator.dicom.reader import (
    PIXEL_DATA,
    UNDEFINED,
    DicomFile,
    Element,
    FileSource,
)
from orthanc_gcp.emulator.system.files import read_at

__all__ = ["INVALID_NUMBER", "Extent", "NoPixelDataError", "PixelData", "PixelDataError"]

Extent = tuple[int, int]
"""Where bytes start in a file, from 0, and how many they are."""

INVALID_NUMBER = "one of the frame indexes is not valid"
"""Google's words."""


_ATTRIBUTES = {
    0x00280002: "SamplesPerPixel",
    0x00280004: "PhotometricInterpretation",
    0x00280008: "NumberOfFrames",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
    0x7FE00001: "ExtendedOffsetTable",
    0x7FE00002: "ExtendedOffsetTableLengths",
}
_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_HEAD = 8
_INTEGERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l"}


class PixelDataError(ImagingError):
    """The instance has no such frame, or none that can be had in the way asked for."""


class NoPixelDataError(PixelDataError):
    """The instance is no image."""


class PixelData:
    """The frames of an instance, which are read when they are asked for; numbers start at 1.

    Parameters
    ----------
    file : binary file
        The instance; not in Deflated Explicit VR Little Endian. It is closed by :meth:`close`.

    Attributes
    ----------
    count : int
        How many frames there are.
    frame_bits : int
        The length of a native frame.
    rows, columns : int
        The attributes of that name.
    bits_allocated, samples_per_pixel : int
        The attributes of that name, or what they have to be when they are missing.

    Raises
    ------
    NoPixelDataError
        When the instance has no pixel data.
    PixelDataError
        When nothing describes them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            self._element, self._values = _read(file)
            self.count = int(self._values.get("NumberOfFrames") or 1)
            self.frame_bits = _frame_bits(self._values)
            self.rows, self.columns = int(self._values["Rows"]), int(self._values["Columns"])
            self.samples_per_pixel = _samples_per_pixel(self._values)
            self.bits_allocated = _bits_allocated(self._values)
        except (ValueError, TypeError, struct.error) as error:
            raise PixelDataError(f"the image cannot be read{reason_of(error)}") from error

    @property
    def is_encapsulated(self) -> bool:
        return self._element.length == UNDEFINED

    @property
    def tag(self) -> int:
        """That of the pixel data: of integers, or of floating point numbers."""
        return self._element.tag

    @property
    def end(self) -> int:
        """Where in the file the pixel data end."""
        return self._element.end

    @property
    def descriptor(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def extent(self, number: int) -> Extent | None:
        """Return where a native frame starts and how long it is, if it has bytes of its own."""
        start = (number - 1) * self.frame_bits
        if self.is_encapsulated or start % 8 or self.frame_bits % 8:
            return None
        return self._element.offset + start // 8, self.frame_bits // 8

    def read(self, number: int) -> bytes:
        """Return a frame as it is stored, the fragments of a compressed one joined (PS3.5 A.4).

        Raises :class:`PixelDataError` when it cannot be found.
        """
        extent = self.extent(number)
        if extent is not None:
            return read_at(self.descriptor, extent[1], extent[0])
        if not self.is_encapsulated:
            return self._unpacked(number)
        if self._fragments:
            offset, length = self._fragments[number - 1]
            return read_at(self.descriptor, length, offset)
        try:
            self._file.seek(self._element.offset)
            return get_frame(
                self._file,
                number - 1,
                number_of_frames=self.count,
                extended_offsets=self._extended_offsets(),
            )
        except Exception as error:
            raise PixelDataError(f"frame {number} cannot be found{reason_of(error)}") from error

    @cached_property
    def _fragments(self) -> list[Extent]:
        """The frames, when each is one fragment and no table leads to it; else nothing.

        pydicom would count the fragments anew for each frame.
        """
        if self._extended_offsets() is not None:
            return []
        source, at = FileSource(self.descriptor), self._element.offset
        items: list[Extent] = []
        while len(items) <= self.count + 1:
            head = source.read(at, _ITEM_HEAD)
            if head[:4] != _ITEM or len(head) < _ITEM_HEAD:
                break
            (length,) = struct.unpack_from("<L", head, 4)
            items.append((at + _ITEM_HEAD, length))
            at += _ITEM_HEAD + length
        is_table_empty = items[:1] == [(self._element.offset + _ITEM_HEAD, 0)]
        return items[1:] if is_table_empty and len(items) == self.count + 1 else []

    def _extended_offsets(self) -> tuple[bytes, bytes] | None:
        offsets, lengths = (
            self._values.get(f"ExtendedOffsetTable{part}") for part in ("", "Lengths")
        )
        return (offsets, lengths) if offsets and lengths else None

    def check(self, number: int) -> None:
        """Raise :class:`PixelDataError` unless there can be such a frame, with all its pixels."""
        # A compressed frame has one item at least.
        size = _ITEM_HEAD * number if self.is_encapsulated else (number * self.frame_bits + 7) // 8
        if not 1 <= number <= self.count or self._element.offset + size > self._element.end:
            raise PixelDataError(INVALID_NUMBER)

    def _unpacked(self, number: int) -> bytes:
        """Return a frame of single bits that starts or ends within a byte."""
        first = (number - 1) * self.frame_bits
        skipped = first % 8
        self._file.seek(self._element.offset + first // 8)
        packed = np.frombuffer(self._file.read((skipped + self.frame_bits + 7) // 8), np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[skipped : skipped + self.frame_bits]
        return np.packbits(bits, bitorder="little").tobytes()


def _read(file: BinaryIO) -> tuple[Element, dict[str, Any]]:
    """Return the element of the pixel data, and the attributes that tell where frames lie.

    pydicom does not read them here: it warns of, or fails over, what is wrong with any other.
    """
    dicom = DicomFile(FileSource(file.fileno()))
    values: dict[str, Any] = {}
    for element in dicom.elements():
        if element.tag in PIXEL_DATA:
            return element, values
        if element.tag in _ATTRIBUTES and element.length:
            values[_ATTRIBUTES[element.tag]] = _value(element, dicom.value(element))
    raise NoPixelDataError("the instance has no pixel data")


def _value(element: Element, value: bytes) -> Any:
    if element.vr in _INTEGERS:
        return struct.unpack_from(element.encoding.order + _INTEGERS[element.vr], value)[0]
    return value if element.vr[0] == "O" else value.rstrip(b" \0").decode("ascii", "replace")


def _samples_per_pixel(values: dict[str, Any]) -> int:
    is_colour = str(values.get("PhotometricInterpretation")).startswith(("RGB", "YBR"))
    return int(values.get("SamplesPerPixel") or (3 if is_colour else 1))


def _bits_allocated(values: dict[str, Any]) -> int:
    """Return the length of a sample; when it is missing, as many bytes as what is stored takes."""
    bits = values.get("BitsAllocated") or -(-int(values.get("BitsStored", 0)) // 8) * 8
    if not bits:
        raise ValueError("BitsAllocated is missing")
    return int(bits)


def _frame_bits(values: dict[str, Any]) -> int:
    for keyword in ("Rows", "Columns"):
        if not values.get(keyword):
            raise ValueError(f"{keyword} is missing")
    is_subsampled = values.get("PhotometricInterpretation") == "YBR_FULL_422"
    samples = 2 if is_subsampled else _samples_per_pixel(values)
    return int(values["Rows"]) * int(values["Columns"]) * samples * _bits_allocated(values)
