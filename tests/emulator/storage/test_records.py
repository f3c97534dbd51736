"""What the index keeps of an instance: its UIDs, the keys of searches, attributes."""

from __future__ import annotations

import struct
import tracemalloc
from urllib.parse import unquote

import pytest

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.reader import (
    BytesSource,
    InvalidDicomError,
)
from orthanc_gcp.emulator.dicom.search_attributes import INSTANCE, SERIES, STUDY
from orthanc_gcp.emulator.storage.records import (
    InstanceKey,
    path_segment,
    read_record,
    resource_path,
)
from tests.emulator.client import sample
from tests.emulator.raw_files import raw_file


def implicit(tag: int, value: bytes) -> bytes:
    """Return a data element in Implicit VR Little Endian."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


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


@pytest.mark.parametrize("uid", [b"study_1", b"1", b"1.2/3", b"\xe9", b"9" * 4096])
def test_uids_are_whatever_identifies_an_instance(uid: bytes) -> None:
    record = read_record(BytesSource(raw_file(study=uid)))
    assert record.key == InstanceKey(uid.decode("latin-1"), "1.2.3", "1.2.3.4")


@pytest.mark.parametrize(
    ("uid", "reason"), [(b"", "missing"), (b" ", "missing"), (b"9" * 4098, "")]
)
def test_uids_have_to_be_there(uid: bytes, reason: str) -> None:
    with pytest.raises(InvalidDicomError, match=f"0020000D is {reason or 'too long'}"):
        read_record(BytesSource(raw_file(study=uid)))


@pytest.mark.parametrize("tag", [0x00080005, 0x00080020, 0x00081030, 0x00100010])
def test_long_values_stay_in_the_file(tag: int) -> None:
    # Implicit VR, in which any attribute may be so long.
    long = struct.pack("<HHL", tag >> 16, tag & 0xFFFF, 10_000_000) + b"9" * 10_000_000
    source = BytesSource(
        raw_file(transfer_syntax=b"1.2.840.10008.1.2")[: 132 + 8 + 18]
        + b"".join(implicit(*each) for each in ((0x00080016, b"1.2"), (0x00080018, b"1.2.3.4")))
        + long
        + b"".join(implicit(*each) for each in ((0x0020000D, b"1.2"), (0x0020000E, b"1.2.3")))
    )
    tracemalloc.start()
    record = read_record(source)
    kept = [*record.study_keys().values(), *map(record.attributes, (STUDY, SERIES, INSTANCE))]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert record.key == InstanceKey("1.2", "1.2.3", "1.2.3.4")
    assert max(map(len, kept)) < 1000
    assert peak < 1_000_000


def test_paths_of_resources() -> None:
    assert resource_path("1.2") == "studies/1.2"
    assert resource_path("1.2", "a/b", "..") == "studies/1.2/series/a%2Fb/instances/%2E%2E"
    assert InstanceKey("1", "2", "\0").path == "studies/1/series/2/instances/%00"


@pytest.mark.parametrize("uid", ["1.2.3", ".", "..", "...", "a/b", "%2F", "é?#:;", "\r\n\0 "])
def test_a_segment_of_a_path_names_the_uid(uid: str) -> None:
    segment = path_segment(uid)
    assert unquote(segment) == uid
    assert segment not in (".", "..")
    assert not set(segment) & set("/?#:;\r\n\0 ")
