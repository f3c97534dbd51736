"""The methods of the API: which there are, and what is said of all others."""

from __future__ import annotations

import json

import pytest

from tests.emulator.client import Client


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/"),
        ("GET", "/x"),
        ("GET", "/v2/x"),
        ("PUT", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies"),
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomweb/studies"),
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s:unknown"),
        ("POST", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/series"),
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies/"),
        ("HEAD", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies"),
        ("OPTIONS", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies"),
    ],
)
def test_unknown_routes_and_verbs_are_pages(client: Client, verb: str, path: str) -> None:
    response = client.pool.request(verb, client.url + path)
    assert (response.status, response.headers["content-type"]) == (404, "text/html; charset=UTF-8")
    if verb != "HEAD":
        assert b"<title>Error 404 (Not Found)!!1</title>" in response.data


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_both_versions(client: Client, version: str) -> None:
    web = client.web.replace("/v1/", f"/{version}/")
    assert client.get(f"{web}/studies").status == 204


def test_a_store_that_does_not_exist(client: Client) -> None:
    for verb, path in (("GET", "/studies"), ("POST", "/studies"), ("DELETE", "/studies/1.2")):
        web = client.web.replace("/dicomStores/", "/dicomStores/x")
        response = client.request(verb, web + path)
        assert response.status == 403
        error = json.loads(response.data)["error"]
        assert error["status"] == "PERMISSION_DENIED"
        assert error["message"].endswith("(or it may not exist).")
