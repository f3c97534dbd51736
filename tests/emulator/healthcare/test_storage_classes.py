"""Storage classes: of uploads, changed later, shown by getStorageInfo."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import Client, make_dicom, path_of, read


def storage_class(client: Client, content: bytes) -> str:
    return str(info(client, content)["storageClass"])


def info(client: Client, content: bytes) -> dict[str, Any]:
    found = client.get(f"{path_of(read(content))}:getStorageInfo").json()
    return dict(found["blobStorageInfo"])


def change(client: Client, path: str, wanted: Any, **more: Any) -> tuple[int, dict[str, Any]]:
    """Ask for another storage class of what is at a path; return the operation, or the refusal."""
    body = {"blobStorageSettings": {"blobStorageClass": wanted}, **more}
    url = f"{client.url}/v1/{client.store_name}{path}:setBlobStorageSettings"
    answer = client.request("POST", url, json.dumps(body).encode())
    if answer.status != 200:
        return answer.status, answer.json()["error"]
    return 200, client.get(f"{client.url}/v1/{answer.json()['name']}").json()


@pytest.fixture
def files(client: Client) -> list[bytes]:
    """Two instances of a series, one of another series of the study, one of another study."""
    study = generate_uid()
    same = {"StudyInstanceUID": study, "SeriesInstanceUID": generate_uid()}
    files = [make_dicom(**same), make_dicom(**same), make_dicom(StudyInstanceUID=study)]
    files.append(make_dicom())
    assert client.store(*files).status == 200
    return files


@pytest.mark.parametrize("wanted", ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"])
@pytest.mark.parametrize("multipart", [True, False])
def test_an_upload_chooses(client: Client, wanted: str, multipart: bool) -> None:
    content = make_dicom()
    if multipart:
        answer = client.store(content, storage_class=wanted)
    else:
        headers = {"content_type": "application/dicom", "storage_class": wanted}
        answer = client.request("POST", "/studies", content, **headers)
    assert answer.status == 200
    assert storage_class(client, content) == wanted


@pytest.mark.parametrize("wanted", ["", "nearline", "COLD", "BLOB_STORAGE_CLASS_UNSPECIFIED"])
def test_classes_that_do_not_exist(client: Client, files: list[bytes], wanted: str) -> None:
    content = make_dicom()
    answer = client.store(content, storage_class=wanted)
    assert answer.status == 400
    assert client.get(path_of(read(content))).status == 403
    assert change(client, "", wanted)[0] == 400


@pytest.mark.parametrize("settings", [None, [], "ARCHIVE", {"blobStorageClass": 1}])
def test_settings_that_are_none(client: Client, settings: Any) -> None:
    assert change(client, "", "ARCHIVE", blobStorageSettings=settings)[0] == 400


@pytest.mark.parametrize(
    ("level", "changed"), [("store", 4), ("study", 3), ("series", 2), ("instance", 1)]
)
def test_a_change(client: Client, files: list[bytes], level: str, changed: int) -> None:
    instance = path_of(read(files[0]))
    series = instance.partition("/instances")[0]
    paths = {"instance": instance, "series": series, "study": series.partition("/series")[0]}
    path = f"/dicomWeb{paths[level]}" if level in paths else ""
    before = info(client, files[0])["storageClassUpdateTime"]
    status, operation = change(client, path, "COLDLINE")
    assert status == 200
    assert operation["metadata"]["counter"] == {"success": str(changed)}
    assert operation["metadata"]["apiMethodName"] == (
        "google.cloud.healthcare.v1.storageinfo.StorageInfoService.SetBlobStorageSettings"
    )
    found = [storage_class(client, content) for content in files]
    assert found == ["COLDLINE"] * changed + ["STANDARD"] * (4 - changed)
    after = info(client, files[0])["storageClassUpdateTime"]
    assert datetime.fromisoformat(before) < datetime.fromisoformat(after)
    assert change(client, path, "STANDARD")[0] == 200
    assert storage_class(client, files[0]) == "STANDARD"


@pytest.mark.parametrize(
    ("path", "status"),
    [("x", 404), ("/dicomWeb/studies/1.2", 403), ("/dicomWeb/studies/1.2/series/3", 403)],
)
def test_what_is_not_there(client: Client, path: str, status: int) -> None:
    assert change(client, path, "ARCHIVE")[0] == status


def test_an_update_goes_where_it_says(client: Client, files: list[bytes]) -> None:
    changed = files[0][:-1] + b"\7"
    web = client.web.replace("/v1/", "/v1beta1/")
    headers = {"content_type": "application/dicom", "storage_class": "ARCHIVE"}
    assert client.request("PUT", f"{web}/studies", changed, **headers).status == 200
    assert storage_class(client, changed) == "ARCHIVE"


def test_a_class_goes_with_its_instance(own_client: Client, tmp_path: Path) -> None:
    content = make_dicom()
    own_client.store(content, storage_class="ARCHIVE")
    own_client.request("DELETE", path_of(read(content)))
    own_client.store(content)
    assert storage_class(own_client, content) == "STANDARD"
