"""The reader and its JSON, compared with pydicom over pydicom's own files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.reader import (
    BytesSource,
    DicomFile,
    FileSource,
    InvalidDicomError,
)
from orthanc_gcp.emulator.dicom.search_attributes import STUDY
from orthanc_gcp.emulator.storage.records import read_record
from tests.emulator.client import make_dicom, sample

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


def test_endless_nesting_is_refused() -> None:
    nested = struct.pack("<HH2sHL", 0x40, 0x555, b"SQ", 0, 0xFFFFFFFF)
    nested += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    content = make_dicom()
    start = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OB"))
    with pytest.raises(InvalidDicomError, match="nested"):
        read_record(BytesSource(content[:start] + nested * 5000))


@given(st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(sample(data.draw(st.sampled_from(["test-SR.dcm", "rtplan.dcm"]))))
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(132, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        content[at] = value
    try:
        record = read_record(BytesSource(bytes(content)))
    except InvalidDicomError:
        return
    record.study_keys()
    record.attributes(STUDY)
    JsonWriter(str).file(record.header.file)
