"""STOW-RS: what is stored, what is refused, and how the answer tells."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from orthanc_gcp.emulator.dicomweb import stow
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import (
    DICOM_JSON,
    MULTIPART,
    Client,
    make_dicom,
    path_of,
    read,
    sample,
)
from tests.emulator.dicomweb.store_answers import failures
from tests.emulator.updates import put, versions


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


def test_more_parts_than_are_remembered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stow, "MAX_INSTANCES", 50)
    content_type = f"{MULTIPART}; boundary=x"
    body = b"--x\r\n\r\n\r\n" * 51 + b"--x--"
    response = client.request("POST", "/studies", body, content_type=content_type)
    assert (response.status, b"more than 50 parts" in response.data) == (400, True)


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


def test_expect_continue_is_answered_before_the_body(client: Client) -> None:
    file = make_dicom()
    response = client.request(
        "POST", "/studies", file, content_type="application/dicom", expect="100-continue"
    )
    assert response.status == 200


XML = "application/dicom+xml"
AS_STORED = "application/dicom; transfer-syntax=*"


def test_the_same_again(client: Client) -> None:
    (content,) = versions(1)
    for _ in range(2):
        assert put(client, content).status == 200
    assert client.get(path_of(read(content)), AS_STORED).data == content


def test_the_answer_is_that_of_an_upload(client: Client) -> None:
    old, new = versions(2)
    client.store(old)
    response = put(client, new, accept="")
    assert response.headers["content-type"] == "application/dicom+xml"
    assert ET.fromstring(response.data)[1].attrib["keyword"] == "ReferencedSOPSequence"
    response = put(client, new, b"nonsense")
    assert response.status == 409
    assert failures(response.json())[0].startswith("invalid DICOM instance")
    response = put(client, new, path="/studies/1.2.3")
    assert response.status == 409


def test_one_file_alone(client: Client) -> None:
    old, new = versions(2)
    client.store(old)
    study = read(new).StudyInstanceUID
    url = f"{client.web.replace('/v1/', '/v1beta1/')}/studies/{study}"
    assert client.request("PUT", url, new, content_type="application/dicom").status == 200
    assert client.get(path_of(read(new)), AS_STORED).data == new


def test_what_is_not_offered(client: Client) -> None:
    (content,) = versions(1)
    response = client.request("PUT", "/studies", content, content_type="application/dicom")
    assert response.status == 404
    url = client.web.replace("/v1/", "/v1beta1/") + "/studies"
    content_type = f'multipart/related; type="{DICOM_JSON}"; boundary=b'
    assert client.request("PUT", url, b"", content_type=content_type).status == 400


def test_it_takes_a_permission_of_its_own(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(deniedPermissions=["healthcare.dicomStores.dicomWebUpdate"])
    (content,) = versions(1)
    response = put(own_client, content)
    assert response.status == 403
    assert "dicomWebUpdate" in json.loads(response.data)["error"]["message"]
    assert own_client.store(content).status == 200
