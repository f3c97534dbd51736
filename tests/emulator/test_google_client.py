"""Google's own client library for Python, against the whole control plane."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.oauth2.service_account
import googleapiclient.discovery
import pytest
from googleapiclient.errors import HttpError

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import STORE, make_dicom, read

PLACE = "projects/osimis-test/locations/europe-west2"
DATASET = f"{PLACE}/datasets/test"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Google:
    """The library's resources, and the folder that stands for Cloud Storage."""

    def __init__(self, emulator: Emulator, folder: Path, buckets: Path) -> None:
        self.emulator = emulator
        self.buckets = buckets
        credentials = google.oauth2.service_account.Credentials.from_service_account_file(
            str(folder / "service-account.json"), scopes=[SCOPE]
        )
        with warnings.catch_warnings():
            # httplib2 names functions of pyparsing as they were called once.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="httplib2")
            self.service = googleapiclient.discovery.build(
                "healthcare",
                "v1",
                static_discovery=True,
                client_options={"api_endpoint": emulator.url},
                credentials=credentials,
            )
        self.locations = self.service.projects().locations()
        self.datasets = self.locations.datasets()
        self.operations = self.datasets.operations()
        self.stores = self.datasets.dicomStores()
        self.studies = self.stores.studies()
        self.web = self.stores.dicomWeb().studies()

    def ended(self, started: dict[str, Any]) -> dict[str, Any]:
        """Poll an operation until it has ended."""
        for _ in range(600):
            operation: dict[str, Any] = self.operations.get(name=started["name"]).execute()
            if operation.get("done"):
                return operation
            time.sleep(0.05)
        raise AssertionError(operation)

    def send(self, content: bytes, store: str = STORE) -> Any:
        """Store a file; the library itself has no way to send anything but JSON."""
        request = self.stores.storeInstances(parent=store, dicomWebPath="studies")
        request.body, request.body_size = content, len(content)
        request.headers["content-type"] = "application/dicom"
        request.headers["accept"] = "application/dicom+json"
        return request.execute()


@pytest.fixture
def google_client(tmp_path: Path, identities: Path) -> Iterator[Google]:
    data, buckets = tmp_path / "data", tmp_path / "buckets"
    data.mkdir()
    (buckets / "scans").mkdir(parents=True)
    shutil.copy(identities, data)
    options = Options(data, write_credentials=tmp_path / "credentials", buckets=buckets)
    with Emulator(options) as emulator:
        client = Google(emulator, tmp_path / "credentials", buckets)
        yield client
        client.service.close()


def refused(request: Any) -> tuple[int, str]:
    """Return the status of a request that is refused, and Google's name for it."""
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value.resp.status, json.loads(caught.value.content)["error"]["status"]


def everything(collection: Any, field: str, **query: Any) -> list[str]:
    """Return the last parts of the names on all pages of a list."""
    found, request = [], collection.list(**query)
    while request is not None:
        answer = request.execute()
        found += [resource["name"].rpartition("/")[2] for resource in answer.get(field, [])]
        request = collection.list_next(request, answer)
    return found


def test_locations(google_client: Google) -> None:
    locations = google_client.locations
    found = everything(locations, "locations", name="projects/osimis-test", pageSize=3)
    assert "europe-west2" in found
    assert found == sorted(set(found))
    expected = {"name": PLACE, "locationId": "europe-west2"}
    assert locations.get(name=PLACE).execute() == expected
    assert refused(locations.get(name=f"{PLACE}9")) == (400, "INVALID_ARGUMENT")
    assert refused(locations.list(name="projects/other")) == (403, "PERMISSION_DENIED")


def test_datasets(google_client: Google) -> None:
    datasets = google_client.datasets
    for name in ("a", "b", "c"):
        body = {"timeZone": "Europe/Brussels"}
        started = datasets.create(parent=PLACE, datasetId=name, body=body).execute()
        assert started["name"].startswith(f"{PLACE}/datasets/{name}/operations/")
        assert google_client.ended(started)["response"] == {
            "@type": "type.googleapis.com/google.cloud.healthcare.v1.dataset.Dataset",
            "name": f"{PLACE}/datasets/{name}",
            "timeZone": "Europe/Brussels",
        }
    assert everything(datasets, "datasets", parent=PLACE, pageSize=3) == ["a", "b", "c", "test"]
    name = f"{PLACE}/datasets/a"
    assert datasets.get(name=name).execute() == {"name": name, "timeZone": "Europe/Brussels"}
    changed = datasets.patch(name=name, updateMask="timeZone", body={"timeZone": "Asia/Tokyo"})
    assert changed.execute() == {"name": name, "timeZone": "Asia/Tokyo"}
    assert datasets.delete(name=name).execute() == {}
    assert refused(datasets.get(name=name)) == (404, "NOT_FOUND")
    again = datasets.create(parent=PLACE, datasetId="b", body={})
    assert refused(again) == (409, "ALREADY_EXISTS")


