"""The receiving end of a store transaction: what is stored of what arrives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3
from pydicom.uid import generate_uid

from tests.emulator.client import (
    MULTIPART,
    Client,
    make_dicom,
    multipart,
    path_of,
    read,
)
from tests.emulator.contents import stored_contents
from tests.emulator.dicomweb.store_answers import failures, stored
from tests.emulator.updates import put, versions

AS_STORED = "application/dicom; transfer-syntax=*"


@pytest.mark.parametrize("last", [b"\0", b"\1"])
def test_what_is_there_already_is_a_conflict_whatever_its_bytes(
    client: Client, last: bytes
) -> None:
    file = make_dicom()[:-1] + b"\0"
    assert client.store(file).status == 200
    response = client.store(file[:-1] + last)
    body = json.loads(response.data)
    assert (response.status, failures(body), stored(body)) == (409, ["already exists"], [])
    (item,) = body["00081198"]["Value"]
    assert item["00081155"]["Value"] == [read(file).SOPInstanceUID]
    assert client.get(path_of(read(file)), "application/dicom; transfer-syntax=*").data == file


def test_the_same_instance_twice_in_a_request(client: Client) -> None:
    file = make_dicom()
    response = client.store(file, file)
    body = json.loads(response.data)
    assert (response.status, len(stored(body)), failures(body)) == (409, 1, ["already exists"])
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


def test_what_came_whole_before_a_fault_is_there_with_the_answer(client: Client) -> None:
    """It is written by another thread, which may be behind when the fault is found."""
    for number in range(1, 11):
        body = multipart([make_dicom(bytes(1_100_000))], "x").removesuffix(b"--\r\n") + b" fault"
        response = client.request("POST", "/studies", body, content_type=f"{MULTIPART}; boundary=x")
        assert response.status == 400
        assert len(client.search("/studies")) == number


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_body_that_breaks_off_leaves_nothing(own_client: Client, tmp_path: Path) -> None:
    file, staging = make_dicom(b"\0" * 3_000_000), tmp_path / "data" / "staging"

    def pieces() -> Iterator[bytes]:
        yield file[:2_500_000]
        wait_until(lambda: any(staging.iterdir()))
        raise ConnectionAbortedError

    with pytest.raises(urllib3.exceptions.ProtocolError):
        own_client.request("POST", "/studies", pieces(), content_type="application/dicom")
    own_client.pool.clear()
    wait_until(lambda: not any(staging.iterdir()))
    assert own_client.search("/studies") == []
    assert stored_contents(tmp_path / "data") == []


def test_large_and_small_instances_in_one_request(client: Client) -> None:
    files = [
        make_dicom(bytes([n]) * size) for n, size in enumerate((10, 3_000_000, 20, 700_000, 4))
    ]
    response = client.store(*files)
    assert stored(json.loads(response.data)) == [read(file).SOPInstanceUID for file in files]
    for file in files:
        got = client.get(path_of(read(file)), "application/dicom; transfer-syntax=*")
        assert got.data == file


def test_an_instance_is_replaced(own_client: Client, tmp_path: Path) -> None:
    client = own_client
    old, new = versions(2)
    other = make_dicom()
    client.store(old)
    response = put(client, new, other)
    assert response.status == 200
    assert stored(response.json()) == [read(file).SOPInstanceUID for file in (new, other)]
    path = path_of(read(new))
    assert client.get(path, AS_STORED).data == new
    assert len(client.search("/instances")) == 2
    (study,) = client.search("/studies", StudyInstanceUID=str(read(new).StudyInstanceUID))
    assert study["00100010"]["Value"] == [{"Alphabetic": "Version^1"}]
    assert client.search("/studies", PatientName="Version^0") == []
    assert stored_contents(tmp_path / "data") == sorted([new, other])


def test_uploads_do_not_replace(client: Client) -> None:
    old, new = versions(2)
    client.store(old)
    url = client.web.replace("/v1/", "/v1beta1/") + "/studies"
    response = client.request("POST", url, new, content_type="application/dicom")
    assert response.status == 409
    assert client.get(path_of(read(new)), AS_STORED).data == old
