"""dicomStores: get, list, create."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.emulator.client import STORE, Client

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
