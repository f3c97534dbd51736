"""The frames of an image: where they lie in its file, and what they decode to.

Sources: DICOM PS3.5 section 8 and annex A.4; PS3.3 section C.7.6.3 (image pixel).
"""

from __future__ import annotations

import copy
import os
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.datadict import dictionary_keyword
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.reader import (
    EXPLICIT_LITTLE,
    PIXEL_DATA,
    UNDEFINED,
    DicomFile,
    Element,
    FileSource,
)
from orthanc_gcp.emulator.dicom.transfer_syntaxes import DEFLATED_FRAMES

__all__ = ["Extent", "PixelData", "PixelDataError", "Raster"]

Extent = tuple[int, int]
"""Where bytes start in a file, from 0, and how many they are."""

MAX_DECODED = 150_000_000
"""Larger frames are not decoded (Healthcare API, quotas and limits)."""


class PixelDataError(ImagingError):
    """The instance has no such frame, or none that can be had in the way asked for."""


@dataclass(frozen=True)
class Raster:
    """A decoded frame: an array of rows, columns, and samples when there are several.

    ``description`` has pydicom's names for the attributes that describe the pixels as they are
    here, which may differ from those of the file: ``photometric_interpretation``, ``bits_stored``…
    """

    pixels: np.ndarray
    description: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Return native pixels, little endian."""
        return self.pixels.astype(self.pixels.dtype.newbyteorder("<"), copy=False).tobytes()


class PixelData:
    """The frames of an instance, which are read when they are asked for; numbers start at 1.

    Parameters
    ----------
    file : binary file
        The instance; not in Deflated Explicit VR Little Endian. It is closed by :meth:`close`.

    Raises
    ------
    PixelDataError
        When the instance has no pixel data, or none that are described.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            self._element = _pixel_element(file)
            file.seek(0)
            self.header = pydicom.dcmread(file, stop_before_pixels=True)
            self.count = int(self.header.get("NumberOfFrames") or 1)
            self._bits = _frame_bits(self.header)
        except PixelDataError:
            raise
        except Exception as error:
            # pydicom may raise anything about headers that are wrong.
            raise PixelDataError(f"the image cannot be read: {error}") from error

    @property
    def is_encapsulated(self) -> bool:
        return self._element.length == UNDEFINED

    @property
    def descriptor(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def extent(self, number: int) -> Extent | None:
        """Return where a native frame starts and how long it is, if it has bytes of its own."""
        start = (number - 1) * self._bits
        if self.is_encapsulated or start % 8 or self._bits % 8:
            return None
        return self._element.offset + start // 8, self._bits // 8

    def read(self, number: int) -> bytes:
        """Return a frame as it is stored, the fragments of a compressed one joined (PS3.5 A.4).

        Raises :class:`PixelDataError` when it cannot be found.
        """
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

    def decode(self, number: int) -> Raster:
        """Return a frame as pixels, colours by pixel and in RGB, unless there is a palette.

        Raises :class:`PixelDataError` when it is too large, or cannot be decoded.
        """
        if self._bits // 8 > MAX_DECODED:
            raise PixelDataError("the frame is too large to be decoded")
        extent = self.extent(number)
        frame = os.pread(self.descriptor, extent[1], extent[0]) if extent else self.read(number)
        try:
            return Raster(*self._decode(frame))
        except Exception as error:
            raise PixelDataError(f"frame {number} cannot be decoded: {error}") from error

    def _decode(self, frame: bytes) -> tuple[np.ndarray, dict[str, Any]]:
        image = self.header.group_dataset(0x0028)
        image.file_meta = copy.deepcopy(self.header.file_meta)
        image.pop("NumberOfFrames", None)
        syntax = image.file_meta.TransferSyntaxUID
        if syntax == DEFLATED_FRAMES:
            frame, syntax = self._inflated(frame), UID(EXPLICIT_LITTLE)
            image.file_meta.TransferSyntaxUID = syntax
        keyword = dictionary_keyword(self._element.tag)
        if syntax.is_encapsulated:
            image.PixelData = encapsulate([frame])
            image["PixelData"].is_undefined_length = True
        else:
            setattr(image, keyword, frame + bytes(len(frame) % 2))
        return get_decoder(syntax).as_array(image, index=0)

    def _inflated(self, frame: bytes) -> bytes:
        """Return a frame of Deflated Image Frame Compression (PS3.5 annex A.4.13)."""
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, (self._bits + 7) // 8)

    def check(self, number: int) -> None:
        """Raise :class:`PixelDataError` unless there is such a frame, with all of its pixels."""
        missing = not self.is_encapsulated and (
            self._element.offset + (number * self._bits + 7) // 8 > self._element.end
        )
        if not 1 <= number <= self.count or missing:
            raise PixelDataError(f"Invalid frame number: {number}")

    def _unpacked(self, number: int) -> bytes:
        """Return a frame of single bits that starts or ends within a byte."""
        first = (number - 1) * self._bits
        skipped = first % 8
        self._file.seek(self._element.offset + first // 8)
        packed = np.frombuffer(self._file.read((skipped + self._bits + 7) // 8), np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[skipped : skipped + self._bits]
        return np.packbits(bits, bitorder="little").tobytes()


def _pixel_element(file: BinaryIO) -> Element:
    for element in DicomFile(FileSource(file.fileno())).elements():
        if element.tag in PIXEL_DATA:
            return element
    raise PixelDataError("the instance has no pixel data")


def _frame_bits(header: pydicom.Dataset) -> int:
    samples = header.get("SamplesPerPixel") or 1
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    return int(header.Rows * header.Columns * samples * header.BitsAllocated)


def _extended_offsets(header: pydicom.Dataset) -> Any:
    if "ExtendedOffsetTable" not in header:
        return None
    return header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths
