"""The context of a request: what its path names, and what there is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_gcp.emulator.healthcare.request_context import resource_of
from orthanc_gcp.emulator.resource_names import DatasetName, LocationName, StoreName
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import STORE, Client, make_dicom, path_of, read
from tests.emulator.contents import LARGE

DATASET = STORE.partition("/dicomStores/")[0]


def test_the_resource_of_a_path() -> None:
    names = {"project": "p"}
    assert resource_of(names) == LocationName("p")
    names["location"] = "l"
    assert resource_of(names) == LocationName("p", "l")
    names["dataset"] = "d"
    assert resource_of(names) == DatasetName("p", "l", "d")
    names |= {"store": "s", "study": "1.2"}
    assert resource_of(names) == StoreName("p", "l", "d", "s")


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (f"{DATASET}x/dicomStores", f"{DATASET}x"),
        (f"{DATASET}x:getIamPolicy", f"{DATASET}x"),
        (f"{STORE}x/dicomWeb/studies", f"{STORE}x"),
        (f"{STORE}/dicomWeb/studies/1.2", f"{STORE}/dicomWeb/studies/1.2"),
        (f"{STORE}/dicomWeb/studies/1/series/2", f"{STORE}/dicomWeb/studies/1/series/2"),
    ],
)
def test_what_there_is_not_may_not_be_seen(
    emulator: Emulator, own_client: Client, path: str, resource: str
) -> None:
    url = f"{own_client.url}/v1/{path}"
    answer = own_client.get(url)
    assert (answer.status, answer.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert resource in answer.json()["error"]["message"]
    emulator.fault_settings.change(missingResource=404)
    answer = own_client.get(url)
    assert (answer.status, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert resource in answer.json()["error"]["message"]


def test_an_instance_whose_file_is_gone(own_client: Client, tmp_path: Path) -> None:
    content = make_dicom(bytes(LARGE))
    own_client.store(content)
    (file,) = (tmp_path / "data" / "files").iterdir()
    file.unlink()
    for resource in ("", "/frames/1", "/bulkdata/7FE00010"):
        assert own_client.get(path_of(read(content)) + resource).status == 403


def test_addresses_are_those_that_the_client_knows(client: Client) -> None:
    content = make_dicom()
    client.store(content)
    path = path_of(read(content))
    for version in ("v1", "v1beta1"):
        web = client.web.replace("/v1/", f"/{version}/")
        (metadata,) = client.get(f"{web}{path}/metadata").json()
        assert metadata["7FE00010"]["BulkDataURI"] == f"{web}{path}/bulkdata/7FE00010"
        forwarded = client.request("GET", f"{web}{path}/metadata", host="healthcare.example")
        address = forwarded.json()[0]["7FE00010"]["BulkDataURI"]
        assert address.startswith(f"http://healthcare.example/{version}/{client.store_name}/")
