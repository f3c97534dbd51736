"""Headers and compression of JSON answers."""

from __future__ import annotations

import gzip
import json

import pytest

from orthanc_gcp.emulator.faults.broken_connections import TruncatedResponse
from orthanc_gcp.emulator.http.front_end import MAX_COMPRESSED, finish
from orthanc_gcp.emulator.http.responses import error, json_answer, page_not_found
from tests.emulator.client import Client, make_dicom
from tests.emulator.http.asgi import make_request

ADDED = {
    "content-type": "application/json; charset=UTF-8",
    "vary": "Origin, X-Origin, Referer",
    "x-xss-protection": "0",
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
}
IAM = "/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken"
SCAFFOLDING = "scaffolding on HTTPServer2"


@pytest.mark.parametrize(
    ("verb", "path", "server"),
    [
        ("GET", "/v1/projects/p/locations/europe-west2/datasets/d", "ESF"),
        ("GET", "/v1/projects/osimis-test/topics", "ESF"),
        ("POST", IAM, SCAFFOLDING),
        ("GET", "/v1/projects/-/serviceAccounts/a@b.c/allowedLocations", SCAFFOLDING),
        ("POST", "/token", SCAFFOLDING),
        ("POST", "/v1/token", SCAFFOLDING),
    ],
)
def test_the_headers_of_errors_and_others(
    client: Client, verb: str, path: str, server: str
) -> None:
    for sent in ({}, {"origin": "https://viewer.example.org"}):
        answer = client.request(verb, client.url + path, **sent)
        found = {name: answer.headers.getlist(name) for name in (*ADDED, "server")}
        assert found == {name: [value] for name, value in {**ADDED, "server": server}.items()}


def test_what_is_no_json_of_google(client: Client) -> None:
    for path in ("/nothing", "/computeMetadata/v1/", "/emulator/token"):
        assert "x-frame-options" not in client.request("GET", client.url + path).headers
    stored = client.store(make_dicom(), accept="application/dicom+json", accept_encoding="gzip")
    assert {"vary", "content-encoding"}.isdisjoint({name.lower() for name in stored.headers})


@pytest.mark.parametrize(
    ("encoding", "is_taken"),
    [
        ("gzip", True),
        ("GZIP ; Q=0.5", True),
        ("deflate, gzip;q=1.0, *;q=0", True),
        ("gzip;q=0, deflate", False),
        ("gzip;q=0.000", False),
        ("identity", False),
        ("*", False),
        ("", False),
    ],
)
def test_gzip_where_it_is_asked_for(client: Client, encoding: str, is_taken: bool) -> None:
    url = f"{client.url}/v1/{client.store_name}x"
    headers = {"Authorization": f"Bearer {client.token}", "Accept-Encoding": encoding}
    answer = client.pool.request(
        "GET", url, headers=headers, preload_content=False, decode_content=False
    )
    body = answer.read()
    assert answer.headers.get("content-encoding") == ("gzip" if is_taken else None)
    assert int(answer.headers["content-length"]) == len(body)
    found = json.loads(gzip.decompress(body) if is_taken else body)
    assert found["error"]["status"] == "NOT_FOUND"


def test_a_long_answer_is_not_compressed() -> None:
    request = make_request(path="/v1/a", headers=[("accept-encoding", "gzip")])
    short, long = json_answer("a" * 1000), json_answer("a" * MAX_COMPRESSED)
    for response in (short, long):
        finish(request, response)
    assert short.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in long.headers
    page = page_not_found()
    finish(request, page)
    assert "content-encoding" not in page.headers


def test_an_answer_that_breaks_off_is_not_compressed() -> None:
    request = make_request(path="/v1/a", headers=[("accept-encoding", "gzip")])
    response = TruncatedResponse(error(500, "no"), None, reset=False)
    finish(request, response)
    assert response.headers["vary"] == ADDED["vary"]
    assert "content-encoding" not in response.headers
