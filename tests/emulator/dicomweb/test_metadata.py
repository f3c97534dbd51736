"""Metadata: what is in them, what is an address instead, and what is left out."""

from __future__ import annotations

import base64
import io
import json
import struct
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.emulator.client import Client, make_dicom, path_of, read, sample

WIDTHS = {"OD": "d", "OF": "f", "OL": "L", "OV": "Q"}
NUMBERS = {"FD": "d", "FL": "f", "UL": "L", "US": "H", "SL": "l", "SS": "h", "SV": "q", "UV": "Q"}


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
