"""STOW-RS: what is stored, what is refused, and how the answer tells."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from pydicom.uid import generate_uid

from tests.emulator.client import (
    DICOM_JSON,
    MULTIPART,
    Client,
    make_dicom,
    multipart,
    path_of,
    read,
    sample,
)

XML = "application/dicom+xml"


def stored(body: dict[str, Any]) -> list[str]:
    return [item["00081155"]["Value"][0] for item in body.get("00081199", {}).get("Value", [])]


def failures(body: dict[str, Any]) -> list[str]:
    items = body.get("00081198", {}).get("Value", [])
    assert all(item["00081197"] == {"vr": "US", "Value": [272]} for item in items)
    return [item["00091097"]["Value"][0] for item in items]


def test_several_instances(client: Client) -> None:
    files = [sample(name) for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")]
    response = client.store(*files)
    assert (response.status, response.headers["content-type"]) == (200, DICOM_JSON)
    body = json.loads(response.data)
    assert stored(body) == [read(file).SOPInstanceUID for file in files]
    ct = read(files[0])
    assert body["00081190"]["Value"] == [f"{client.web}/studies/{ct.StudyInstanceUID}"]
    item = body["00081199"]["Value"][0]
    assert item["00081150"] == {"vr": "UI", "Value": [ct.SOPClassUID]}
    assert item["00081190"] == {"vr": "UR", "Value": [client.web + path_of(ct)]}
    assert client.get(item["00081190"]["Value"][0]).status == 200


def test_the_answer_is_xml_unless_json_is_asked_for(client: Client) -> None:
    file = sample("CT_small.dcm")
    response = client.store(file, accept="*/*")
    assert (response.status, response.headers["content-type"]) == (200, XML)
    root = ET.fromstring(response.data)
    assert root.tag == "NativeDicomModel"
    url, sequence = root
    assert url.attrib == {"tag": "00081190", "vr": "UR", "keyword": "RetrieveURL"}
    assert sequence.attrib == {"tag": "00081199", "vr": "SQ", "keyword": "ReferencedSOPSequence"}
    assert [e.attrib["keyword"] for e in sequence.iterfind("Item[@number='1']/DicomAttribute")] == [
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "RetrieveURL",
    ]
    last = sequence.find("Item/DicomAttribute[@keyword='RetrieveURL']/Value[@number='1']")
    assert last is not None
    assert last.text == client.web + path_of(read(file))


def test_one_file_as_the_body(client: Client) -> None:
    file = sample("CT_small.dcm")
    response = client.request("POST", "/studies", file, content_type="application/dicom")
    assert (response.status, response.headers["content-type"]) == (200, XML)
    assert client.get(path_of(read(file))).status == 200


def test_chunked_bodies(client: Client) -> None:
    file = make_dicom(b"\0" * 300_000)

    def pieces() -> Iterator[bytes]:
        yield from (file[at : at + 1000] for at in range(0, len(file), 1000))

    response = client.request("POST", "/studies", pieces(), content_type="application/dicom")
    assert response.status == 200
    part = client.get(path_of(read(file)), "application/dicom; transfer-syntax=*")
    assert part.data == file


def test_identical_bytes_are_fine_and_different_ones_are_not(client: Client) -> None:
    file = make_dicom()
    other = file[:-1] + b"\1"
    assert client.store(file).status == client.store(file).status == 200
    response = client.store(other)
    body = json.loads(response.data)
    assert (response.status, failures(body), stored(body)) == (409, ["already exists"], [])
    (item,) = body["00081198"]["Value"]
    assert item["00081155"]["Value"] == [read(file).SOPInstanceUID]
    assert client.get(path_of(read(file)), "application/dicom; transfer-syntax=*").data == file


def test_a_failure_in_xml(client: Client) -> None:
    file = make_dicom()
    client.store(file)
    response = client.store(file[:-1] + b"\1", accept=XML)
    root = ET.fromstring(response.data)
    detail = root.find("DicomAttribute[@tag='00081198']/Item/DicomAttribute[@tag='00090097']")
    assert detail is not None
    assert detail.attrib == {
        "tag": "00090097",
        "vr": "LT",
        "keyword": "FailureDetail",
        "privateCreator": "GOOGLE",
    }
    assert detail.findtext("Value") == "already exists"


def test_a_mixed_outcome(client: Client) -> None:
    files = [sample("CT_small.dcm"), sample("no_meta.dcm"), sample("MR_small.dcm"), b""]
    response = client.store(*files)
    body = json.loads(response.data)
    assert response.status == 409
    assert stored(body) == [read(files[0]).SOPInstanceUID, read(files[2]).SOPInstanceUID]
    assert len(failures(body)) == 2
    assert all(detail.startswith("invalid DICOM instance") for detail in failures(body))
    assert len(client.search("/instances")) == 2


def test_the_same_instance_twice_in_a_request(client: Client) -> None:
    file = make_dicom()
    response = client.store(file, file)
    assert (response.status, len(stored(json.loads(response.data)))) == (200, 2)
    assert len(client.search("/instances")) == 1


def test_the_same_instance_uid_in_another_series(client: Client) -> None:
    uid = generate_uid()
    assert (
        client.store(make_dicom(SOPInstanceUID=uid), make_dicom(SOPInstanceUID=uid)).status == 200
    )
    assert len(client.search("/instances", SOPInstanceUID=uid)) == 2


def test_into_a_study(client: Client) -> None:
    file = make_dicom()
    study = read(file).StudyInstanceUID
    assert client.store(file, path=f"/studies/{study}").status == 200
    response = client.store(make_dicom(), path=f"/studies/{study}")
    body = json.loads(response.data)
    assert (response.status, stored(body)) == (409, [])
    assert "StudyInstanceUID" in failures(body)[0]
    assert len(client.search("/studies")) == 1


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "multipart/related; boundary=x",
        'multipart/related; type="application/dicom+json"; boundary=x',
        'multipart/related; type="application/dicom"',
    ],
)
def test_unsupported_media_types(client: Client, content_type: str) -> None:
    response = client.request("POST", "/studies", b"--x--", content_type=content_type)
    assert response.status == 400
    assert response.headers["content-type"].startswith("text/plain")


def test_a_part_of_another_type(client: Client) -> None:
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--"
    response = client.request("POST", "/studies", body, content_type=f"{MULTIPART}; boundary=x")
    assert response.status == 400


@pytest.mark.parametrize("body", [b"", b"--x--", b"hello", b"--x\r\n\r\nno end"])
def test_malformed_multipart(client: Client, body: bytes) -> None:
    response = client.request("POST", "/studies", body, content_type=f"{MULTIPART}; boundary=x")
    assert response.status == 400
    assert b"multipart" in response.data


def test_what_came_whole_before_a_fault_is_there_with_the_answer(client: Client) -> None:
    """It is written by another thread, which may be behind when the fault is found."""
    for number in range(1, 11):
        body = multipart([make_dicom(bytes(1_100_000))], "x").removesuffix(b"--\r\n") + b" fault"
        response = client.request("POST", "/studies", body, content_type=f"{MULTIPART}; boundary=x")
        assert response.status == 400
        assert len(client.search("/studies")) == number


def test_an_unknown_accept(client: Client) -> None:
    response = client.store(make_dicom(), accept="text/html")
    assert response.status == 406
    assert response.data.startswith(b"no supported media type found in [text/html]")
    assert client.search("/studies") == []


@pytest.mark.parametrize("boundary", ['"quoted boundary"', "1-2_3", '"(a:b)"'])
def test_boundaries(client: Client, boundary: str) -> None:
    bare = boundary.strip('"')
    body = f"--{bare}\r\n\r\n".encode() + make_dicom() + f"\r\n--{bare}--".encode()
    content_type = f"multipart/related; boundary={boundary}; type=application/dicom"
    assert client.request("POST", "/studies", body, content_type=content_type).status == 200


def test_a_slash_at_the_end(client: Client) -> None:
    assert client.store(make_dicom(), path="/studies/").status == 200


def test_a_body_that_breaks_off_leaves_nothing(own_client: Client, tmp_path: Path) -> None:
    file = make_dicom(b"\0" * 3_000_000)

    def pieces() -> Iterator[bytes]:
        yield file[:2_500_000]
        raise ConnectionAbortedError

    with pytest.raises(urllib3.exceptions.ProtocolError):
        own_client.request("POST", "/studies", pieces(), content_type="application/dicom")
    own_client.pool.clear()
    deadline = time.monotonic() + 10
    while any((tmp_path / "data" / "staging").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert own_client.search("/studies") == []
    assert not any((tmp_path / "data" / "files").iterdir())


def test_large_and_small_instances_in_one_request(client: Client) -> None:
    files = [
        make_dicom(bytes([n]) * size) for n, size in enumerate((10, 3_000_000, 20, 700_000, 4))
    ]
    response = client.store(*files)
    assert stored(json.loads(response.data)) == [read(file).SOPInstanceUID for file in files]
    for file in files:
        got = client.get(path_of(read(file)), "application/dicom; transfer-syntax=*")
        assert got.data == file


def test_expect_continue_is_answered_before_the_body(client: Client) -> None:
    file = make_dicom()
    response = client.request(
        "POST", "/studies", file, content_type="application/dicom", expect="100-continue"
    )
    assert response.status == 200
