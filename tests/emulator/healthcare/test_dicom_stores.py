"""dicomStores: get, list, create, patch, delete."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import STORE, Client, make_dicom
from tests.emulator.contents import stored_contents

PARENT = STORE.rpartition("/")[0]


def call(client: Client, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    encoded = None if body is None else json.dumps(body).encode()
    response = client.request(verb, f"{client.url}/v1/{path}", encoded)
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    return response.status, json.loads(response.data)


@pytest.fixture
def name() -> str:
    return secrets.token_hex(8)


def create(client: Client, name: str, body: Any = None) -> tuple[int, Any]:
    return call(client, "POST", f"{PARENT}?dicomStoreId={name}", body or {})


def test_a_store_with_nothing_configured_is_a_name(client: Client) -> None:
    assert call(client, "GET", STORE) == (200, {"name": STORE})


def test_create(client: Client, name: str) -> None:
    body = {"labels": {"k": "v"}, "name": "ignored"}
    expected = {"labels": {"k": "v"}, "name": f"{PARENT}/{name}"}
    assert create(client, name, body) == (200, expected)
    assert call(client, "GET", f"{PARENT}/{name}") == (200, expected)
    web = f"{client.url}/v1/{PARENT}/{name}/dicomWeb"
    assert client.get(f"{web}/studies").status == 204
    status, error = create(client, name)
    assert (status, error["error"]["status"]) == (409, "ALREADY_EXISTS")


@pytest.mark.parametrize("name", ["", "a/b", "a%20b", "x" * 257])
def test_names_that_cannot_be(client: Client, name: str) -> None:
    assert create(client, name)[0] == 400


@pytest.mark.parametrize("body", [b"x", b"[]", b"\xff"])
def test_bodies_that_cannot_be(client: Client, body: bytes) -> None:
    response = client.request("POST", f"{client.url}/v1/{PARENT}?dicomStoreId=a", body)
    assert response.status == 400


def test_a_body_beyond_the_limit(client: Client) -> None:
    body = b" " * (10 * 1024 * 1024 + 1)
    response = client.request("POST", f"{client.url}/v1/{PARENT}?dicomStoreId=a", body)
    assert response.status == 400


def test_list_by_pages(own_client: Client) -> None:
    client = own_client
    for name in ("a", "b", "c"):
        create(client, name)
    found, token = [], ""
    while True:
        _, page = call(client, "GET", f"{PARENT}?pageSize=3&pageToken={token}")
        found += [store["name"].rpartition("/")[2] for store in page["dicomStores"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert found == ["a", "b", "c", "dicom"]
    assert call(client, "GET", f"{PARENT}?pageSize=-1")[0] == 400


OTHER = PARENT.replace("/test/", "/other/")
MISSING = ("GET", ""), ("DELETE", ""), ("PATCH", "?updateMask=labels"), ("GET", ":getIamPolicy")
MISSING += ("POST", ":setIamPolicy"), ("POST", ":deidentify"), ("GET", ":getDICOMStoreMetrics")
MISSING += (("POST", ":import"), ("POST", ":export"), ("POST", ":setBlobStorageSettings"))


@pytest.mark.parametrize(("verb", "rest"), MISSING)
def test_a_store_that_is_not_there(client: Client, verb: str, rest: str) -> None:
    """404 in a dataset that is there; else it may not be seen, as the dataset itself."""
    status, body = call(client, verb, f"{STORE}x{rest}", {})
    assert (status, body["error"]["status"]) == (404, "NOT_FOUND")
    assert body["error"]["message"] == f"resource not found: {STORE}x"
    status, body = call(client, verb, f"{OTHER}/dicom{rest}", {})
    assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("missing", [403, 404])
def test_the_setting_is_about_dicomweb(
    own_client: Client, emulator: Emulator, missing: int
) -> None:
    emulator.fault_settings.change(missingResource=missing)
    web = f"{own_client.url}/v1/{STORE}x/dicomWeb"
    for verb, path in (
        ("GET", "/studies"),
        ("DELETE", "/studies/1"),
        ("GET", "/studies/1/metadata"),
    ):
        assert own_client.request(verb, web + path).status == missing
    assert call(own_client, "GET", f"{STORE}x")[0] == 404
    assert call(own_client, "GET", f"{OTHER}/dicom")[0] == missing


def test_a_dataset_that_is_not_there(client: Client) -> None:
    for verb, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/operations"),
        ("GET", "/dicomStores"),
    ):
        assert call(client, verb, OTHER.removesuffix("/dicomStores") + path)[0] == 403
    assert call(client, "POST", f"{OTHER}?dicomStoreId=a", {})[0] == 403


def test_a_dataset_that_was_just_deleted(client: Client, name: str) -> None:
    place = PARENT.rpartition("/datasets/")[0]
    dataset = f"{place}/datasets/{name}"
    assert call(client, "GET", dataset)[0] == 403
    assert call(client, "POST", f"{place}/datasets?datasetId={name}", {})[0] == 200
    assert call(client, "DELETE", dataset) == (200, {})
    for verb, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/dicomStores/a"),
        ("GET", "/operations"),
    ):
        assert call(client, verb, dataset + path)[0] == 404
    assert client.get(f"{client.url}/v1/{dataset}/dicomStores/a/dicomWeb/studies").status == 403


@pytest.mark.parametrize("path", ["/v1beta1//dicomStores", f"/v1/{PARENT.replace('/test/', '//')}"])
def test_an_empty_name_of_a_dataset(client: Client, path: str) -> None:
    answer = client.request("GET", client.url + path)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=UTF-8")
    assert b"Error 404 (Not Found)!!1" in answer.data


def test_a_store_can_be_changed(client: Client) -> None:
    url = f"{client.url}/v1/{client.store_name}"
    topic = {"pubsubTopic": f"projects/osimis-test/topics/{secrets.token_hex(4)}"}
    body = json.dumps({"labels": {"a": "b"}, "notificationConfigs": [topic]}).encode()
    changed = client.request("PATCH", f"{url}?updateMask=labels,notificationConfigs", body)
    assert changed.json()["labels"] == {"a": "b"}
    assert client.get(url).json() == changed.json()
    changed = client.request("PATCH", f"{url}?updateMask=labels", b"{}")
    assert changed.json() == {"name": client.store_name, "notificationConfigs": [topic]}
    for mask in ("", "name", "labels,nothing"):
        assert client.request("PATCH", f"{url}?updateMask={mask}", b"{}").status == 400
    assert client.request("PATCH", f"{url}x?updateMask=labels", b"{}").status == 404


def test_an_instance_that_arrives_while_its_store_is_deleted(
    tmp_path: Path, identities: Path
) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    content = make_dicom(bytes(100_000))
    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path).of_new_store()

        def body() -> Iterator[bytes]:
            yield content[:50_000]
            url = f"{client.url}/v1/{client.store_name}"
            assert client.request("DELETE", url).status == 200
            yield content[50_000:]

        assert client.request("POST", "/studies", body(), content_type="application/dicom").status
        assert client.get("/studies").status == 403
        client.pool.clear()
    with Emulator(options):
        assert stored_contents(tmp_path) == []


def test_text_that_is_none(client: Client, name: str) -> None:
    """Half of a surrogate pair, which nothing could be answered with any more."""
    body = rb'{"labels": {"a": "\ud800"}}'
    answer = client.request("POST", f"{client.url}/v1/{PARENT}?dicomStoreId={name}", body)
    assert (answer.status, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    body = rb'{"labels": {"a": "\ud83d\ude00 \u00e9 \\ud800"}}'
    answer = client.request("POST", f"{client.url}/v1/{PARENT}?dicomStoreId={name}", body)
    assert (answer.status, answer.json()["labels"]) == (200, {"a": "😀 é \\ud800"})
