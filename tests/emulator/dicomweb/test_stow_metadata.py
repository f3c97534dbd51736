"""STOW-RS of JSON metadata and bulk data."""

from __future__ import annotations

import gc
import json
import secrets
from typing import Any

import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import generate_uid

from tests.emulator.client import DICOM_JSON, Client, make_dicom, path_of, read, sample
from tests.emulator.dicomweb.test_stow import failures, stored

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
OCTETS = "application/octet-stream"


def metadata(content: bytes, uri: str = "pixels", **changes: Any) -> dict[str, Any]:
    """Return what describes a file, with its pixel data elsewhere."""
    dataset = read(content)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    vr = dataset["PixelData"].VR
    model = {**dataset.file_meta.to_json_dict(), **dataset.to_json_dict()}
    model["7FE00010"] = {"vr": vr, "BulkDataURI": uri}
    model.pop("FFFCFFFC", None)
    return {**model, **changes}


def send(client: Client, parts: list[tuple[dict[str, str], bytes]]) -> Any:
    boundary = secrets.token_hex(16)
    body = b""
    for headers, content in parts:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body += f"--{boundary}\r\n{head}\r\n".encode() + content + b"\r\n"
    return client.request(
        "POST",
        "/studies",
        body + f"--{boundary}--\r\n".encode(),
        content_type=f'multipart/related; type="{DICOM_JSON}"; boundary={boundary}',
        accept=DICOM_JSON,
    )


def described(*models: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": DICOM_JSON}, json.dumps(models).encode()


def value(content: bytes, uri: str = "pixels", kind: str = OCTETS) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": kind, "Content-Location": uri}, content


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "liver_1frame.dcm"])
def test_a_native_image(client: Client, name: str) -> None:
    content = sample(name)
    expected = read(content)
    response = send(client, [described(metadata(content)), value(expected.PixelData)])
    assert (response.status, stored(response.json())) == (200, [expected.SOPInstanceUID])
    got = read(client.get(path_of(expected), "application/dicom; transfer-syntax=*").data)
    assert got.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert got.PixelData == expected.PixelData
    for element in expected:
        if element.VR not in ("DS", "SQ", "OB", "OW", "UN") and element.tag != 0x00080005:
            assert got[element.tag].value == element.value


def test_a_compressed_image(client: Client) -> None:
    content = sample("JPEG2000.dcm")
    expected = read(content)
    (frame,) = generate_frames(expected.PixelData, number_of_frames=1)
    kind = f"image/jp2; transfer-syntax={JPEG_2000}"
    response = send(client, [described(metadata(content)), value(frame[:-1], kind=kind)])
    assert response.status == 200, response.data
    got = read(client.get(path_of(expected), "application/dicom; transfer-syntax=*").data)
    assert list(generate_frames(got.PixelData, number_of_frames=1)) == [frame[:-1] + b"\0"]
    assert client.get(f"{path_of(expected)}/frames/1").status == 200


def test_a_type_of_uploads_only(client: Client) -> None:
    part_2 = "1.2.840.10008.1.2.4.93"
    syntax = {"vr": "UI", "Value": [part_2]}
    model = metadata(make_dicom(), **{"00020010": syntax})
    kind = f"image/jpx; transfer-syntax={part_2}"
    assert send(client, [described(model), value(b"jpx!", kind=kind)]).status == 200
    other = metadata(make_dicom(), **{"00020010": syntax})
    assert send(client, [described(other), value(b"", kind="image/jp2")]).status == 409


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
    again = send(client, [described(*models), *parts])
    assert again.status == 200
    other = send(client, [described(models[0]), value(b"other", "uri-0")])
    assert (other.status, failures(other.json())) == (409, ["already exists"])


def test_a_value_that_other_elements_follow(client: Client) -> None:
    model = metadata(make_dicom())
    del model["7FE00010"]
    model["00420010"] = {"vr": "ST", "Value": ["Äpfel"]}
    model["00420011"] = {"vr": "OB", "BulkDataURI": "pdf"}
    model["00420012"] = {"vr": "LO", "Value": ["application/pdf"]}
    assert send(client, [described(model), value(b"%PDF", "pdf")]).status == 200
    path = "/studies/{}/series/{}/instances/{}".format(
        *(model[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    )
    got = read(client.get(path, "application/dicom; transfer-syntax=*").data)
    assert (got.EncapsulatedDocument, got.DocumentTitle) == (b"%PDF", "Äpfel")
    assert got.MIMETypeOfEncapsulatedDocument == "application/pdf"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}, "SpecificCharacterSet has to be"),
        ({"00020010": {"vr": "UI"}}, "attribute 00020010 is missing"),
        ({"0020000E": {"vr": "UI", "Value": []}}, "invalid metadata"),
        ({"0020000D": 7}, "invalid metadata"),
        ({"00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.2"]}}, "unsupported transfer"),
        ({"00020010": {"vr": "UI", "Value": ["1.2.3.4"]}}, "unsupported transfer"),
        ({"7FE00010": {"vr": "OB", "InlineBinary": "AAAA"}}, "pixel data have to be bulk data"),
        ({"00420011": {"vr": "OB", "BulkDataURI": "b"}}, "one BulkDataURI is allowed"),
        ({"00200010": {"vr": "SH", "BulkDataURI": "b"}}, "one BulkDataURI is allowed"),
        ({"nonsense": {"vr": "SH"}}, "invalid metadata"),
        (
            {"00081115": {"vr": "SQ", "Value": [{"00420011": {"vr": "OB", "BulkDataURI": "b"}}]}},
            "bulk data inside of a sequence",
        ),
    ],
)
def test_instances_that_cannot_be_made(
    client: Client, changes: dict[str, Any], detail: str
) -> None:
    good = make_dicom()
    models = [metadata(make_dicom(), "bad", **changes), metadata(good)]
    response = send(client, [described(*models), value(b"\0\0")])
    assert response.status == 409
    (found,) = failures(response.json())
    assert detail in found
    assert stored(response.json()) == [read(good).SOPInstanceUID]


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
