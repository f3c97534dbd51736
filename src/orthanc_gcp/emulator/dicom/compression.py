"""Compression of frames, one at a time (DICOM PS3.5 section 8.2 and annex A.4).

It runs in the imaging process only: see :mod:`orthanc_gcp.emulator.dicom.imaging_process`.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

from PIL import Image
from pydicom import Dataset
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.decoding import NO_WHOLE_BYTES, Raster
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.transfer_syntaxes import DEFLATED_FRAMES, JPEG, JPEG_2000, RLE

__all__ = ["CompressionError", "compress", "describe"]

JPEG_QUALITY = 90
JPEG_2000_RATIO = 8
"""How much smaller JPEG 2000 with losses makes an image."""

_LOSSY_METHODS = {JPEG: "ISO_10918_1", JPEG_2000: "ISO_15444_1"}


class CompressionError(ImagingError):
    """The image is of a kind that the transfer syntax does not provide for."""


def compress(raster: Raster, wanted: str) -> bytes:
    """Return a frame in a transfer syntax, one of ``ENCODABLE``.

    Raises :class:`CompressionError` when the syntax does not provide for such pixels.
    """
    description = raster.description
    kind = description["photometric_interpretation"]
    if raster.pixels.dtype.kind == "f":
        raise CompressionError("floating point numbers are not compressed")
    if description["bits_allocated"] % 8:
        raise CompressionError(NO_WHOLE_BYTES)
    if wanted in _LOSSY_METHODS and kind == "PALETTE COLOR":
        raise CompressionError("indices of a palette are not compressed with losses")
    if wanted == DEFLATED_FRAMES:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflate.compress(raster.to_bytes()) + deflate.flush()
    return _jpeg(raster) if wanted == JPEG else _by_pydicom(raster, wanted)


def describe(dataset: Dataset, raster: Raster, syntax: str) -> None:
    """Set the attributes that describe pixels to what they are in a transfer syntax.

    They are those of the image pixel module (PS3.3 section C.7.6.3), and those that say that an
    image has suffered losses (C.7.6.1.1.5).
    """
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(keyword, None)
    for name, keyword in _ATTRIBUTES.items():
        setattr(dataset, keyword, raster.description[name])
    dataset.HighBit = dataset.BitsStored - 1
    if raster.description["samples_per_pixel"] > 1:
        dataset.PlanarConfiguration = 1 if syntax == RLE else 0
        if syntax == JPEG:
            dataset.PhotometricInterpretation = "YBR_FULL_422"
    if syntax in _LOSSY_METHODS:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = _LOSSY_METHODS[syntax]


_ATTRIBUTES = {
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "photometric_interpretation": "PhotometricInterpretation",
    "pixel_representation": "PixelRepresentation",
    "samples_per_pixel": "SamplesPerPixel",
}


def _jpeg(raster: Raster) -> bytes:
    description = raster.description
    if description["bits_allocated"] != 8 or description["pixel_representation"]:
        raise CompressionError("baseline JPEG is for samples of 8 bits without a sign")
    buffer = io.BytesIO()
    # Subsampling by columns only is what YBR_FULL_422 stands for.
    Image.fromarray(raster.pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")
    return buffer.getvalue()


def _by_pydicom(raster: Raster, wanted: str) -> bytes:
    options: dict[str, Any] = {name: raster.description[name] for name in _ATTRIBUTES}
    options["rows"], options["columns"] = raster.pixels.shape[:2]
    if wanted == JPEG_2000:
        # Beyond, OpenJPEG changes the image and reports no error.
        if raster.description["bits_stored"] > 16:
            raise CompressionError("samples of more than 16 bits are not compressed with losses")
        options["j2k_cr"] = [JPEG_2000_RATIO]
    try:
        return get_encoder(UID(wanted)).encode(
            raster.pixels, number_of_frames=1, planar_configuration=0, **options
        )
    except (ValueError, RuntimeError) as error:
        raise CompressionError(str(error)) from error
