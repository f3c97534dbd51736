"""Locations: those of Google, and those of a project's datasets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import urllib3

from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client

PLACE = "projects/osimis-test/locations/europe-west2"


DATASET = f"{PLACE}/datasets/test"


def call(client: Client, verb: str, path: str, body: Any = None) -> urllib3.BaseHTTPResponse:
    encoded = None if body is None else json.dumps(body).encode()
    return client.request(verb, f"{client.url}/v1/{path}", encoded)


def test_projects_that_do_not_exist(client: Client) -> None:
    for path in ("projects/other/locations/europe-west2/datasets", "projects/other/locations/us"):
        assert call(client, "GET", path).status == 403


@pytest.mark.parametrize(
    "location", ["atlantis", "EU", "europe-west2x", "-", "a b", "global", "%E9"]
)
@pytest.mark.parametrize(
    ("verb", "rest"),
    [
        ("GET", ""),
        ("GET", "/datasets"),
        ("POST", "/datasets?datasetId=a"),
        ("GET", "/datasets/test"),
        ("DELETE", "/datasets/test/dicomStores/dicom"),
        ("GET", "/datasets/test/dicomStores/dicom/dicomWeb/studies"),
    ],
)
def test_what_is_no_location(client: Client, location: str, verb: str, rest: str) -> None:
    answer = call(client, verb, f"projects/osimis-test/locations/{location}{rest}", {})
    error = answer.json()["error"]
    assert (answer.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["message"].startswith("location ID invalid")


def test_a_region_of_google_cloud_that_is_not_in_the_list(client: Client) -> None:
    """Google may offer the API there by now."""
    name = "projects/osimis-test/locations/europe-west12"
    assert call(client, "GET", f"{name}/datasets").json() == {}
    assert call(client, "GET", f"{name}/datasets/nothing").status == 403


def test_a_location(client: Client) -> None:
    assert call(client, "GET", PLACE).json() == {"name": PLACE, "locationId": "europe-west2"}


def test_locations_by_pages(client: Client) -> None:
    url = f"{client.url}/v1/projects/osimis-test/locations"
    everything = [location["locationId"] for location in client.get(url).json()["locations"]]
    assert everything == sorted(everything)
    assert {"europe-west2", "us"} <= set(everything)
    first = client.get(url, pageSize="5").json()
    rest = client.get(url, pageToken=first["nextPageToken"]).json()
    found = [location["locationId"] for location in first["locations"] + rest["locations"]]
    assert found == everything


def test_the_locations_of_datasets_are_there_too(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    store = StoreName("other", "nowhere-1", "d", "s")
    with Emulator(Options(tmp_path, stores=(store,), write_credentials=tmp_path)) as emulator:
        client = Client(emulator.url, tmp_path)
        name = "projects/other/locations/nowhere-1"
        assert call(client, "GET", name).json() == {"name": name, "locationId": "nowhere-1"}
        assert call(client, "GET", "projects/osimis-test/locations/nowhere-1").status == 400
        client.pool.clear()
