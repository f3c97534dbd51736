"""DELETE, and the operations of studies and series."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import AS_STORED, Client, make_dicom, path_of, read
from tests.emulator.contents import LARGE, stored_contents

DATASET = "projects/osimis-test/locations/europe-west2/datasets/test"


@pytest.fixture
def files(client: Client) -> list[bytes]:
    study, series = generate_uid(), generate_uid()
    same = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    files = [make_dicom(**same), make_dicom(**same), make_dicom(StudyInstanceUID=study)]
    client.store(*files)
    return files


def test_an_instance_goes_at_once(client: Client, files: list[bytes]) -> None:
    response = client.request("DELETE", path_of(read(files[0])))
    assert (response.status, json.loads(response.data)) == (200, {})
    assert len(client.search("/instances")) == 2
    assert client.request("DELETE", path_of(read(files[0]))).status == 403


def test_nothing_is_left_on_disk(own_client: Client, tmp_path: Path) -> None:
    study = generate_uid()
    kept = make_dicom()
    sizes = (2, LARGE, 2)
    own_client.store(*(make_dicom(bytes(n), StudyInstanceUID=study) for n in sizes), kept)
    own_client.request("DELETE", f"/studies/{study}")
    assert stored_contents(tmp_path / "data") == [kept]


def test_the_last_instance_takes_its_series_and_study_along(
    client: Client, files: list[bytes]
) -> None:
    for file, series, studies in zip(files, (2, 1, 0), (1, 1, 0), strict=True):
        client.request("DELETE", path_of(read(file)))
        assert len(client.search("/series")) == series
        assert len(client.search("/studies")) == studies


@pytest.mark.parametrize(("level", "left", "gone"), [("study", 0, "3"), ("series", 1, "2")])
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_operation_tells_of_a_study_or_series(
    client: Client, files: list[bytes], level: str, left: int, gone: str, version: str
) -> None:
    path = path_of(read(files[0])).partition("/instances")[0]
    path = path.partition("/series")[0] if level == "study" else path
    response = client.request("DELETE", client.web.replace("/v1/", f"/{version}/") + path)
    started = json.loads(response.data)
    assert (response.status, list(started)) == (200, ["name"])
    assert started["name"].rpartition("/")[0] == f"{DATASET}/operations"
    operation = json.loads(client.get(f"{client.url}/v1/{started['name']}").data)
    assert operation["name"] == started["name"]
    assert operation["done"] is True
    assert operation["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    metadata = operation["metadata"]
    assert metadata["@type"].endswith(f"google.cloud.healthcare.{version}.OperationMetadata")
    assert metadata["apiMethodName"].endswith(f"DicomWebService.Delete{level.capitalize()}")
    assert metadata["counter"] == {"success": gone}
    assert datetime.fromisoformat(metadata["createTime"]) <= datetime.fromisoformat(
        metadata["endTime"]
    )
    assert len(client.search("/instances")) == left


def test_what_was_deleted_can_be_stored_anew(client: Client, files: list[bytes]) -> None:
    study = read(files[0]).StudyInstanceUID
    client.request("DELETE", f"/studies/{study}")
    assert client.request("DELETE", f"/studies/{study}").status == 403
    assert client.store(files[0][:-1] + b"\7", *files[1:]).status == 200


def test_uploads_and_deletions_at_the_same_time(own_client: Client, tmp_path: Path) -> None:
    client = own_client
    study = generate_uid()
    files = [make_dicom(bytes(size), StudyInstanceUID=study) for size in (10, 10, 200_000) * 10]
    statuses: set[int] = set()

    def upload(part: list[bytes]) -> None:
        statuses.update(client.store(file).status for file in part for _ in range(3))

    def delete() -> None:
        for _ in range(30):
            statuses.add(client.request("DELETE", f"/studies/{study}").status)
            statuses.add(client.get(f"/studies/{study}", AS_STORED).status)

    threads = [threading.Thread(target=upload, args=(files[n::3],)) for n in range(3)]
    threads += [threading.Thread(target=delete) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses <= {200, 403, 409}
    left = len(client.search("/instances"))
    assert len(stored_contents(tmp_path / "data")) == left
