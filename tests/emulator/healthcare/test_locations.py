"""Locations: those of Google, and those of a project's datasets."""

from __future__ import annotations

import json
from typing import Any

import urllib3

from tests.emulator.client import Client

PLACE = "projects/osimis-test/locations/europe-west2"


DATASET = f"{PLACE}/datasets/test"


def call(client: Client, verb: str, path: str, body: Any = None) -> urllib3.BaseHTTPResponse:
    encoded = None if body is None else json.dumps(body).encode()
    return client.request(verb, f"{client.url}/v1/{path}", encoded)


def test_places_that_do_not_exist(client: Client) -> None:
    for path, status in (
        ("projects/osimis-test/locations/atlantis/datasets", 404),
        ("projects/other/locations/europe-west2/datasets", 403),
        ("projects/other/locations/europe-west2", 403),
    ):
        assert call(client, "GET", path).status == status
    path = "projects/osimis-test/locations/atlantis/datasets?datasetId=a"
    assert call(client, "POST", path, {}).status == 404
