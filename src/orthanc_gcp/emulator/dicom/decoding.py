"""Decodes frames (DICOM PS3.5 section 8 and annex A.4), by native code of others.

It runs in the imaging process only: see :mod:`orthanc_gcp.emulator.dicom.imaging_process`.
"""

from __future__ import annotations

import copy
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.datadict import dictionary_keyword
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.code_streams import announced, longest_rle
from orthanc_gcp.emulator.dicom.imaging_errors import reason_of
from orthanc_gcp.emulator.dicom.pixel_data import PixelData, PixelDataError
from orthanc_gcp.emulator.dicom.reader import EXPLICIT_LITTLE
from orthanc_gcp.emulator.dicom.transfer_syntaxes import (
    DEFLATED_FRAMES,
    JPEG,
    JPEG_EXTENDED,
    RLE,
)

__all__ = ["NO_WHOLE_BYTES", "DecodableImage", "Raster", "decode"]

MAX_DECODED = 150_000_000
"""Larger frames are not decoded (Healthcare API, quotas and limits)."""

NO_WHOLE_BYTES = "BitsAllocated non-divisible by 8"
"""Google's words for single bits that would have to be decoded or compressed."""

_START_OF_IMAGE = b"\xff\xd8"
_SEQUENTIAL = (0xC0, 0xC1)
_START_OF_SCAN = 0xDA


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


class DecodableImage(PixelData):
    """The frames of an instance, with what describes them for pydicom.

    Takes and raises what :class:`PixelData` does.

    Attributes
    ----------
    header : Dataset
        What comes before the pixel data. Attributes of the image pixel module (PS3.3 section
        C.7.6.3, type 1) that are missing are what they are in nearly every image of the kind.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        file.seek(0)
        try:
            self.header = pydicom.dcmread(file, stop_before_pixels=True)
            self._complete_header()
        except Exception as error:
            # pydicom may raise anything about headers that are wrong.
            raise PixelDataError(f"the image cannot be read{reason_of(error)}") from error

    def _complete_header(self) -> None:
        is_colour = self.samples_per_pixel > 1
        likely = {
            "SamplesPerPixel": self.samples_per_pixel,
            "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
            "BitsAllocated": self.bits_allocated,
            "BitsStored": self.bits_allocated,
            "PixelRepresentation": 0,
            **({"PlanarConfiguration": 0} if is_colour else {}),
        }
        for keyword, value in likely.items():
            if self.header.get(keyword) in (None, ""):
                setattr(self.header, keyword, value)


def decode(pixels: DecodableImage, number: int) -> Raster:
    """Return a frame as pixels, colours by pixel and in RGB, unless there is a palette.

    Frames are counted from 1. Raises :class:`PixelDataError` when it is too large, or cannot be
    decoded.
    """
    if pixels.frame_bits // 8 > MAX_DECODED:
        raise PixelDataError("the frame is too large to be decoded")
    if pixels.is_encapsulated and pixels.bits_allocated % 8:
        raise PixelDataError(NO_WHOLE_BYTES)
    frame = pixels.read(number)
    try:
        return Raster(*_decode(pixels, frame))
    except Exception as error:
        # Codecs and pydicom may raise anything about data that are wrong.
        raise PixelDataError(f"frame {number} cannot be decoded{reason_of(error)}") from error


def _decode(pixels: DecodableImage, frame: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    image = pixels.header.group_dataset(0x0028)
    image.file_meta = copy.deepcopy(pixels.header.file_meta)
    image.pop("NumberOfFrames", None)
    syntax = image.file_meta.TransferSyntaxUID
    _require_announced_size(pixels, frame, syntax)
    if syntax == DEFLATED_FRAMES:
        frame, syntax = _inflated(frame, pixels.frame_bits), UID(EXPLICIT_LITTLE)
        image.file_meta.TransferSyntaxUID = syntax
    if syntax in (JPEG, JPEG_EXTENDED):
        frame = _with_whole_spectrum(frame)
    if syntax.is_encapsulated:
        image.PixelData = encapsulate([frame])
        image["PixelData"].is_undefined_length = True
    else:
        setattr(image, dictionary_keyword(pixels.tag), frame + bytes(len(frame) % 2))
    return get_decoder(syntax).as_array(image, index=0)


def _require_announced_size(pixels: DecodableImage, frame: bytes, syntax: str) -> None:
    """Raise :class:`PixelDataError` for a frame that would take more memory than the data set says.

    Fewer pixels than it says are the codec's to refuse.
    """
    if syntax == RLE and len(frame) > longest_rle(pixels.frame_bits // 8):
        raise PixelDataError("the frame is longer than its pixels can be")
    stream = announced(frame, syntax)
    if stream is None:
        return
    if stream.rows * stream.columns > pixels.rows * pixels.columns:
        raise PixelDataError(
            f"the code stream has {stream.rows} x {stream.columns} pixels, "
            f"the data set says {pixels.rows} x {pixels.columns}"
        )


def _inflated(frame: bytes, bits: int) -> bytes:
    """Return a frame of Deflated Image Frame Compression (PS3.5 annex A.4.13)."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, (bits + 7) // 8)


def _with_whole_spectrum(stream: bytes) -> bytes:
    """Return a sequential JPEG stream whose scan is of all 64 coefficients.

    In these modes there is no other (ISO/IEC 10918-1 table B.3), but some writers leave the end of
    the spectral selection at 0, which decoders of 12 bits refuse.
    """
    at, is_sequential = 2, False
    while stream[:2] == _START_OF_IMAGE and at + 4 <= len(stream):
        marker, length = struct.unpack_from(">xBH", stream, at)
        is_sequential = is_sequential or marker in _SEQUENTIAL
        end = at + 2 + length
        if marker == _START_OF_SCAN:
            return stream[: end - 3] + b"\x00\x3f\x00" + stream[end:] if is_sequential else stream
        at = end
    return stream
