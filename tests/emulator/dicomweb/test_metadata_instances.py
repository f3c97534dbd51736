"""Files made of metadata and one value apart from it."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.encaps import generate_frames

from tests.emulator.client import Client, make_dicom, path_of, read, sample
from tests.emulator.dicomweb.metadata_parts import (
    JPEG_2000,
    described,
    metadata,
    send,
    value,
)
from tests.emulator.dicomweb.store_answers import failures, stored


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
