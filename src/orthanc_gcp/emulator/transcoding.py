"""Makes a native transfer syntax from another (DICOM PS3.5 annex A), with pydicom's codecs."""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO

import pydicom
from pydicom.dataelem import DataElement
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from orthanc_gcp.emulator.dicom_reader import EXPLICIT_BIG, IMPLICIT_LITTLE

__all__ = ["TranscodingError", "transcode"]

MAX_SIZE = 1_000_000_000
"""Larger files are not transcoded (Healthcare API, quotas and limits)."""


class TranscodingError(Exception):
    """The instance cannot be had in the transfer syntax that was asked for."""


def transcode(descriptor: int, wanted: str) -> BinaryIO:
    """Return a temporary file with a data set in another transfer syntax."""
    if os.fstat(descriptor).st_size > MAX_SIZE:
        raise TranscodingError("the instance is too large to be transcoded")
    target = tempfile.TemporaryFile()  # noqa: SIM115 - the caller reads and closes it
    try:
        with os.fdopen(os.dup(descriptor), "rb") as source:
            source.seek(0)
            _convert(source, wanted, target)
    except Exception as error:
        target.close()
        # Codecs and pydicom raise what they like about data that they do not like.
        raise TranscodingError(f"the instance cannot be transcoded: {error}") from error
    target.seek(0)
    return target


def _convert(source: BinaryIO, wanted: str, target: BinaryIO) -> None:
    dataset = pydicom.dcmread(source)
    stored = dataset.file_meta.TransferSyntaxUID
    if stored.is_compressed and stored != DeflatedExplicitVRLittleEndian:
        dataset.decompress(generate_instance_uid=False)
    if stored == EXPLICIT_BIG:
        dataset.walk(_swap_words)
    dataset.file_meta.TransferSyntaxUID = UID(wanted)
    pydicom.dcmwrite(
        target,
        dataset,
        implicit_vr=wanted == IMPLICIT_LITTLE,
        little_endian=True,
        enforce_file_format=True,
    )


def _swap_words(_dataset: pydicom.Dataset, element: DataElement) -> None:
    """Turn the 16-bit words of a big endian OW value round; pydicom keeps them as they are."""
    if element.VR == "OW" and element.value:
        swapped = bytearray(element.value)
        swapped[0::2], swapped[1::2] = swapped[1::2], swapped[0::2]
        element.value = bytes(swapped)
