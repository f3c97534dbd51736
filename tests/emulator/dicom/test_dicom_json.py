"""The DICOM JSON Model, compared with pydicom; what is an address in it, and what is left out."""

from __future__ import annotations

import base64
import io
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter
from orthanc_gcp.emulator.dicom.reader import (
    BytesSource,
    DicomFile,
)
from orthanc_gcp.emulator.storage.records import read_record
from tests.emulator.client import Client, make_dicom, path_of, read, sample
from tests.emulator.dicom.samples import FILES, opened

NUMBERS = {"FD": "d", "FL": "f", "UL": "L", "US": "H", "SL": "l", "SS": "h", "SV": "q", "UV": "Q"}

WIDTHS = {"OD": "d", "OF": "f", "OL": "L", "OV": "Q"}


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


def metadata_of(client: Client, content: bytes) -> dict[str, Any]:
    assert client.store(content).status == 200
    response = client.get(f"{path_of(read(content))}/metadata")
    assert response.status == 200
    (data_set,) = json.loads(response.data)
    return dict(data_set)


def with_private(vr: str, value: Any) -> bytes:
    """Return a file with one more element, of any value representation."""
    dataset = read(make_dicom())
    dataset.add_new(0x00091001, vr, value)
    dataset.add_new(0x00090010, "LO", "TESTS")
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_group_2_is_in_metadata(client: Client) -> None:
    content = sample("JPEG2000.dcm")
    meta = read(content).file_meta
    got = metadata_of(client, content)
    assert got["00020002"]["Value"] == [meta.MediaStorageSOPClassUID]
    assert got["00020003"]["Value"] == [meta.MediaStorageSOPInstanceUID]
    assert got["00020010"]["Value"] == [meta.TransferSyntaxUID]
    assert "00020000" not in got


@pytest.mark.parametrize("vr", ["OB", "OW", "UN"])
def test_bytes_are_always_an_address(client: Client, vr: str) -> None:
    element = metadata_of(client, with_private(vr, b"ab"))["00091001"]
    assert element["vr"] == vr
    assert element["BulkDataURI"].endswith("/bulkdata/00091001")
    assert set(element) == {"vr", "BulkDataURI"}


@pytest.mark.parametrize("vr", WIDTHS)
def test_beyond_2_kib_numbers_are_an_address(client: Client, vr: str) -> None:
    inline = bytes(range(256)) * 8
    element = metadata_of(client, with_private(vr, inline))["00091001"]
    assert base64.b64decode(element["InlineBinary"]) == inline
    longer = inline + bytes(struct.calcsize("=" + WIDTHS[vr]))
    assert "BulkDataURI" in metadata_of(client, with_private(vr, longer))["00091001"]


@pytest.mark.parametrize("vr", NUMBERS)
def test_beyond_512_values_are_an_address(client: Client, vr: str) -> None:
    assert len(metadata_of(client, with_private(vr, [1] * 512))["00091001"]["Value"]) == 512
    assert "BulkDataURI" in metadata_of(client, with_private(vr, [1] * 513))["00091001"]


def test_beyond_512_tags_are_an_address(client: Client) -> None:
    tags = [0x00100010] * 513
    assert len(metadata_of(client, with_private("AT", tags[1:]))["00091001"]["Value"]) == 512
    assert "BulkDataURI" in metadata_of(client, with_private("AT", tags))["00091001"]


def test_inline_bytes_are_little_endian(client: Client) -> None:
    dataset = read(sample("MR_small_bigendian.dcm"))
    dataset.add_new(0x00091001, "OF", struct.pack(">2f", 1, 2))
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    element = metadata_of(client, buffer.getvalue())["00091001"]
    assert base64.b64decode(element["InlineBinary"]) == struct.pack("<2f", 1, 2)


def test_sequences_beyond_1_mib_are_left_out(client: Client) -> None:
    for size, is_there in ((1024 * 1024 - 100, True), (1024 * 1024, False)):
        item = Dataset()
        item.add_new(0x00420011, "OB", bytes(size))
        got = metadata_of(client, make_dicom(SourceImageSequence=[item]))
        assert ("00082112" in got) is is_there
        assert got["00100010"]["Value"] == [{"Alphabetic": "Doe^John"}]
