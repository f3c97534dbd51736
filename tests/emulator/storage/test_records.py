"""What the index keeps of an instance: its UIDs, the keys of searches, attributes."""

from __future__ import annotations

import io

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.reader import (
    BytesSource,
    InvalidDicomError,
)
from orthanc_gcp.emulator.storage.records import read_record
from tests.emulator.client import make_dicom, read, sample


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_meta.dcm", "DICM prefix"),
        ("ExplVR_LitEndNoMeta.dcm", "DICM prefix"),
        ("meta_missing_tsyntax.dcm", "TransferSyntaxUID"),
        ("rtplan_truncated.dcm", "beyond the end"),
    ],
)
def test_files_that_no_store_takes(name: str, reason: str) -> None:
    with pytest.raises(InvalidDicomError, match=reason):
        read_record(BytesSource(sample(name)))


def test_a_file_with_half_its_pixels_is_read() -> None:
    record = read_record(BytesSource(sample("MR_truncated.dcm")))
    assert record.modality == "MR"
    assert "7FE00010" in JsonWriter(str).file(record.header.file)


@pytest.mark.parametrize("uid", ["", "1.2/3", "1" * 66])
def test_uids_have_to_be_uids(uid: str) -> None:
    dataset = read(make_dicom())
    dataset.add(RawDataElement(BaseTag(0x0020000D), "UI", len(uid), uid.encode(), 0, False, True))
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(InvalidDicomError, match="0020000D"):
        read_record(BytesSource(buffer.getvalue()))
