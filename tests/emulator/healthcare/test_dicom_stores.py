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


def test_what_is_not_there(client: Client) -> None:
    assert call(client, "GET", f"{STORE}x")[0] == 404
    other = PARENT.replace("/test/", "/other/")
    assert call(client, "GET", other)[0] == 403
    assert call(client, "POST", f"{other}?dicomStoreId=a", {})[0] == 403


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
    assert client.request("PATCH", f"{url}x?updateMask=labels", b"{}").status == 403


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
