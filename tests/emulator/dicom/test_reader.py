"""The structure of DICOM files, compared with what pydicom finds in them, and what is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_gcp.emulator.dicom import reader
from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.reader import (
    BytesSource,
    InvalidDicomError,
)
from orthanc_gcp.emulator.dicom.search_attributes import STUDY
from orthanc_gcp.emulator.storage.records import read_record
from tests.emulator.client import make_dicom, read, sample
from tests.emulator.dicom.samples import FILES, opened


@pytest.mark.parametrize("name", FILES)
def test_elements_lie_where_pydicom_finds_them(name: str) -> None:
    with opened(name) as file:
        ours = [(element.tag, element.vr) for element in file.elements()]
        syntax = file.transfer_syntax
    expected = read(sample(name))
    assert syntax == expected.file_meta.TransferSyntaxUID
    assert [tag for tag, _ in ours] == [int(tag) for tag in expected.keys()]  # noqa: SIM118 - a data set iterates over elements
    for tag, vr in ours:
        if not tag & 0x10000 and vr not in ("OW", "US"):  # the VR depends on others, in implicit VR
            assert vr == expected[tag].VR or "UN" in (vr, expected[tag].VR)


def test_values_are_read_when_they_are_asked_for() -> None:
    with opened("CT_small.dcm") as file:
        found = {element.tag: element for element in file.elements(stop=0x00200000)}
        assert max(found) < 0x00200000
        assert file.value(found[0x00100010]) == b"CompressedSamples^CT1 "


@pytest.mark.parametrize(("pixels", "is_read"), [(0, False), (320_000, True)])
def test_a_large_file_may_have_more_elements(
    monkeypatch: pytest.MonkeyPatch, pixels: int, is_read: bool
) -> None:
    monkeypatch.setattr(reader, "MAX_ELEMENTS", 100)
    start, end = (struct.pack("<HHL", 0xFFFE, tag, 0) for tag in (0xE000, 0xE00D))
    item = start[:4] + b"\xff" * 4 + struct.pack("<HH2sH", 0x20, 0x9157, b"UL", 0) + end
    frames = struct.pack("<HH2sHL", 0x5200, 0x9230, b"SQ", 0, 0xFFFFFFFF) + item * 1000
    content = make_dicom(bytes(pixels))
    at = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OB"))
    content = content[:at] + frames + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) + content[at:]
    if is_read:
        assert read_record(BytesSource(content)).modality == "OT"
    else:
        with pytest.raises(InvalidDicomError, match="too many"):
            read_record(BytesSource(content))


def test_endless_nesting_is_refused() -> None:
    nested = struct.pack("<HH2sHL", 0x40, 0x555, b"SQ", 0, 0xFFFFFFFF)
    nested += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    content = make_dicom()
    start = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OB"))
    with pytest.raises(InvalidDicomError, match="nested"):
        read_record(BytesSource(content[:start] + nested * 5000))


@settings(deadline=None)  # a machine may be busy
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
