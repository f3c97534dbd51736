"""Import and export: a folder stands for Cloud Storage."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import STORE, Client, make_dicom, path_of, read, sample
from tests.emulator.healthcare.buckets import Place, counter, exported, object_of
from tests.emulator.healthcare.test_notifications import CLOUD, configure, heard
from tests.emulator.healthcare.test_operations import cancel, ended, operation, switch
from tests.emulator.processes import running
from tests.emulator.pubsub.test_methods import Project, with_scope
from tests.emulator.test_replacements import before_the_next_opening, replacing, two_versions


@pytest.mark.parametrize(
    ("config", "is_told"),
    [
        (lambda topic: {"notificationConfigs": [{"pubsubTopic": topic}]}, True),
        (
            lambda topic: {"notificationConfig": {"pubsubTopic": topic, "sendForBulkImport": True}},
            True,
        ),
        (lambda topic: {"notificationConfig": {"pubsubTopic": topic}}, False),
    ],
)
def test_subscribers_hear_of_imports(
    place: Place, tmp_path: Path, config: Callable[[str], dict[str, Any]], is_told: bool
) -> None:
    project = Project(with_scope(place.client, tmp_path / "data", CLOUD)).set_up()
    known, new = make_dicom(), place.put("1-new", make_dicom())
    place.put("2-known", known)
    place.client.store(known)
    configure(place.client, **config(project.topic))
    assert counter(place.load("gs://scans/*")) == {"success": "2"}
    uid = str(read(new).SOPInstanceUID)
    assert heard(project) == ([("ImportDicomData", uid)] if is_told else [])


def test_successes_and_failures_are_counted(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    stored = make_dicom()
    place.client.store(stored)
    place.put("1-identical", stored)
    place.put("2-different", stored[:-1] + b"\7")
    place.put("3-empty", b"")
    place.put("4-Doe-John", b"no DICOM" * 100)
    place.put("5-new", make_dicom())
    done = place.load("gs://scans/*")
    assert counter(done) == {"success": "2", "failure": "3"}
    assert "error" not in done
    told = [record.getMessage() for record in caplog.records]
    name = done["name"]
    assert told[0].startswith(f"{name}: file 2: An instance already exists in this DICOM Store")
    assert told[1] == f"{name}: file 3: empty DICOM instance found"
    assert told[2].startswith(f"{name}: file 4: ")
    assert "Doe" not in caplog.text
    assert not any((place.bucket.parents[1] / "data" / "staging").iterdir())


def test_an_import_chooses_a_storage_class(place: Place) -> None:
    content = place.put("a", make_dicom())
    place.load("gs://scans/a", blobStorageSettings={"blobStorageClass": "ARCHIVE"})
    info = place.client.get(f"{path_of(read(content))}:getStorageInfo").json()
    assert info["blobStorageInfo"]["storageClass"] == "ARCHIVE"


@pytest.mark.parametrize("name", ["nothing", "no/**", "*", "a/*.dcm", "**.dcm", "folder"])
def test_a_pattern_without_objects_is_refused_at_once(place: Place, name: str) -> None:
    place.put("folder/note.txt", b"")
    status, answer = place.begin("import", {"gcsSource": {"uri": f"gs://scans/{name}"}})
    expected = {
        "code": 400,
        "message": f"the import pattern 'gs://scans/{name}' resolves to zero GCS objects",
        "status": "INVALID_ARGUMENT",
    }
    assert (status, answer) == (400, {"error": expected})
    listed = place.client.get(
        f"{place.client.url}/v1/{STORE.partition('/dicomStores')[0]}/operations"
    )
    assert listed.json() == {}


def test_an_export_has_what_has_replaced_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = two_versions()
    place.client.store(old)
    before_the_next_opening(monkeypatch, replacing(new))
    assert counter(place.save("gs://scans/out")) == {"success": "1"}
    assert list(exported(place, "out").values()) == [new]


def test_a_bucket_that_there_is_not(place: Place) -> None:
    status, answer = place.begin("import", {"gcsSource": {"uri": "gs://other/**"}})
    assert (status, answer["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_objects_that_are_gone_when_the_import_begins(place: Place) -> None:
    place.put("a", make_dicom())
    place.emulator.fault_settings.change(operationDelay=0.3)
    _, answer = place.begin("import", {"gcsSource": {"uri": "gs://scans/*"}})
    (place.bucket / "a").unlink()
    done = ended(place.client, answer["name"])
    assert done["error"]["code"] == 3
    assert done["error"]["message"].endswith("resolves to zero GCS objects")


def agent(place: Place) -> str:
    number = place.emulator.identities.pools.project_number
    return f"service-{number}@gcp-sa-healthcare.iam.gserviceaccount.com"


@pytest.mark.parametrize("is_stranger", [True, False])
def test_an_agent_that_may_not_list(place: Place, is_stranger: bool) -> None:
    place.put("a", make_dicom())
    permission = "storage.objects.list"
    place.emulator.fault_settings.change(
        **({"strangers": [agent(place)]} if is_stranger else {"deniedPermissions": [permission]})
    )
    status, answer = place.begin("import", {"gcsSource": {"uri": "gs://scans/**"}})
    error = answer["error"]
    assert (status, error["status"]) == (403, "PERMISSION_DENIED")
    assert error["message"] == (
        f"{agent(place)} does not have {permission} access to the Google Cloud Storage bucket. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )
    assert place.ids() == set()


def test_an_agent_that_may_not_read(place: Place) -> None:
    place.put("a", make_dicom())
    place.emulator.fault_settings.change(deniedPermissions=["storage.objects.get"])
    assert counter(place.load("gs://scans/**")) == {"failure": "1"}
    filtered = {"filterConfig": {"resourcePathsGcsUri": "gs://scans/a"}}
    assert place.save("gs://scans/out", **filtered)["error"]["code"] == 7


def test_an_agent_that_may_not_write(place: Place) -> None:
    place.client.store(make_dicom())
    place.emulator.fault_settings.change(deniedPermissions=["storage.objects.create"])
    error = place.save("gs://scans/out")["error"]
    assert error["code"] == 7
    assert "storage.objects.create" in error["message"]
    assert exported(place) == {}


@pytest.mark.parametrize(("share", "logged"), [(0, 4), (0.5, 2), (0.75, 1), (1, 0)])
def test_a_log_that_lacks_some_failures(
    place: Place, caplog: pytest.LogCaptureFixture, share: float, logged: int
) -> None:
    for number in range(4):
        place.put(f"{number}", b"")
    place.emulator.fault_settings.change(unloggedErrors=share)
    assert counter(place.load("gs://scans/*")) == {"failure": "4"}
    assert len([record for record in caplog.records if ": file " in record.message]) == logged


def test_a_throughput(place: Place) -> None:
    for number in range(4):
        place.put(f"{number}", make_dicom())
    place.emulator.fault_settings.change(operationThroughput=10)
    started = time.monotonic()
    assert counter(place.load("gs://scans/*")) == {"success": "4"}
    assert time.monotonic() - started >= 0.3


def test_a_limit_of_operations_at_once(place: Place) -> None:
    content = place.put("a", make_dicom())
    place.client.store(content)
    place.emulator.fault_settings.change(maxOperations=1, operationDelay=600)
    body = {"gcsSource": {"uri": "gs://scans/a"}}
    _, first = place.begin("import", body)
    export = {"gcsDestination": {"uriPrefix": "gs://scans/out"}}
    deletion = place.client.request("DELETE", path_of(read(content)).partition("/series")[0])
    for status, refused in (
        place.begin("import", body),
        place.begin("export", export),
        (deletion.status, deletion.json()),
    ):
        error = refused["error"]
        assert (status, error["status"]) == (429, "RESOURCE_EXHAUSTED")
        metadata = error["details"][0]["metadata"]
        assert metadata["quota_metric"] == "healthcare.googleapis.com/dicom_store_lro_ops"
        assert metadata["quota_limit_value"] == "1"
    cancel(place.client, first["name"])
    ended(place.client, first["name"])
    assert place.begin("import", body)[0] == 200


def test_bodies_that_cannot_be(place: Place) -> None:
    for method, field in (("import", "gcsSource"), ("export", "gcsDestination")):
        for body in ({}, {field: []}, {field: {}}):
            assert place.begin(method, body)[0] == 400
    wanted = {
        "gcsSource": {"uri": "gs://scans/a"},
        "blobStorageSettings": {"blobStorageClass": "X"},
    }
    assert place.begin("import", wanted)[0] == 400
    assert place.begin("export", {"bigqueryDestination": {"tableUri": "bq://a.b.c"}})[0] == 501


@pytest.mark.parametrize("prefix", ["", "/", "/out", "/out/deep/"])
def test_an_export_is_what_was_stored(place: Place, prefix: str) -> None:
    files = [make_dicom() for _ in range(3)]
    place.client.store(*files)
    done = place.save(f"gs://scans{prefix}")
    assert counter(done) == {"success": "3"}
    assert done["response"]["@type"].endswith(".v1.dicom.ExportDicomDataResponse")
    assert exported(place, prefix.strip("/")) == {object_of(content): content for content in files}
    assert counter(place.save(f"gs://scans{prefix}")) == {"success": "3"}


def test_an_export_into_a_bucket_that_does_not_exist(place: Place) -> None:
    place.client.store(make_dicom())
    assert place.save("gs://other/out")["error"]["code"] == 7
    assert [path.name for path in place.bucket.parent.iterdir()] == ["scans"]


def test_an_export_in_a_transfer_syntax(place: Place) -> None:
    compressed = sample("JPEG2000.dcm")
    place.client.store(compressed)
    explicit = "1.2.840.10008.1.2.1"
    done = place.save("gs://scans/out", f"application/dicom; transfer-syntax={explicit}")
    assert counter(done) == {"success": "1"}
    (content,) = exported(place, "out").values()
    written = pydicom.dcmread(io.BytesIO(content))
    assert written.file_meta.TransferSyntaxUID == explicit
    assert (written.pixel_array == pydicom.dcmread(io.BytesIO(compressed)).pixel_array).all()


def test_what_cannot_be_had_in_a_transfer_syntax(place: Place) -> None:
    place.client.store(make_dicom())
    jpeg = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50"
    assert counter(place.save("gs://scans/out", jpeg)) == {"failure": "1"}
    assert exported(place) == {}


@pytest.mark.parametrize(
    "mime_type", ["image/png", "application/dicom; transfer-syntax=1.2", "application/pdf"]
)
def test_types_that_cannot_be_had(place: Place, mime_type: str) -> None:
    destination = {"uriPrefix": "gs://scans/out", "mimeType": mime_type}
    assert place.begin("export", {"gcsDestination": destination})[0] == 400


def test_an_import_can_be_cancelled(place: Place) -> None:
    place.put("a", make_dicom())
    place.emulator.fault_settings.change(operationDelay=600)
    _, answer = place.begin("import", {"gcsSource": {"uri": "gs://scans/**"}})
    assert "done" not in operation(place.client, answer["name"])
    cancel(place.client, answer["name"])
    assert ended(place.client, answer["name"])["error"]["code"] == 1
    assert place.ids() == set()


def test_a_cancelled_import_stops_in_the_middle(place: Place) -> None:
    place.put("a", make_dicom())
    with (place.bucket / "b").open("wb") as file:
        file.truncate(20 * 10**9)  # without a block on the disk: it takes long, and no room
    _, answer = place.begin("import", {"gcsSource": {"uri": "gs://scans/*"}})
    while "counter" not in operation(place.client, answer["name"])["metadata"]:
        pass
    cancel(place.client, answer["name"])
    done = ended(place.client, answer["name"])
    assert (done["error"]["code"], counter(done)) == (1, {"success": "1"})
    assert len(place.ids()) == 1
    assert not any((place.bucket.parents[1] / "data" / "staging").iterdir())


def test_a_file_that_is_too_large(place: Place) -> None:
    with (place.bucket / "a").open("wb") as file:
        file.truncate(100 * 10**9 + 1)
    assert counter(place.load("gs://scans/a")) == {"failure": "1"}


def test_an_import_into_a_store_that_was_deleted(tmp_path: Path, identities: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a").write_bytes(make_dicom())
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path, buckets=tmp_path)
    with Emulator(options) as emulator:
        emulator.fault_settings.change(operationDelay=600)
        client = Client(emulator.url, tmp_path)
        place = Place(emulator, client, tmp_path / "scans")
        _, answer = place.begin("import", {"gcsSource": {"uri": "gs://scans/a"}})
        assert client.request("DELETE", f"{client.url}/v1/{STORE}").status == 200
        client.pool.clear()
    with Emulator(options) as emulator:
        # There is a store of this name again, but it is another one.
        client = Client(emulator.url, tmp_path)
        assert ended(client, answer["name"])["error"]["code"] == 5
        assert client.get("/studies").status == 204
        client.pool.clear()


def test_an_import_into_a_study_that_is_being_deleted(place: Place) -> None:
    content = place.put("a", make_dicom())
    place.client.store(content)
    place.emulator.fault_settings.change(operationDelay=600)
    deletion = place.client.request("DELETE", path_of(read(content)).partition("/series")[0])
    place.emulator.fault_settings.change(operationDelay=0)
    assert counter(place.load("gs://scans/a")) == {"failure": "1"}
    cancel(place.client, deletion.json()["name"])
    ended(place.client, deletion.json()["name"])
    assert counter(place.load("gs://scans/a")) == {"success": "1"}


@pytest.mark.parametrize("method", ["import", "export"])
def test_a_transfer_goes_on_after_kill_9(tmp_path: Path, method: str) -> None:
    bucket = tmp_path / "buckets" / "scans"
    bucket.mkdir(parents=True)
    content = make_dicom()
    options = ("--buckets", str(bucket.parent))
    body: dict[str, Any] = {"gcsSource": {"uri": "gs://scans/a"}}
    if method == "export":
        body = {"gcsDestination": {"uriPrefix": "gs://scans"}}
    with running(tmp_path / "data", "--admin", *options) as process:
        client = Client(process.url, tmp_path / "data")
        if method == "import":
            (bucket / "a").write_bytes(content)
        else:
            client.store(content)
        switch(process.url, operationDelay=600)
        url = f"{client.url}/v1/{STORE}:{method}"
        name = client.request("POST", url, json.dumps(body).encode()).json()["name"]
        client.pool.clear()
        process.kill()
    with running(tmp_path / "data", *options) as process:
        client = Client(process.url, tmp_path / "data")
        assert counter(ended(client, name)) == {"success": "1"}
        assert client.get(path_of(read(content)), "application/dicom").status == 200
        client.pool.clear()
    assert content in [path.read_bytes() for path in bucket.rglob("*") if path.is_file()]


def test_many_transfers_at_once(place: Place) -> None:
    """More than are carried out at a time: each has its turn."""
    files = [place.put(f"{number}", make_dicom()) for number in range(20)]
    names: list[str] = []

    def begin(number: int) -> None:
        _, answer = place.begin("import", {"gcsSource": {"uri": f"gs://scans/{number}"}})
        names.append(answer["name"])

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [counter(ended(place.client, name)) for name in names] == [{"success": "1"}] * 20
    assert place.ids() == {read(content).SOPInstanceUID for content in files}
