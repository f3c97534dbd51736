"""The DICOM JSON Model, compared with pydicom over pydicom's own files."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.reader import (
    BytesSource,
    DicomFile,
    FileSource,
)
from orthanc_gcp.emulator.storage.records import read_record
from tests.emulator.client import make_dicom

# One of each kind: transfer syntaxes, nested and undefined sequences, character sets, modalities.
FILES = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "UN_sequence.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "liver_expb_1frame.dcm",
    "reportsi.dcm",
    "rtdose.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
]


@contextmanager
def opened(name: str) -> Iterator[DicomFile]:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield DicomFile(FileSource(descriptor))
    finally:
        os.close(descriptor)


def comparable(value: Any) -> Any:
    """Level what is a matter of taste: padding, empty values, where bulk data goes."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, str):
        return value.strip() or None
    if not isinstance(value, dict):
        return value
    if "vr" in value:
        if "BulkDataURI" in value or "InlineBinary" in value:
            return "binary"
        values = comparable(value.get("Value", []))
        return values if any(item not in (None, {}) for item in values) else []
    return {
        name: comparable(item)
        for name, item in value.items()
        if name not in ("00080005", "FFFCFFFC") and not name.endswith("0000")
    }


@pytest.mark.parametrize("name", FILES)
def test_the_same_as_pydicom(name: str) -> None:
    with opened(name) as file:
        ours = JsonWriter(lambda path: path).file(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = get_testdata_file(name, download=False)
        assert isinstance(path, str)
        dataset = pydicom.dcmread(path)
        theirs = dataset.file_meta.to_json_dict()
        theirs |= dataset.to_json_dict(bulk_data_threshold=0, bulk_data_element_handler=str)
    assert comparable(ours) == comparable(theirs)


def test_metadata_points_at_bulk_data() -> None:
    with opened("examples_overlay.dcm") as file:
        metadata = JsonWriter("bulk/".__add__).file(file)
    assert metadata["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
    with opened("waveform_ecg.dcm") as file:
        metadata = JsonWriter("bulk/".__add__).file(file)
    item = metadata["54000100"]["Value"][1]
    assert item["54001010"]["BulkDataURI"] == "bulk/54000100/1/54001010"


def test_a_sequence_that_cannot_be_read_is_left_out() -> None:
    content = make_dicom()
    broken = struct.pack("<HH2sHL4s", 0x40, 0x275, b"SQ", 0, 4, b"junk")
    broken += struct.pack("<HH2sHLHHL", 0x40, 0x555, b"SQ", 0, 8, 0xFFFE, 0xE000, 999)
    at = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OB"))
    record = read_record(BytesSource(content[:at] + broken + content[at:] + b"trailing"))
    metadata = JsonWriter(str).file(record.header.file)
    assert metadata["00400275"] == {"vr": "SQ"}
    assert "00400555" not in metadata
    assert "7FE00010" in metadata


def test_numbers_and_names(tmp_path: Path) -> None:
    content = make_dicom(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jürgen",
        PatientWeight="70.5",
        InstanceNumber="3",
        ImageType=["ORIGINAL", "", "AXIAL"],
        RecommendedDisplayFrameRateInFloat=float("nan"),
        PatientComments="one\\two",
    )
    metadata = JsonWriter(str).file(DicomFile(BytesSource(content)))
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert metadata["00080005"]["Value"] == ["ISO_IR 192"]
    assert metadata["00101030"]["Value"] == [70.5]
    assert metadata["00200013"]["Value"] == [3]
    assert metadata["00080008"]["Value"] == ["ORIGINAL", None, "AXIAL"]
    assert metadata["00104000"]["Value"] == ["one\\two"]
    assert metadata["00089459"]["Value"] == ["NaN"]
