"""Notifications: a Pub/Sub message for each instance that comes, changes or goes."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import shutil
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import DICOM_JSON, STORE, Client, make_dicom, path_of, read
from tests.emulator.healthcare.test_storage_classes import change
from tests.emulator.pubsub.test_methods import Project, texts, with_scope
from tests.emulator.raw_files import raw_file
from tests.emulator.updates import put, versions

CLOUD = "https://www.googleapis.com/auth/cloud-platform"


def configure(client: Client, **body: Any) -> None:
    url = f"{client.url}/v1/{client.store_name}?updateMask={','.join(body)}"
    response = client.request("PATCH", url, json.dumps(body))
    assert response.status == 200, response.data


@pytest.fixture
def project(client: Client, shared_folder: Path) -> Project:
    """A store whose changes a subscription hears of."""
    project = Project(with_scope(client, shared_folder, CLOUD)).set_up()
    configure(client, notificationConfigs=[{"pubsubTopic": project.topic}])
    return project


def heard(project: Project) -> list[tuple[str, str]]:
    """Return action and SOPInstanceUID of each message."""
    received = project.pull(1000)
    if received:
        project.acknowledge(received)
    found = [entry["message"]["attributes"] for entry in received]
    return [(attributes["action"], attributes["sopInstanceUID"]) for attributes in found]


def test_uids_that_a_path_cannot_show_as_they_are(project: Project) -> None:
    project.client.store(raw_file(b"a/b", b"..", b"x y"))
    (received,) = project.pull()
    attributes = received["message"]["attributes"]
    assert attributes["studyInstanceUID"] == "a/b"
    path = "studies/a%2Fb/series/%2E%2E/instances/x%20y"
    assert texts([received]) == [f"{project.client.store_name}/dicomWeb/{path}"]


def test_a_stored_instance(project: Project) -> None:
    client, content = project.client, make_dicom(Modality="CT")
    assert client.store(content).status == 200
    (received,) = project.pull()
    dataset = read(content)
    path = f"{client.store_name}/dicomWeb{path_of(dataset)}"
    assert texts([received]) == [path]
    attributes = received["message"]["attributes"]
    assert client.get(f"{client.url}/v1/{path}", "application/dicom; transfer-syntax=*").data
    moment = attributes.pop("lastUpdatedTime")
    assert moment.endswith(" UTC")
    nanoseconds = int(base64.b64decode(attributes.pop("versionId")))
    assert parsedate_to_datetime(moment).timestamp() == nanoseconds // 10**9
    assert attributes == {
        "action": "StoreInstances",
        "storeName": client.store_name,
        "studyInstanceUID": dataset.StudyInstanceUID,
        "seriesInstanceUID": dataset.SeriesInstanceUID,
        "sopInstanceUID": dataset.SOPInstanceUID,
        "modality": "CT",
        "storageClass": "STANDARD",
    }


def test_one_message_for_each_instance_that_changes(project: Project) -> None:
    client = project.client
    old, new = versions(2)
    other = make_dicom(Modality="MR", StudyInstanceUID=read(old).StudyInstanceUID)
    uid, other_uid = (str(read(file).SOPInstanceUID) for file in (old, other))
    client.store(old, b"nonsense", other)
    assert heard(project) == [("StoreInstances", uid), ("StoreInstances", other_uid)]
    client.store(old, new)
    assert heard(project) == [], "neither the same again nor what is refused"
    put(client, new)
    assert heard(project) == [("UpdateInstances", uid)]
    assert client.request("DELETE", path_of(read(other))).status == 200
    client.store(other)
    assert client.request("DELETE", f"/studies/{read(old).StudyInstanceUID}").status == 200
    assert heard(project) == [
        ("DeleteInstances", other_uid),
        ("StoreInstances", other_uid),
        ("DeleteInstances", uid),
        ("DeleteInstances", other_uid),
    ]


def test_storage_classes(project: Project) -> None:
    client, content = project.client, make_dicom()
    path = f"/dicomWeb{path_of(read(content))}"
    client.store(content, storage_class="NEARLINE")
    for wanted in ("ARCHIVE", "ARCHIVE", "STANDARD", "COLDLINE"):
        assert change(client, path, wanted)[0] == 200
    client.request("DELETE", path_of(read(content)))
    told = [entry["message"]["attributes"] for entry in project.pull()]
    names = ("action", "storageClass", "previousStorageClass")
    assert [tuple(attributes.get(name) for name in names) for attributes in told] == [
        ("StoreInstances", "NEARLINE", None),
        ("SetBlobSettings", "ARCHIVE", "NEARLINE"),
        ("SetBlobSettings", "STANDARD", "ARCHIVE"),
        ("SetBlobSettings", "COLDLINE", "STANDARD"),
        ("DeleteInstances", "COLDLINE", None),
    ]


def test_a_change_of_the_storage_class_of_a_study(project: Project) -> None:
    client, first = project.client, make_dicom()
    study = read(first).StudyInstanceUID
    client.store(first, make_dicom(StudyInstanceUID=study), make_dicom())
    project.acknowledge(project.pull())
    assert change(client, f"/dicomWeb/studies/{study}", "ARCHIVE")[0] == 200
    assert [action for action, _ in heard(project)] == ["SetBlobSettings"] * 2


def test_instances_of_metadata(project: Project) -> None:
    dataset = read(make_dicom())
    dataset.SpecificCharacterSet = "ISO_IR 192"
    del dataset.PixelData
    model = {**dataset.file_meta.to_json_dict(), **dataset.to_json_dict()}
    response = project.client.request(
        "POST",
        "/studies",
        b"--x\r\nContent-Type: application/dicom+json\r\n\r\n"
        + json.dumps([model]).encode()
        + b"\r\n--x--",
        content_type=f'multipart/related; type="{DICOM_JSON}"; boundary=x',
    )
    assert response.status == 200
    assert heard(project) == [("StoreInstances", str(dataset.SOPInstanceUID))]


def test_several_topics_and_the_old_form(project: Project) -> None:
    client = project.client
    other = Project(client).set_up()
    both = [{"pubsubTopic": project.topic}, {"pubsubTopic": other.topic}]
    old = {"pubsubTopic": other.topic, "sendForBulkImport": True}
    configure(client, notificationConfigs=both, notificationConfig=old)
    client.store(make_dicom())
    assert len(heard(project)) == 1
    assert len(heard(other)) == 1
    configure(client, notificationConfigs=[], notificationConfig={})
    client.store(make_dicom())
    assert heard(project) == heard(other) == []
    configure(client, notificationConfig=old)
    client.store(make_dicom())
    assert len(heard(other)) == 1


def test_a_new_store(project: Project) -> None:
    client = project.client
    url = f"{client.url}/v1/{STORE.rpartition('/')[0]}?dicomStoreId={secrets.token_hex(8)}"
    body = {"notificationConfigs": [{"pubsubTopic": project.topic}]}
    made = client.request("POST", url, json.dumps(body)).json()
    assert made["notificationConfigs"] == body["notificationConfigs"]
    client.store_name = made["name"]
    client.store(make_dicom())
    assert len(heard(project)) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"notificationConfigs": {"pubsubTopic": "projects/p/topics/abc"}},
        {"notificationConfigs": ["projects/p/topics/abc"]},
        {"notificationConfigs": [{"pubsubTopic": "abc"}]},
        {"notificationConfigs": [{"pubsubTopic": 1}]},
        {"notificationConfig": {"pubsubTopic": "projects/p/subscriptions/abc"}},
        {"notificationConfig": "projects/p/topics/abc"},
        {"notificationConfig": {"sendForBulkImport": "yes"}},
    ],
)
def test_a_topic_has_to_be_a_topic(client: Client, body: dict[str, Any]) -> None:
    url = f"{client.url}/v1/{client.store_name}"
    mask = ",".join(body)
    assert client.request("PATCH", f"{url}?updateMask={mask}", json.dumps(body)).status == 400
    new = f"{url.rpartition('/')[0]}?dicomStoreId={secrets.token_hex(8)}"
    assert client.request("POST", new, json.dumps(body)).status == 400


def test_a_topic_that_there_is_not(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    client, content = project.client, make_dicom()
    project.expect("DELETE", project.topic)
    with caplog.at_level(logging.WARNING, "orthanc_gcp.emulator.healthcare.notifications"):
        assert client.store(content).status == 200
    assert [project.topic in record.getMessage() for record in caplog.records] == [True]
    assert str(read(content).SOPInstanceUID) not in caplog.text
    assert len(client.search("/instances")) == 1
    assert heard(project) == []


def test_the_message_and_the_instance_come_together(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    with Emulator(options) as emulator:
        client = with_scope(Client(emulator.url, tmp_path), tmp_path, CLOUD)
        project = Project(client).set_up()
        configure(client, notificationConfigs=[{"pubsubTopic": project.topic}])
        # Whoever cannot write the message has not stored the instance either.
        with emulator._storage.database.transaction() as sql:
            sql.execute("ALTER TABLE backlog RENAME TO elsewhere")
        assert client.store(make_dicom()).status == 500
        assert client.search("/instances") == []
        with emulator._storage.database.transaction() as sql:
            sql.execute("ALTER TABLE elsewhere RENAME TO backlog")
        content = make_dicom()
        assert client.store(content).status == 200
        client.pool.clear()
    with Emulator(options) as emulator:
        client = with_scope(Client(emulator.url, tmp_path), tmp_path, CLOUD)
        project = Project(client, project.name.partition("/")[2])
        assert heard(project) == [("StoreInstances", str(read(content).SOPInstanceUID))]
        client.pool.clear()
