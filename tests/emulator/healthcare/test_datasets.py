"""Datasets: what the library of Google does not show."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
import urllib3

from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import STORE, Client, make_dicom
from tests.emulator.contents import stored_contents
from tests.emulator.healthcare.test_operations import ended

PLACE = "projects/osimis-test/locations/europe-west2"
DATASET = f"{PLACE}/datasets/test"


def call(client: Client, verb: str, path: str, body: Any = None) -> urllib3.BaseHTTPResponse:
    encoded = None if body is None else json.dumps(body).encode()
    return client.request(verb, f"{client.url}/v1/{path}", encoded)


def create(client: Client, name: str, body: Any = None) -> urllib3.BaseHTTPResponse:
    return call(client, "POST", f"{PLACE}/datasets?datasetId={name}", body or {})


@pytest.fixture
def name(client: Client) -> str:
    """An empty dataset of the test's own."""
    dataset = secrets.token_hex(8)
    assert create(client, dataset).status == 200
    return f"{PLACE}/datasets/{dataset}"


def test_a_dataset_exists_without_a_store(client: Client, name: str) -> None:
    assert call(client, "GET", name).json() == {"name": name}
    assert call(client, "GET", f"{name}/dicomStores").json() == {}
    assert call(client, "GET", f"{name}/operations").json()["operations"]
    assert call(client, "POST", f"{name}/dicomStores?dicomStoreId=a", {}).status == 200


@pytest.mark.parametrize("dataset", ["", "a/b", "a%20b", "x" * 257])
def test_names_that_cannot_be(client: Client, dataset: str) -> None:
    answer = create(client, dataset)
    assert (answer.status, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../../etc/passwd", 7])
def test_time_zones_that_cannot_be(client: Client, name: str, zone: Any) -> None:
    assert create(client, "a", {"timeZone": zone}).status == 400
    assert call(client, "PATCH", f"{name}?updateMask=timeZone", {"timeZone": zone}).status == 400
    assert call(client, "GET", name).json() == {"name": name}


@pytest.mark.parametrize("mask", ["", "name", "timeZone,encryptionSpec"])
def test_what_cannot_be_changed(client: Client, name: str, mask: str) -> None:
    assert call(client, "PATCH", f"{name}?updateMask={mask}", {"timeZone": "UTC"}).status == 400


def test_a_key_is_kept(client: Client) -> None:
    body = {"encryptionSpec": {"kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k"}}
    name = secrets.token_hex(8)
    assert create(client, name, {**body, "name": "ignored", "satisfiesPzs": True}).status == 200
    path = f"{PLACE}/datasets/{name}"
    assert call(client, "GET", path).json() == {"name": path, **body}


def test_a_dataset_that_comes_while_it_is_made(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(operationDelay=600)
    first = create(own_client, "new").json()["name"]
    assert call(own_client, "GET", f"{PLACE}/datasets/new").status == 403
    call(own_client, "POST", f"{first}:cancel", {})
    emulator.fault_settings.change(operationDelay=0.2)
    name = ended(own_client, first)["name"]
    second = create(own_client, "new").json()["name"]
    assert second != name
    emulator.create_store(StoreName("osimis-test", "europe-west2", "new", "dicom"))
    assert ended(own_client, second)["error"]["code"] == 6


def test_a_dataset_whose_creation_fails_on_demand(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(operationFailure=8)
    operation = call(own_client, "GET", create(own_client, "new").json()["name"]).json()
    assert operation["error"]["code"] == 8
    assert call(own_client, "GET", f"{PLACE}/datasets/new").status == 403


def test_a_dataset_takes_its_stores_along(own_client: Client, tmp_path: Path) -> None:
    assert own_client.store(make_dicom()).status == 200
    binding = {"role": "roles/healthcare.dicomViewer", "members": ["allUsers"]}
    policy = {"policy": {"bindings": [binding]}}
    user = own_client.as_owner()
    assert call(user, "POST", f"{STORE}:setIamPolicy", policy).status == 200
    assert call(user, "DELETE", DATASET).json() == {}
    assert call(user, "GET", DATASET).status == 404
    assert own_client.get("/studies").status == 403
    assert stored_contents(tmp_path / "data") == []
    # What comes after it by the same names is empty, and nobody's.
    assert create(user, "test").status == 200
    assert call(user, "POST", f"{DATASET}/dicomStores?dicomStoreId=dicom", {}).status == 200
    assert own_client.get("/studies").status == 204
    assert call(user, "GET", f"{STORE}:getIamPolicy").json() == {"etag": "ACAB"}


@pytest.mark.parametrize("verb", ["GET", "PATCH", "DELETE"])
def test_a_dataset_that_does_not_exist(client: Client, verb: str) -> None:
    answer = call(client, verb, f"{DATASET}x?updateMask=timeZone")
    assert (answer.status, answer.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_routes_that_do_not_exist(client: Client) -> None:
    for verb, path in (
        ("POST", "projects/osimis-test/locations"),
        ("PUT", DATASET),
        ("GET", f"{PLACE}/datasets/"),
        ("GET", f"{DATASET}:deidentify"),
        ("POST", f"{STORE}:deidentifyAll"),
        ("GET", "projects/osimis-test"),
    ):
        answer = call(client, verb, path)
        assert answer.status == 404
        assert answer.headers["content-type"] == "text/html; charset=UTF-8"


@pytest.mark.parametrize(
    ("verb", "path", "permission"),
    [
        ("GET", "projects/osimis-test/locations", "locations.list"),
        ("GET", PLACE, "locations.get"),
        ("GET", f"{PLACE}/datasets", "datasets.list"),
        ("POST", f"{PLACE}/datasets?datasetId=a", "datasets.create"),
        ("GET", DATASET, "datasets.get"),
        ("PATCH", f"{DATASET}?updateMask=timeZone", "datasets.update"),
        ("DELETE", DATASET, "datasets.delete"),
        ("GET", f"{DATASET}/operations", "operations.list"),
        ("GET", f"{DATASET}/operations/1", "operations.get"),
        ("POST", f"{DATASET}/operations/1:cancel", "operations.cancel"),
        ("POST", f"{STORE}:import", "dicomStores.import"),
        ("POST", f"{STORE}:export", "dicomStores.export"),
        ("POST", f"{STORE}:setBlobStorageSettings", "dicomStores.dicomWebWrite"),
    ],
)
def test_what_a_call_takes(
    emulator: Emulator, own_client: Client, verb: str, path: str, permission: str
) -> None:
    emulator.fault_settings.change(deniedPermissions=[f"healthcare.{permission}"])
    answer = call(own_client, verb, path, {})
    assert answer.status == 403
    assert f"healthcare.{permission}" in answer.json()["error"]["message"]
    own_client.token = ""
    assert call(own_client, verb, path, {}).status == 401


def test_a_dataset_that_exists_or_is_being_created(own_client: Client, emulator: Emulator) -> None:
    """The POST says so, not the operation."""
    error = create(own_client, "test").json()["error"]
    assert (error["code"], error["status"]) == (409, "ALREADY_EXISTS")
    emulator.fault_settings.change(operationDelay=600)
    assert create(own_client, "slow").status == 200
    assert create(own_client, "slow").status == 409
    assert call(own_client, "GET", f"{PLACE}/datasets/slow").status == 403