def test_stores(google_client: Google) -> None:
    stores = google_client.stores
    body = {"labels": {"ward": "north"}}
    created = stores.create(parent=DATASET, dicomStoreId="other", body=body).execute()
    assert created == {"name": f"{DATASET}/dicomStores/other", **body}
    assert everything(stores, "dicomStores", parent=DATASET, pageSize=1) == ["dicom", "other"]
    labelled = everything(stores, "dicomStores", parent=DATASET, filter="labels.ward=north")
    assert labelled == ["other"]
    name = created["name"]
    assert stores.get(name=name).execute() == created
    patched = stores.patch(name=name, updateMask="labels", body={"labels": {"a": "b"}})
    assert patched.execute() == {"name": name, "labels": {"a": "b"}}
    assert stores.delete(name=name).execute() == {}
    assert refused(stores.get(name=name)) == (404, "NOT_FOUND")


def test_images_metrics_and_storage_info(google_client: Google) -> None:
    content = make_dicom()
    stored = google_client.send(content)
    assert stored["00081199"]["Value"][0]["00081155"]["Value"] == [read(content).SOPInstanceUID]
    found = google_client.stores.searchForStudies(parent=STORE, dicomWebPath="studies").execute()
    study = read(content).StudyInstanceUID
    assert [entry["0020000D"]["Value"] for entry in found] == [[study]]
    metrics = google_client.stores.getDICOMStoreMetrics(name=STORE).execute()
    assert (metrics["studyCount"], metrics["instanceCount"]) == ("1", "1")
    path = f"{STORE}/dicomWeb/studies/{study}"
    assert google_client.web.getStudyMetrics(study=path).execute()["seriesCount"] == "1"
    series = f"{path}/series/{read(content).SeriesInstanceUID}"
    of_series = google_client.web.series().getSeriesMetrics(series=series).execute()
    assert of_series["blobStorageSizeBytes"] == str(len(content))
    settings = {"blobStorageSettings": {"blobStorageClass": "NEARLINE"}}
    started = google_client.web.setBlobStorageSettings(resource=path, body=settings).execute()
    assert google_client.ended(started)["metadata"]["counter"] == {"success": "1"}
    instance = f"{series}/instances/{read(content).SOPInstanceUID}"
    instances = google_client.web.series().instances()
    info = instances.getStorageInfo(resource=instance).execute()
    assert info["blobStorageInfo"]["storageClass"] == "NEARLINE"


def test_operations(google_client: Google) -> None:
    google_client.emulator.fault_settings.change(operationDelay=600)
    files = [make_dicom(), make_dicom()]
    names = []
    for content in files:
        google_client.send(content)
        study = read(content).StudyInstanceUID
        deletion = google_client.studies.delete(parent=STORE, dicomWebPath=f"studies/{study}")
        names.append(deletion.execute()["name"])
    operations = google_client.operations
    listed = everything(operations, "operations", name=DATASET, pageSize=1)
    assert listed == sorted(name.rpartition("/")[2] for name in names)
    assert "done" not in operations.get(name=names[0]).execute()
    assert operations.cancel(name=names[0], body={}).execute() == {}
    cancelled = google_client.ended({"name": names[0]})
    assert (cancelled["error"]["code"], cancelled["metadata"]["cancelRequested"]) == (1, True)
    done = everything(operations, "operations", name=DATASET, filter="done=true")
    assert done == [names[0].rpartition("/")[2]]
    assert refused(operations.get(name=f"{names[0]}0")) == (404, "NOT_FOUND")


def test_import_and_export(google_client: Google) -> None:
    content = make_dicom()
    (google_client.buckets / "scans" / "in").mkdir()
    (google_client.buckets / "scans" / "in" / "a.dcm").write_bytes(content)
    (google_client.buckets / "scans" / "in" / "b.dcm").write_bytes(b"")
    body: dict[str, Any] = {"gcsSource": {"uri": "gs://scans/in/*.dcm"}}
    imported = google_client.ended(google_client.stores.import_(name=STORE, body=body).execute())
    assert imported["metadata"]["counter"] == {"success": "1", "failure": "1"}
    body = {"gcsDestination": {"uriPrefix": "gs://scans/out"}}
    exported = google_client.ended(google_client.stores.export(name=STORE, body=body).execute())
    assert exported["metadata"]["counter"] == {"success": "1"}
    (written,) = (google_client.buckets / "scans" / "out").rglob("*.dcm")
    assert written.read_bytes() == content


def test_policies(google_client: Google) -> None:
    stores = google_client.stores
    assert stores.getIamPolicy(resource=STORE).execute() == {"etag": "ACAB"}
    binding = {
        "role": "roles/healthcare.dicomStoreAdmin",
        "members": ["serviceAccount:orthanc@osimis-test.iam.gserviceaccount.com"],
    }
    body = {"policy": {"bindings": [binding]}}
    assert stores.setIamPolicy(resource=STORE, body=body).execute()["bindings"] == [binding]
    asked = {"permissions": [f"healthcare.dicomStores.{name}" for name in ("get", "dicomWebRead")]}
    granted = stores.testIamPermissions(resource=STORE, body=asked).execute()
    assert granted == {"permissions": ["healthcare.dicomStores.get"]}
    search = stores.searchForStudies(parent=STORE, dicomWebPath="studies")
    assert refused(search) == (403, "PERMISSION_DENIED")
