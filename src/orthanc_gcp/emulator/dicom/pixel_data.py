"""The frames of an image, as they lie in its file.

Sources: DICOM PS3.5 section 8 and annex A.4; PS3.3 section C.7.6.3 (image pixel).
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.encaps import get_frame

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.reader import (
    PIXEL_DATA,
    UNDEFINED,
    DicomFile,
    Element,
    FileSource,
)

__all__ = ["INVALID_NUMBER", "Extent", "NoPixelDataError", "PixelData", "PixelDataError"]

Extent = tuple[int, int]
"""Where bytes start in a file, from 0, and how many they are."""

INVALID_NUMBER = "one of the frame indexes is not valid"
"""Google's words."""


_COLOURS = ("RGB", "YBR")


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
    header : Dataset
        What comes before the pixel data; see :func:`_complete`.
    count : int
        How many frames there are.
    frame_bits : int
        The length of a native frame.

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
            self._element = _pixel_element(file)
            file.seek(0)
            self.header = pydicom.dcmread(file, stop_before_pixels=True)
            _complete(self.header)
            self.count = int(self.header.get("NumberOfFrames") or 1)
            self.frame_bits = _frame_bits(self.header)
        except PixelDataError:
            raise
        except Exception as error:
            # pydicom may raise anything about headers that are wrong.
            raise PixelDataError(f"the image cannot be read: {error}") from error

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
            return os.pread(self.descriptor, extent[1], extent[0])
        if not self.is_encapsulated:
            return self._unpacked(number)
        try:
            self._file.seek(self._element.offset)
            return get_frame(
                self._file,
                number - 1,
                number_of_frames=self.count,
                extended_offsets=_extended_offsets(self.header),
            )
        except Exception as error:
            raise PixelDataError(f"frame {number} cannot be found: {error}") from error

    def check(self, number: int) -> None:
        """Raise :class:`PixelDataError` unless there is such a frame, with all of its pixels."""
        missing = not self.is_encapsulated and (
            self._element.offset + (number * self.frame_bits + 7) // 8 > self._element.end
        )
        if not 1 <= number <= self.count or missing:
            raise PixelDataError(INVALID_NUMBER)

    def _unpacked(self, number: int) -> bytes:
        """Return a frame of single bits that starts or ends within a byte."""
        first = (number - 1) * self.frame_bits
        skipped = first % 8
        self._file.seek(self._element.offset + first // 8)
        packed = np.frombuffer(self._file.read((skipped + self.frame_bits + 7) // 8), np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[skipped : skipped + self.frame_bits]
        return np.packbits(bits, bitorder="little").tobytes()


def _pixel_element(file: BinaryIO) -> Element:
    for element in DicomFile(FileSource(file.fileno())).elements():
        if element.tag in PIXEL_DATA:
            return element
    raise NoPixelDataError("the instance has no pixel data")


def _complete(header: pydicom.Dataset) -> None:
    """Add attributes of the image pixel module (type 1) that writers leave out, if one can tell.

    These are the values that they have in nearly every image of the kind.
    """
    is_colour = str(header.get("PhotometricInterpretation") or "").startswith(_COLOURS)
    samples = header.get("SamplesPerPixel") or (3 if is_colour else 1)
    allocated = header.get("BitsAllocated") or -(-int(header.get("BitsStored") or 0) // 8) * 8
    likely = {
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": "MONOCHROME2" if samples == 1 else "RGB",
        **({"BitsAllocated": allocated, "BitsStored": allocated} if allocated else {}),
        "PixelRepresentation": 0,
        **({"PlanarConfiguration": 0} if samples > 1 else {}),
    }
    for keyword, value in likely.items():
        if header.get(keyword) in (None, ""):
            setattr(header, keyword, value)


def _frame_bits(header: pydicom.Dataset) -> int:
    samples = header.get("SamplesPerPixel") or 1
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    return int(header.Rows * header.Columns * samples * header.BitsAllocated)


def _extended_offsets(header: pydicom.Dataset) -> Any:
    if "ExtendedOffsetTable" not in header:
        return None
    return header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths
