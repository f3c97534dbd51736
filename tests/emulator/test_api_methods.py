"""The methods of the API: which there are, and what is said of all others."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.emulator.api_methods import find_method
from tests.emulator.client import STORE, Client, make_dicom, path_of, read


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
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/"),
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/"),
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies//"),
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb//studies"),
        ("GET", "/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies//series"),
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


def test_a_slash_at_the_end_of_a_path_of_dicomweb(client: Client) -> None:
    content = make_dicom()
    instance = path_of(read(content))
    study, series = instance.partition("/series")[0], instance.partition("/instances")[0]
    assert client.store(content, path="/studies/").status == 200
    assert client.store(content, path=f"{study}/").status == 409
    searches = ("/studies/", "/series/", "/instances/", f"{study}/series/", f"{series}/instances/")
    retrievals = (f"{study}/", f"{series}/", f"{study}/metadata/", f"{series}/metadata/")
    for path in (*searches, *retrievals, f"{instance}/metadata/", f"{instance}/bulkdata/7FE00010/"):
        assert client.get(path).status == 200, path
    assert client.get(f"{study}/instances/", includefield="all", limit="5").status == 200
    assert client.get(f"{instance}/", "application/dicom; transfer-syntax=*").data == content
    assert client.request("DELETE", f"{instance}/").json() == {}
    client.store(content)
    assert client.request("DELETE", f"{series}/").status == 200
    client.store(content)
    assert client.request("DELETE", f"{study}/").status == 200
    assert client.search("/studies/") == []


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("studies/a%2Fb", {"study": "a/b"}),
        ("studies/%2E%2E/series/%00", {"study": "..", "series": "\0"}),
        ("studies/1/series/2/instances/3/frames/1%2C2", {"frames": "1,2"}),
        ("studies/1/series/2/instances/3/bulkdata/a%2Fb/c", {"bulk": "a%2Fb/c"}),
        ("studies/%FF", {"study": "\ufffd"}),
    ],
)
def test_names_are_decoded_one_by_one(path: str, names: dict[str, str]) -> None:
    found = find_method("GET", f"/v1/{STORE}/dicomWeb/{path}")
    assert found is not None
    assert names.items() <= found.names.items()
    encoded = find_method("GET", f"/v1/{STORE.replace('/dicomStores/', '%2fdicomStores/')}")
    assert encoded is None
