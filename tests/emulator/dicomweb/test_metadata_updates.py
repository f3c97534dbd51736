"""PATCH of metadata (v1beta1): a JSON Patch changes attributes, and nothing else."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    generate_uid,
)

from orthanc_gcp.emulator.dicomweb import metadata_updates
from orthanc_gcp.emulator.healthcare.jobs import StoppedError
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import DICOM_JSON, Client, make_dicom, path_of, read
from tests.emulator.contents import stored_contents
from tests.emulator.dicomweb.patches import NAME, beta, content_of, patch, stored
from tests.emulator.healthcare.test_operations import ended
from tests.emulator.pubsub.test_methods import Project, with_scope


def test_an_instance(client: Client) -> None:
    old = make_dicom(pixels=b"\1\2" * 100, PatientComments="stays")
    path = stored(client, old)
    response = patch(
        client,
        path,
        [
            NAME,
            {"op": "test", "path": "/00100020/Value/0", "value": "4711"},
            {"op": "add", "path": "/00080050", "value": {"vr": "SH", "Value": ["A1"]}},
            {"op": "remove", "path": "/00080020"},
        ],
    )
    assert response.status == 200, response.data
    assert response.headers["content-type"] == DICOM_JSON
    assert response.json() == client.get(beta(client, f"{path}/metadata")).json()
    expected = read(old)
    expected.PatientName, expected.AccessionNumber = "New^Name", "A1"
    del expected.StudyDate
    assert read(content_of(client, path)) == expected
    (study,) = client.search("/studies", PatientName="New^Name")
    assert study["00080050"]["Value"] == ["A1"]
    assert client.search("/studies", PatientName="Doe^John") == []


def test_a_study_and_a_series(client: Client) -> None:
    uids = {"StudyInstanceUID": generate_uid()}
    first = make_dicom(**uids)
    series = read(first).SeriesInstanceUID
    second = make_dicom(**uids, SeriesInstanceUID=series)
    third = make_dicom(**uids, PatientComments="x")
    stored(client, first, second, third)
    study = f"/studies/{uids['StudyInstanceUID']}"
    described = {"op": "add", "path": "/0008103E", "value": {"vr": "LO", "Value": ["new"]}}

    def operation(response: Any) -> Any:
        assert response.status == 200
        url = f"{client.url}/v1beta1/{response.json()['name']}"
        return client.get(url).json()

    done = operation(patch(client, f"{study}/series/{series}", [described]))
    assert done["done"]
    assert done["metadata"]["counter"] == {"success": "2"}
    assert done["metadata"]["apiMethodName"].endswith("DicomWebService.UpdateSeriesMetadata")
    found = client.search(f"{study}/series", includefield="SeriesDescription")
    assert ["0008103E" in one for one in found].count(True) == 1
    done = operation(patch(client, study, [NAME]))
    assert done["metadata"]["counter"] == {"success": "3"}
    names = [read(content_of(client, path_of(read(f)))).PatientName for f in (first, second, third)]
    assert names == ["New^Name"] * 3
    assert len(client.search("/studies", PatientName="New^Name")) == 1
    done = operation(patch(client, study, [{"op": "remove", "path": "/00104000"}]))
    assert done["metadata"]["counter"] == {"success": "1", "failure": "2"}
    assert done["error"]["code"] == 3
    assert "response" not in done
    assert patch(client, study, {}).status == 400


def test_it_goes_on_after_a_restart(
    tmp_path: Path, identities: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was changed before is not changed again: this patch would add more each time."""
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    study = generate_uid()
    files = [make_dicom(StudyInstanceUID=study, OtherPatientIDs=["a", "b"]) for _ in range(3)]
    more = {"op": "add", "path": "/00101000/Value/-", "value": "c"}
    true_edit, edited = metadata_updates.edit, []

    def edit(*arguments: Any) -> Any:
        if edited:
            raise StoppedError
        edited.append(arguments)
        return true_edit(*arguments)

    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path)
        stored(client, *files)
        monkeypatch.setattr(metadata_updates, "edit", edit)
        name = patch(client, f"/studies/{study}", [more]).json()["name"]
        found = client.get(f"{client.url}/v1/{name}").json()
        assert "done" not in found
        assert found["metadata"]["counter"] == {"success": "1", "pending": "2"}
        client.pool.clear()
    monkeypatch.undo()
    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path)
        done = ended(client, name)
        assert done["metadata"]["counter"] == {"success": "3"}
        assert done["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
        for file in files:
            new = read(content_of(client, path_of(read(file))))
            assert new.OtherPatientIDs == ["a", "b", "c"]
        assert emulator._storage.operations.changed(name) == 0
        client.pool.clear()


def test_what_is_being_deleted(emulator: Emulator, own_client: Client) -> None:
    old = make_dicom()
    path = stored(own_client, old)
    study = path.partition("/series")[0]
    emulator.fault_settings.change(operationDelay=600)
    assert own_client.request("DELETE", study).status == 200
    refused = patch(own_client, path, [NAME])
    assert (refused.status, refused.json()["error"]["status"]) == (409, "ABORTED")
    emulator.fault_settings.change(operationDelay=0)
    done = ended(own_client, patch(own_client, study, [NAME]).json()["name"])
    assert (done["error"]["code"], done["metadata"]["counter"]) == (3, {"failure": "1"})
    assert content_of(own_client, path) == old


def test_the_storage_class_stays(client: Client) -> None:
    old = make_dicom()
    client.store(old, storage_class="ARCHIVE")
    path = path_of(read(old))
    before = client.get(f"{path}:getStorageInfo").json()["blobStorageInfo"]
    assert patch(client, path, [NAME]).status == 200
    after = client.get(f"{path}:getStorageInfo").json()["blobStorageInfo"]
    assert before["storageClass"] == after["storageClass"] == "ARCHIVE"
    assert before["storageClassUpdateTime"] == after["storageClassUpdateTime"]


def test_what_there_is_not(client: Client) -> None:
    for path in ("/studies/1.2", "/studies/1.2/series/3", "/studies/1.2/series/3/instances/4"):
        response = patch(client, path, [NAME])
        assert response.status == 403
        assert "dicomWebUpdate" in response.json()["error"]["message"]
    path = stored(client, make_dicom())
    assert client.request("PATCH", f"{path}/metadata", b"[]").status == 404
    assert patch(client, path, [NAME], accept="image/png").status == 406
    assert b"Doe^John" in content_of(client, path)


def test_it_takes_a_permission_of_its_own(emulator: Emulator, own_client: Client) -> None:
    path = stored(own_client, make_dicom())
    emulator.fault_settings.change(deniedPermissions=["healthcare.dicomStores.dicomWebUpdate"])
    assert patch(own_client, path, [NAME]).status == 403


def test_an_operation_that_fails_on_demand(emulator: Emulator, own_client: Client) -> None:
    old = make_dicom()
    path = stored(own_client, old)
    emulator.fault_settings.change(operationFailure=13)
    response = patch(own_client, path.partition("/series/")[0], [NAME])
    done = own_client.get(f"{own_client.url}/v1/{response.json()['name']}").json()
    assert (done["error"]["code"], done["metadata"]["counter"]) == (13, {"failure": "1"})
    assert content_of(own_client, path) == old


def test_subscribers_hear_of_it(client: Client, shared_folder: Path) -> None:
    scope = "https://www.googleapis.com/auth/cloud-platform"
    project = Project(with_scope(client, shared_folder, scope)).set_up()
    path = stored(client, make_dicom())
    body = json.dumps({"notificationConfigs": [{"pubsubTopic": project.topic}]})
    url = f"{client.url}/v1/{client.store_name}?updateMask=notificationConfigs"
    assert client.request("PATCH", url, body).status == 200
    assert patch(client, path, [NAME]).status == 200
    assert patch(client, path, [NAME]).status == 200
    (received,) = project.pull()
    assert received["message"]["attributes"]["action"] == "UpdateMetadata"


def test_many_at_once_leave_all_their_changes(own_client: Client, tmp_path: Path) -> None:
    path = stored(own_client, make_dicom())
    tags = [f"0010{number:04X}" for number in (0x1010, 0x2180, 0x21B0, 0x4000, 0x1040, 0x2154)]

    def add(tag: str) -> None:
        change = {"op": "add", "path": f"/{tag}", "value": {"vr": "LT", "Value": ["x"]}}
        assert patch(own_client, path, [change]).status == 200

    threads = [threading.Thread(target=add, args=(tag,)) for tag in tags]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (metadata,) = own_client.get(f"{path}/metadata").json()
    assert metadata.keys() >= set(tags)
    assert stored_contents(tmp_path / "data") == [content_of(own_client, path)]


def test_deleted_while_it_is_changed(own_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(own_client, make_dicom())
    true_edit = metadata_updates.edit

    def edit(*arguments: Any) -> Any:
        edited = true_edit(*arguments)
        assert own_client.request("DELETE", path).status == 200
        return edited

    monkeypatch.setattr(metadata_updates, "edit", edit)
    assert patch(own_client, path, [NAME]).status == 403
    assert own_client.search("/instances") == []
