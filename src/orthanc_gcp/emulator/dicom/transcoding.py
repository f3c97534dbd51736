"""Changes the transfer syntax of an instance (DICOM PS3.5 annex A).

It runs in the imaging process only: see :mod:`orthanc_gcp.emulator.dicom.imaging_process`.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from orthanc_gcp.emulator.dicom.compression import compress, describe
from orthanc_gcp.emulator.dicom.decoding import DecodableImage, Raster, decode
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError, reason_of
from orthanc_gcp.emulator.dicom.inflation import inflate
from orthanc_gcp.emulator.dicom.pixel_data import NoPixelDataError
from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    DicomFile,
    FileSource,
)
from orthanc_gcp.emulator.dicom.transfer_syntaxes import DECODABLE, DEFAULT, ENCODABLE

__all__ = ["TranscodingError", "open_decodable", "transcode"]

MAX_SIZE = 1_000_000_000
"""Larger files are not transcoded (Healthcare API, quotas and limits)."""

MAX_VALUE = 0xFFFFFFFE
"""The length of a value that is not undefined (PS3.5 section 7.1.1)."""

Progress = Callable[[], None]
"""Is called when a frame is done."""

_WIDTHS = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


class TranscodingError(ImagingError):
    """The instance cannot be had in the transfer syntax that was asked for."""


def transcode(source: BinaryIO, wanted: str, target: BinaryIO, progress: Progress) -> None:
    """Write an instance in another transfer syntax; one that is no image, in the default one.

    Raises :class:`TranscodingError`, and :class:`OSError` when the disk is full.
    """
    if os.fstat(source.fileno()).st_size > MAX_SIZE:
        raise TranscodingError("the instance is too large to be transcoded")
    try:
        _transcode(source, wanted, target, progress)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        # Codecs and pydicom may raise anything about data that are wrong.
        raise TranscodingError(f"the instance cannot be transcoded{reason_of(error)}") from error


def open_decodable(file: BinaryIO) -> DecodableImage:
    """Return the frames of an instance, in little endian when they are native.

    The file is closed with them. Raises :class:`TranscodingError` and :class:`PixelDataError`.
    """
    if _transfer_syntax(file) not in (DEFLATED, EXPLICIT_BIG):
        return DecodableImage(file)
    native = tempfile.TemporaryFile()  # noqa: SIM115 - closed with what is returned
    try:
        with file:
            transcode(file, DEFAULT, native, lambda: None)
        return DecodableImage(native)
    except BaseException:
        native.close()
        raise


def _transfer_syntax(file: BinaryIO) -> str:
    return DicomFile(FileSource(file.fileno())).transfer_syntax


def _transcode(source: BinaryIO, wanted: str, target: BinaryIO, progress: Progress) -> None:
    stored = _transfer_syntax(source)
    if stored == DEFLATED:
        with tempfile.TemporaryFile() as inflated:
            inflate(source, inflated)
            _transcode(inflated, wanted, target, progress)
        return
    if stored == wanted:  # it was inflated
        source.seek(0)
        shutil.copyfileobj(source, target)
        target.flush()
        return
    is_compressed = stored in DECODABLE
    if wanted not in ENCODABLE and not is_compressed:
        _convert(source, wanted, target)
        return
    with tempfile.TemporaryFile() as explicit, tempfile.TemporaryFile() as decoded:
        if not is_compressed and stored != EXPLICIT_LITTLE:
            _convert(source, EXPLICIT_LITTLE, explicit)
            source = explicit
        try:
            pixels = DecodableImage(source)
        except NoPixelDataError:
            _convert(source, DEFAULT if wanted in ENCODABLE else wanted, target)
            return
        # Its description of the pixels changes; that of what is decoded must not.
        head = DecodableImage(source).header
        if wanted in (*ENCODABLE, DEFAULT):
            _write_image(pixels, head, wanted, target, progress)
        else:
            _write_image(pixels, head, DEFAULT, decoded, progress)
            _convert(decoded, wanted, target)


def _convert(source: BinaryIO, wanted: str, target: BinaryIO) -> None:
    """Write native pixels, or none, in another native transfer syntax."""
    source.seek(0)
    dataset = pydicom.dcmread(source)
    if dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG:
        dataset.walk(_turn_round)
    _look_up_vrs(dataset)
    dataset.file_meta.TransferSyntaxUID = UID(wanted)
    pydicom.dcmwrite(
        target,
        dataset,
        implicit_vr=wanted == IMPLICIT_LITTLE,
        little_endian=True,
        enforce_file_format=True,
    )
    target.flush()


def _write_image(
    pixels: DecodableImage, head: Dataset, wanted: str, target: BinaryIO, progress: Progress
) -> None:
    """Write an image, compressed or not; one frame is in memory at a time."""
    pixels.check(pixels.count)
    first = decode(pixels, 1)
    _write_head(head, first, wanted, target)
    (_write_native if wanted == DEFAULT else _write_compressed)(
        pixels, first, wanted, target, progress
    )
    # What comes after the pixels is in explicit VR little endian, as all that is written here.
    with os.fdopen(os.dup(pixels.descriptor), "rb") as source:
        source.seek(pixels.end)
        shutil.copyfileobj(source, target)
    target.flush()


def _write_head(dataset: Dataset, first: Raster, wanted: str, target: BinaryIO) -> None:
    describe(dataset, first, wanted)
    _look_up_vrs(dataset)
    dataset.file_meta.TransferSyntaxUID = UID(wanted)
    dataset.preamble = bytes(128)
    dataset.file_meta.FileMetaInformationGroupLength = 0  # written, it becomes what it has to be
    # By force, because pydicom does not know Deflated Image Frame Compression.
    pydicom.dcmwrite(target, dataset, implicit_vr=False, little_endian=True, force_encoding=True)


def _write_native(
    pixels: DecodableImage, first: Raster, _wanted: str, target: BinaryIO, progress: Progress
) -> None:
    frame = first.to_bytes()
    size = len(frame) * pixels.count
    if size > MAX_VALUE:
        raise TranscodingError("the image is too large to be sent without compression")
    vr = b"OB" if first.description["bits_allocated"] <= 8 else b"OW"
    target.write(_pixel_data_head(vr, size + size % 2))
    for number in range(1, pixels.count + 1):
        decoded = frame if number == 1 else decode(pixels, number).to_bytes()
        if len(decoded) != len(frame):
            raise TranscodingError(f"frame {number} is not as large as the first one")
        target.write(decoded)
        progress()
    target.write(bytes(size % 2))


def _write_compressed(
    pixels: DecodableImage, first: Raster, wanted: str, target: BinaryIO, progress: Progress
) -> None:
    """Write each frame as a fragment, and where they are in the basic offset table (PS3.5 A.4)."""
    target.write(_pixel_data_head(b"OB", 0xFFFFFFFF))
    target.write(_ITEM + struct.pack("<L", 4 * pixels.count))
    table = target.tell()
    target.write(bytes(4 * pixels.count))
    offsets, at = [], 0
    for number in range(1, pixels.count + 1):
        fragment = compress(first if number == 1 else decode(pixels, number), wanted)
        fragment += bytes(len(fragment) % 2)
        target.write(_ITEM + struct.pack("<L", len(fragment)) + fragment)
        offsets.append(at)
        at += 8 + len(fragment)
        progress()
    target.write(_SEQUENCE_END)
    end = target.tell()
    target.seek(table)
    target.write(struct.pack(f"<{len(offsets)}L", *offsets))
    target.seek(end)


def _pixel_data_head(vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHL", 0x7FE0, 0x0010, vr, 0, length)


def _look_up_vrs(dataset: Dataset) -> None:
    """Give each element a VR that has none under a transfer syntax where it should have one.

    pydicom reads such elements, and would write them as they were read.
    """
    for tag in list(dataset.keys()):
        element: DataElement | RawDataElement = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.VR is None:
            element = dataset[tag]
        if element.VR == "SQ" and not isinstance(element, RawDataElement):
            for item in element.value:
                _look_up_vrs(item)


def _turn_round(dataset: Dataset, element: DataElement) -> None:
    """Make a big endian value little endian where pydicom keeps the bytes as they are."""
    width = _WIDTHS.get(element.VR)
    if width is None or not element.value:
        return
    if element.keyword == "PixelData":
        # Not words, but pixels, as those who write such files (and pydicom) have it.
        width = max(width, int(dataset.get("BitsAllocated") or 0) // 8)
    element.value = np.frombuffer(element.value, f">u{width}").astype(f"<u{width}").tobytes()
