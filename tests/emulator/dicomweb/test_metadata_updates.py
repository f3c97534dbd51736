"""PATCH of metadata (v1beta1): a JSON Patch changes attributes, and nothing else."""

from __future__ import annotations

import io
import json
import shutil
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    generate_uid,
)

from orthanc_gcp.emulator.dicomweb import file_editing, metadata_updates
from orthanc_gcp.emulator.healthcare import operations
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import DICOM_JSON, Client, make_dicom, path_of, read, sample
from tests.emulator.healthcare.test_operations import ended
from tests.emulator.pubsub.test_methods import Project, with_scope

AS_STORED = "application/dicom; transfer-syntax=*"
NAME = {"op": "replace", "path": "/00100010/Value/0", "value": {"Alphabetic": "New^Name"}}


def patch(client: Client, path: str, changes: Any, accept: str = "") -> Any:
    url = beta(client, f"{path}/metadata")
    body = changes if isinstance(changes, bytes) else json.dumps(changes)
    headers = {"accept": accept} if accept else {}
    return client.request("PATCH", url, body, content_type="application/json-patch+json", **headers)


def beta(client: Client, path: str) -> str:
    return client.web.replace("/v1/", "/v1beta1/") + path


def stored(client: Client, *files: bytes) -> str:
    """Store instances; return the path of the first."""
    assert client.store(*files).status == 200
    return path_of(read(files[0]))


def content_of(client: Client, path: str) -> bytes:
    response = client.get(path, AS_STORED)
    assert response.status == 200
    return bytes(response.data)


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


def test_only_what_changes_changes(client: Client) -> None:
    old = sample("CT_small.dcm")
    path = stored(client, old)
    assert patch(client, path, [NAME]).status == 200
    new = content_of(client, path)
    element = b"\x10\x00\x10\x00PN"
    before, after = old.index(element), new.index(element)
    length = int.from_bytes(old[before + 6 : before + 8], "little")
    assert new[after + 8 : after + 16] == b"New^Name"
    # Group lengths are retired, and left out.
    assert new[after + 16 :] == old[before + 8 + length :]
    assert pydicom.dcmread(io.BytesIO(new)).pixel_array.tolist() == read(old).pixel_array.tolist()


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "JPEG2000.dcm",
        "MR_small_RLE.dcm",
        "test-SR.dcm",
        "rtplan.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
        "image_dfl.dcm",
    ],
)
def test_every_kind_of_file(client: Client, name: str) -> None:
    old = sample(name)
    path = stored(client, old)
    before = client.get(beta(client, f"{path}/metadata")).json()[0]
    added = {"op": "add", "path": "/00104000", "value": {"vr": "LT", "Value": ["a comment"]}}
    response = patch(client, path, [added])
    assert response.status == 200, response.data
    assert response.json() == [{**before, "00104000": added["value"]}]
    new, expected = read(content_of(client, path)), read(old)
    assert new.file_meta == expected.file_meta
    expected.PatientComments = "a comment"
    assert new == expected


def test_sequences_and_their_bulk_data(client: Client) -> None:
    old = read(make_dicom())
    item = Dataset()
    item.CodeValue = "a"
    item.add_new(0x00091001, "OB", b"\1\2\3\4" * 500)
    item.add_new(0x00090010, "LO", "PRIVATE")
    old.ConceptNameCodeSequence = Sequence([item, item])
    buffer = io.BytesIO()
    old.save_as(buffer, enforce_file_format=True)
    path = stored(client, buffer.getvalue())
    changes = [
        {"op": "replace", "path": "/0040A043/Value/1/00080100/Value/0", "value": "b"},
        {"op": "remove", "path": "/0040A043/Value/0"},
    ]
    assert patch(client, path, changes).status == 200
    (left,) = read(content_of(client, path)).ConceptNameCodeSequence
    assert left.CodeValue == "b"
    assert left[0x00091001].value == b"\1\2\3\4" * 500


@pytest.mark.parametrize(
    ("character_set", "after"),
    [("ISO_IR 100", "ISO_IR 192"), ("", "ISO_IR 192"), ("ISO_IR 192", "ISO_IR 192")],
)
def test_text_that_the_character_set_lacks(client: Client, character_set: str, after: str) -> None:
    more = {"SpecificCharacterSet": character_set} if character_set else {}
    kept = "Köln" if character_set else "Koeln"
    old = make_dicom(**more, InstitutionName=kept)
    path = stored(client, old)
    change = {**NAME, "value": {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}}
    assert patch(client, path, [change]).status == 200
    new = read(content_of(client, path))
    assert new.SpecificCharacterSet == after
    assert (new.InstitutionName, str(new.PatientName)) == (kept, "Yamada^Tarou=山田^太郎")


