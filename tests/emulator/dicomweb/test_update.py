"""PUT of v1beta1: instances that are there already are replaced."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import (
    DICOM_JSON,
    MULTIPART,
    Client,
    make_dicom,
    multipart,
    path_of,
    read,
)
from tests.emulator.dicomweb.test_stow import failures, stored

AS_STORED = "application/dicom; transfer-syntax=*"


def versions(count: int) -> list[bytes]:
    """Return several instances under the same UIDs."""
    uids = {
        name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    return [make_dicom(PatientName=f"Version^{n}", **uids) for n in range(count)]


def put(client: Client, *files: bytes, path: str = "/studies", accept: str = DICOM_JSON) -> Any:
    boundary = secrets.token_hex(16)
    return client.request(
        "PUT",
        client.web.replace("/v1/", "/v1beta1/") + path,
        multipart(files, boundary),
        content_type=f"{MULTIPART}; boundary={boundary}",
        accept=accept,
    )


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
    files = sorted(path.read_bytes() for path in (tmp_path / "data" / "files").iterdir())
    assert files == sorted([new, other])
    assert not any((tmp_path / "data" / "staging").iterdir())


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


def test_uploads_do_not_replace(client: Client) -> None:
    old, new = versions(2)
    client.store(old)
    url = client.web.replace("/v1/", "/v1beta1/") + "/studies"
    response = client.request("POST", url, new, content_type="application/dicom")
    assert response.status == 409
    assert client.get(path_of(read(new)), AS_STORED).data == old


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


def test_many_at_once_leave_one(own_client: Client, tmp_path: Path) -> None:
    files = versions(8)
    threads = [threading.Thread(target=put, args=(own_client, file)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (left,) = (tmp_path / "data" / "files").iterdir()
    assert left.read_bytes() == own_client.get(path_of(read(files[0])), AS_STORED).data
    assert not any((tmp_path / "data" / "staging").iterdir())


def test_it_takes_a_permission_of_its_own(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(deniedPermissions=["healthcare.dicomStores.dicomWebUpdate"])
    (content,) = versions(1)
    response = put(own_client, content)
    assert response.status == 403
    assert "dicomWebUpdate" in json.loads(response.data)["error"]["message"]
    assert own_client.store(content).status == 200


@pytest.mark.parametrize("died", ["before", "after"])
def test_a_crash_in_the_middle(tmp_path: Path, identities: Path, died: str) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    old, new = versions(2)
    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path)
        client.store(old if died == "before" else new)
        client.pool.clear()
    # Before the index knows the new one, both are in staging; after it, the old one is left.
    (kept,) = (tmp_path / "files").iterdir()
    kept.rename(tmp_path / "staging" / kept.name)
    (tmp_path / "staging" / "other").write_bytes(new if died == "before" else old)
    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path)
        expected = old if died == "before" else new
        assert client.get(path_of(read(old)), AS_STORED).data == expected
        assert not any((tmp_path / "staging").iterdir())
        client.pool.clear()
