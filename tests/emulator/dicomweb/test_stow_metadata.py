"""STOW-RS of JSON metadata and bulk data."""

from __future__ import annotations

import gc
import json

import pytest
from pydicom.uid import generate_uid

from orthanc_gcp.emulator.dicomweb import stow_metadata
from tests.emulator.client import DICOM_JSON, Client, make_dicom, path_of, read
from tests.emulator.dicomweb.metadata_parts import (
    OCTETS,
    described,
    metadata,
    send,
    value,
)
from tests.emulator.dicomweb.store_answers import failures


def test_several_instances_and_values_in_any_order(client: Client) -> None:
    contents = [make_dicom(), make_dicom(bytes(3_000_000)), make_dicom()]
    models = [metadata(content, f"uri-{n}") for n, content in enumerate(contents)]
    del models[2]["7FE00010"]
    parts = [value(bytes(3_000_000), "uri-1"), value(b"odd", "uri-0")]
    response = send(client, [described(*models), *parts])
    assert response.status == 200, response.data
    paths = [path_of(read(content)) for content in contents]
    got = [read(client.get(p, "application/dicom; transfer-syntax=*").data) for p in paths]
    assert [dataset.get("PixelData") for dataset in got] == [b"odd\0", bytes(3_000_000), None]
    other = send(client, [described(models[0]), value(b"other", "uri-0")])
    assert (other.status, failures(other.json())) == (409, ["already exists"])


def test_values_that_are_missing_or_of_another_type(client: Client) -> None:
    contents = [make_dicom() for _ in range(4)]
    models = [metadata(content, uri) for content, uri in zip(contents, "abcc", strict=True)]
    parts = [value(b"", "a", "image/jpeg"), value(b"", "b", f"{OCTETS}; transfer-syntax=1.2")]
    response = send(client, [described(*models), *parts])
    assert response.status == 409
    details = failures(response.json())
    assert [detail[:17] for detail in details] == [
        "another instance ",
        "bulk data of the ",
        "bulk data of the ",
        "the bulk data at ",
    ]
    failed = [item["00081155"]["Value"][0] for item in response.json()["00081198"]["Value"]]
    assert failed == [read(contents[n]).SOPInstanceUID for n in (3, 0, 1, 2)]


def test_bulk_data_of_an_instance_that_fails(client: Client) -> None:
    """Its own reason is answered, and the others of the transaction are stored."""
    contents = [make_dicom(), make_dicom(), make_dicom()]
    models = [metadata(content, uri) for content, uri in zip(contents, "abb", strict=True)]
    del models[0]["00080005"]
    odd = {"00080018": 7, "7FE00010": {"BulkDataURI": {}}, "00420011": {"BulkDataURI": "c"}}
    parts = [value(b"\0\0", uri) for uri in "abbc"]
    response = send(client, [described(*models, odd), *parts])
    assert response.status == 409, response.data
    stored = response.json()["00081199"]["Value"]
    assert [item["00081155"]["Value"][0] for item in stored] == [read(contents[1]).SOPInstanceUID]
    reasons = failures(response.json())
    assert "attribute 00080005 is missing" in reasons
    assert "another instance has bulk data at b" in reasons
    assert len(reasons) == 3
    assert send(client, [described(models[0]), value(b"", "a"), value(b"", "d")]).status == 400


@pytest.mark.parametrize(
    "parts",
    [
        [value(b"\0\0")],
        [({"Content-Type": DICOM_JSON}, b"{}")],
        [({"Content-Type": DICOM_JSON}, b"[7]")],
        [({"Content-Type": DICOM_JSON}, b"[")],
        [({"Content-Type": DICOM_JSON}, b" " * 10_500_000)],
        [described(), value(b"\0\0")],
        [],
    ],
)
def test_requests_that_cannot_be_read(
    client: Client, parts: list[tuple[dict[str, str], bytes]]
) -> None:
    assert send(client, parts).status == 400


def test_more_instances_than_are_remembered(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stow_metadata, "MAX_INSTANCES", 50)
    body = b"--x\r\nContent-Type: application/dicom+json\r\n\r\n[" + b"{}," * 50 + b"{}]"
    response = client.request(
        "POST",
        "/studies",
        body + b"\r\n--x--",
        content_type='multipart/related; type="application/dicom+json"; boundary=x',
    )
    assert (response.status, b"more than 50 instances" in response.data) == (400, True)


def test_an_instance_of_another_study(client: Client) -> None:
    boundary = "b"
    body = b"--b\r\nContent-Type: application/dicom+json\r\n\r\n"
    model = metadata(make_dicom())
    del model["7FE00010"]
    response = client.request(
        "POST",
        f"/studies/{generate_uid()}",
        body + json.dumps([model]).encode() + b"\r\n--b--\r\n",
        content_type=f"multipart/related; type={DICOM_JSON}; boundary={boundary}",
        accept=DICOM_JSON,
    )
    assert response.status == 409


@pytest.mark.parametrize("chunk", [100, 400_000])
def test_a_value_that_breaks_off(client: Client, chunk: int) -> None:
    """No instance, and no open file either: that would be a warning, which is an error here."""
    headers, content = described(metadata(make_dicom()))
    head = f"--x\r\nContent-Type: {headers['Content-Type']}\r\n\r\n".encode() + content
    value_head = b"\r\n--x\r\nContent-Location: pixels\r\n\r\n"
    response = client.request(
        "POST",
        "/studies",
        head + value_head + bytes(chunk),
        content_type=f'multipart/related; type="{DICOM_JSON}"; boundary=x',
    )
    assert response.status == 400
    assert client.search("/studies") == []
    gc.collect()