def test_plain_text_leaves_the_character_set_alone(client: Client) -> None:
    path = stored(client, make_dicom(SpecificCharacterSet="ISO_IR 100", InstitutionName="Köln"))
    assert patch(client, path, [NAME]).status == 200
    new = read(content_of(client, path))
    assert (new.SpecificCharacterSet, new.InstitutionName) == ("ISO_IR 100", "Köln")


def test_a_change_that_is_none(own_client: Client, tmp_path: Path) -> None:
    old = make_dicom()
    path = stored(own_client, old)
    (file,) = (tmp_path / "data" / "files").iterdir()
    change = {"op": "replace", "path": "/00100020/Value/0", "value": "4711"}
    assert patch(own_client, path, [change]).status == 200
    assert patch(own_client, path, []).status == 200
    assert list((tmp_path / "data" / "files").iterdir()) == [file]


@pytest.mark.parametrize(
    "changes",
    [
        b"",
        b"{",
        b"[" * 100_000,
        {},
        [{"op": "nothing", "path": ""}],
        [{"op": "remove", "path": "/00080050"}],
        [{"op": "test", "path": "/00100020/Value/0", "value": "4712"}],
        [{"op": "replace", "path": "", "value": []}],
        [{"op": "replace", "path": "", "value": {}}],
        [{"op": "replace", "path": "/00080018/Value/0", "value": "1.2.3"}],
        [{"op": "replace", "path": "/0020000D/Value/0", "value": "1.2.3"}],
        [{"op": "remove", "path": "/0020000E"}],
        [{"op": "remove", "path": "/00080016"}],
        [{"op": "add", "path": "/00080005", "value": {"vr": "CS", "Value": ["ISO_IR 100"]}}],
        [{"op": "replace", "path": "/00020010/Value/0", "value": "1.2.840.10008.1.2"}],
        [{"op": "remove", "path": "/7FE00010"}],
        [{"op": "add", "path": "/PatientName", "value": {"vr": "PN"}}],
        [{"op": "add", "path": "/00100000", "value": {"vr": "UL", "Value": [1]}}],
        [{"op": "add", "path": "/00280010", "value": {"vr": "US", "Value": ["x"]}}],
        [{"op": "add", "path": "/00280010", "value": {"vr": "ZZ", "Value": ["x"]}}],
        [{"op": "add", "path": "/00280010", "value": "x"}],
        [{"op": "add", "path": "/00091001", "value": {"vr": "OB", "BulkDataURI": "http://x/y"}}],
    ],
)
def test_what_is_refused(client: Client, changes: Any) -> None:
    old = make_dicom()
    path = stored(client, old)
    response = patch(client, path, changes)
    assert response.status == 400, response.data
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert content_of(client, path) == old


def test_a_file_that_can_be_read_in_two_ways(client: Client) -> None:
    old = make_dicom(PatientComments="abcd")
    at = old.index(b"\x10\x00\x00\x40LT")
    # A length to one reader (no VR has digits), a VR to the other.
    odd = old[:at] + b"\x10\x00\x00\x40B1\0\0" + bytes(0x3142) + old[at + 12 :]
    assert client.store(odd).status == 200
    path = path_of(read(old))
    assert patch(client, path, [NAME]).status == 400
    assert content_of(client, path) == odd


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
            raise operations._Stopped
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
    (left,) = (tmp_path / "data" / "files").iterdir()
    assert left.read_bytes() == content_of(own_client, path)
    assert not any((tmp_path / "data" / "staging").iterdir())


@pytest.mark.parametrize(
    ("name", "limit", "status"),
    [("CT_small.dcm", 10_000, 200), ("CT_small.dcm", 1000, 400), ("image_dfl.dcm", 10_000, 400)],
)
def test_what_is_held_in_memory_is_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, status: int
) -> None:
    monkeypatch.setattr(file_editing, "MAX_HEAD", limit)
    assert patch(client, stored(client, sample(name)), [NAME]).status == status


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


def test_memory_does_not_grow_with_the_pixels(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    pixels = bytes(64 * 1024 * 1024)
    with Emulator(Options(tmp_path, write_credentials=tmp_path)) as emulator:
        client = Client(emulator.url, tmp_path)
        old = make_dicom(pixels=pixels)
        path = stored(client, old)
        tracemalloc.start()
        assert patch(client, path, [NAME]).status == 200
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < len(pixels) // 4
        assert read(content_of(client, path)).PixelData == pixels
        client.pool.clear()
