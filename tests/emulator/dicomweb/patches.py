"""Changes of metadata by PATCH of v1beta1, as clients send them."""

from __future__ import annotations

import json
from typing import Any

from tests.emulator.client import Client, path_of, read

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
