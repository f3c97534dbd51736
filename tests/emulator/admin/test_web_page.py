"""The page at ``/``: what it gives away, and what it does in a real browser."""

from __future__ import annotations

import json

import pytest
import urllib3

from tests.emulator.client import Client

VIEWS = (
    "/emulator/overview",
    "/emulator/settings",
    "/emulator/request",
    "/emulator/stores",
    "/emulator/studies",
    "/emulator/series",
    "/emulator/instances",
    "/emulator/instance",
    "/emulator/rendered",
    "/emulator/state",
)
FILES = (
    "page.css",
    "page.js",
    "page.svg",
    "elements.js",
    "requests.js",
    "settings.js",
    "stores.js",
)


def get(client: Client, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    return client.pool.request("GET", client.url + path, headers=headers)


def test_without_admin_the_page_says_how_to_get_more_and_gives_nothing_away(client):
    page = get(client, "/")
    assert page.status == 200
    assert b"orthanc-gcp emulator --admin" in page.data
    for path in VIEWS:
        assert get(client, path).status == 404
        assert client.pool.request("PATCH", client.url + path, body=b"{}").status == 404


def test_no_script_of_others_and_no_frame_around_it(client, admin_client):
    for page in (get(client, "/"), get(admin_client, "/"), get(admin_client, "/emulator/overview")):
        policy = page.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert page.headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in page.data
        assert b"https://" not in page.data
        assert page.headers["cross-origin-resource-policy"] == "same-origin"
    for name in FILES:
        file = get(client, f"/emulator/{name}")
        assert file.status == 200
        assert b"innerHTML" not in file.data
    assert client.pool.request("POST", client.url + "/").status == 404


def test_the_metadata_server_keeps_the_root(admin_client):
    answer = get(admin_client, "/", **{"Metadata-Flavor": "Google"})
    assert answer.data == b"computeMetadata/\n"
    admin_client.pool.request(
        "PATCH", f"{admin_client.url}/emulator/state", json={"metadata": False}
    )
    assert get(admin_client, "/", **{"Metadata-Flavor": "Google"}).status == 404


def test_requests_are_told_without_their_query_and_no_more_than_some(admin_client):
    assert admin_client.get("/studies", PatientName="Doe^John").status == 204
    get(admin_client, "/" + "x" * 5000)
    get(admin_client, "/")
    text = get(admin_client, "/emulator/overview").data.decode()
    assert "Doe" not in text
    last, search, token = json.loads(text)["requests"]
    assert (last["method"], last["status"]) == ("GET", 404)
    assert len(last["path"]) < 500
    expected = f"/v1/{admin_client.store_name}/dicomWeb/studies"
    assert (search["method"], search["path"], search["status"]) == ("GET", expected, 204)
    assert (token["method"], token["path"], token["status"]) == ("POST", "/token", 200)
    assert 0 <= search["milliseconds"] < 60_000
    for _ in range(300):
        get(admin_client, "/token")
    kept = get(admin_client, "/emulator/overview").json()["requests"]
    assert [request["number"] for request in kept] == list(range(303, 103, -1))


def test_a_broken_connection_has_no_status(admin_client):
    state = f"{admin_client.url}/emulator/state"
    admin_client.pool.request("PATCH", state, json={"tokenEndpoint": "reset"})
    with pytest.raises(urllib3.exceptions.ProtocolError):
        admin_client.pool.request("POST", f"{admin_client.url}/token", body=b"")
    last = get(admin_client, "/emulator/overview").json()["requests"][0]
    assert (last["path"], last["status"]) == ("/token", 0)


@pytest.mark.parametrize("bandwidth", [None, 10_000])
def test_a_call_that_is_reset_has_no_status(admin_client, bandwidth):
    state = f"{admin_client.url}/emulator/state"
    changes = {"faults": [{"cut": "reset"}], "bandwidth": bandwidth}
    assert admin_client.pool.request("PATCH", state, json=changes).status == 200
    with pytest.raises(urllib3.exceptions.ProtocolError):
        admin_client.pool.request("GET", f"{admin_client.web}/studies", retries=False)
    last = get(admin_client, "/emulator/overview").json()["requests"][0]
    assert (last["method"], last["status"]) == ("GET", 0)


def test_requests_open_to_their_heads_without_secrets(admin_client):
    admin_client.get("/studies", PatientName="Doe^John")
    referer = f"{admin_client.url}/studies?PatientName=Doe^John"
    get(admin_client, "/nothing", Cookie="session=s3cret", Referer=referer, Accept="text/x")
    requests = get(admin_client, "/emulator/overview").json()["requests"]
    texts = []
    for request in requests:
        answer = get(admin_client, f"/emulator/request?number={request['number']}")
        texts.append(answer.data.decode())
    nothing, search = map(json.loads, texts[:2])
    assert ["accept", "text/x"] in nothing["request"]
    assert ["content-type", "text/html; charset=UTF-8"] in nothing["answer"]
    assert ["cookie", "… (14 bytes)"] in nothing["request"]
    assert ["referer", f"{admin_client.url}/studies?…"] in nothing["request"]
    assert ["authorization", "Bearer …"] in search["request"]
    for secret in ("Doe", "s3cret", admin_client.token[-20:]):
        assert not [text for text in texts if secret in text]


def test_a_request_that_is_no_longer_there(admin_client):
    assert get(admin_client, "/emulator/request?number=1000").status == 404
    for number in ("", "0", "-1", "x", "1" * 5000):
        assert get(admin_client, f"/emulator/request?number={number}").status == 400


def test_every_setting_is_explained(admin_client):
    explained = get(admin_client, "/emulator/settings").json()["settings"]
    values = get(admin_client, "/emulator/overview").json()["settings"]
    assert {one["name"]: one["at_first"] for one in explained} == values
    for one in explained:
        assert one["area"]
        assert one["sentence"]
        assert (one["control"] == "choice") == bool(one["choices"])
        if one["control"] == "choice":
            assert one["at_first"] in one["choices"]


def test_a_number_that_javascript_has_not_is_shown_whole(admin_client):
    seed = 2**63 - 1
    admin_client.pool.request("PATCH", f"{admin_client.url}/emulator/state", json={"seed": seed})
    assert get(admin_client, "/emulator/overview").json()["settings"]["seed"] == str(seed)
