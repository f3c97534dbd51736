"""Changes the transfer syntax of an instance (DICOM PS3.5 annex A)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.compression import compress, describe
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.pixel_data import PixelData, Raster
from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    EXPLICIT_BIG,
    IMPLICIT_LITTLE,
    DicomFile,
    FileSource,
)
from orthanc_gcp.emulator.dicom.transfer_syntaxes import DECODABLE, DEFAULT, ENCODABLE

__all__ = ["TranscodingError", "open_decodable", "transcode"]

MAX_SIZE = 1_000_000_000
"""Larger files are not transcoded (Healthcare API, quotas and limits)."""


_WIDTHS = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}


class TranscodingError(ImagingError):
    """The instance cannot be had in the transfer syntax that was asked for."""


def transcode(descriptor: int, wanted: str) -> BinaryIO:
    """Return a temporary file with the instance of an open file in another transfer syntax.

    Raises :class:`TranscodingError`.
    """
    if os.fstat(descriptor).st_size > MAX_SIZE:
        raise TranscodingError("the instance is too large to be transcoded")
    target = tempfile.TemporaryFile()  # noqa: SIM115 - the caller reads and closes it
    try:
        with os.fdopen(os.dup(descriptor), "rb") as source:
            source.seek(0)
            (_compress if wanted in ENCODABLE else _convert)(source, wanted, target)
    except Exception as error:
        target.close()
        # Codecs and pydicom may raise anything about data that are wrong.
        raise TranscodingError(f"the instance cannot be transcoded: {error}") from error
    target.seek(0)
    return target


def open_decodable(file: BinaryIO, stored: str) -> PixelData:
    """Return the frames of an instance, in little endian when they are native.

    The file is closed with them. Raises :class:`TranscodingError` and :class:`PixelDataError`.
    """
    if stored not in (DEFLATED, EXPLICIT_BIG):
        return PixelData(file)
    with file:
        native = transcode(file.fileno(), DEFAULT)
    try:
        return PixelData(native)
    except BaseException:
        native.close()
        raise


def _convert(source: BinaryIO, wanted: str, target: BinaryIO) -> None:
    dataset = pydicom.dcmread(source)
    stored = dataset.file_meta.TransferSyntaxUID
    if stored in DECODABLE:
        _decode(dataset, PixelData(source))
    if stored == EXPLICIT_BIG:
        dataset.walk(_turn_round)
    dataset.file_meta.TransferSyntaxUID = UID(wanted)
    pydicom.dcmwrite(
        target,
        dataset,
        implicit_vr=wanted == IMPLICIT_LITTLE,
        little_endian=True,
        enforce_file_format=True,
    )


def _decode(dataset: pydicom.Dataset, pixels: PixelData) -> None:
    native = bytearray()
    for raster in _frames(pixels):
        native += raster.to_bytes()
    describe(dataset, raster, DEFAULT)
    dataset.PixelData = bytes(native)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated <= 8 else "OW"
    dataset["PixelData"].is_undefined_length = False


def _compress(source: BinaryIO, wanted: str, target: BinaryIO) -> None:
    """Compress an image frame by frame; its native pixels are never in memory together."""
    stored = DicomFile(FileSource(source.fileno())).transfer_syntax
    compressed = []
    with closing(open_decodable(source, stored)) as pixels:
        for raster in _frames(pixels):
            compressed.append(compress(raster, wanted))
    # What comes after the pixels (padding, signatures) does not survive a change of them.
    dataset = pixels.header
    describe(dataset, raster, wanted)
    dataset.PixelData = encapsulate(compressed)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(wanted)
    dataset.preamble = bytes(128)
    dataset.file_meta.FileMetaInformationGroupLength = 0  # written, it becomes what it has to be
    # By force, because pydicom does not know Deflated Image Frame Compression.
    pydicom.dcmwrite(target, dataset, implicit_vr=False, little_endian=True, force_encoding=True)


def _frames(pixels: PixelData) -> Iterator[Raster]:
    return (pixels.decode(number) for number in range(1, pixels.count + 1))


def _turn_round(dataset: pydicom.Dataset, element: DataElement) -> None:
    """Make a big endian value little endian where pydicom keeps the bytes as they are."""
    width = _WIDTHS.get(element.VR)
    if width is None or not element.value:
        return
    if element.keyword == "PixelData":
        # Not words, but pixels, as those who write such files (and pydicom) have it.
        width = max(width, int(dataset.get("BitsAllocated") or 0) // 8)
    element.value = np.frombuffer(element.value, f">u{width}").astype(f"<u{width}").tobytes()
