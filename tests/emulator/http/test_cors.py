"""Pages in browsers call the API from other origins."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.client import Client, make_dicom, path_of, read

ORIGIN = "https://viewer.example.org"
SHARED = "access-control-allow-origin"


def preflight(client: Client, url: str, method: str = "GET", **headers: str) -> Any:
    sent = {"Origin": ORIGIN, "Access-Control-Request-Method": method, **headers}
    return client.pool.request("OPTIONS", url, headers=sent)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/studies"),
        ("POST", "/studies"),
        ("DELETE", "/studies/1.2"),
        ("GET", "/studies/1.2/metadata"),
    ],
)
def test_a_preflight(client: Client, method: str, path: str) -> None:
    wanted = {"Access-Control-Request-Headers": "authorization,content-type,x-anything"}
    response = preflight(client, client.web + path, method, **wanted)
    assert (response.status, response.data) == (200, b"")
    assert response.headers[SHARED] == ORIGIN
    assert method in response.headers["access-control-allow-methods"].split(",")
    allowed = response.headers["access-control-allow-headers"]
    assert allowed == "authorization,content-type,x-anything"
    assert response.headers["access-control-max-age"] == "3600"
    assert response.headers["vary"] == "Origin"


def test_preflights_of_everything_that_is_shared(client: Client) -> None:
    for method, url in (
        ("GET", f"{client.url}/v1/{client.store_name}"),
        ("PATCH", f"{client.web.replace('/v1/', '/v1beta1/')}/studies/1/metadata"),
        ("POST", f"{client.url}/v1/projects/p/subscriptions/abc:pull"),
    ):
        response = preflight(client, url, method)
        assert response.status == 200
        assert "access-control-allow-headers" not in response.headers


def test_answers(client: Client) -> None:
    content = make_dicom()
    assert client.store(content, origin=ORIGIN).headers[SHARED] == ORIGIN
    for path, accept in (("/studies", ""), (path_of(read(content)), "*/*"), ("/nothing", "")):
        response = client.request("GET", path, origin=ORIGIN, accept=accept)
        assert response.headers[SHARED] == ORIGIN, path
        exposed = response.headers["access-control-expose-headers"]
        assert exposed == "Content-Encoding,Date,WWW-Authenticate"
    headers = {"Origin": ORIGIN, "Authorization": "Bearer x"}
    refused = client.pool.request("GET", f"{client.web}/studies", headers=headers)
    assert (refused.status, refused.headers[SHARED]) == (401, ORIGIN)


def test_nobody_else_is_told(client: Client) -> None:
    assert SHARED not in client.get("/studies").headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/token"),
        ("POST", "/v1/token"),
        ("GET", "/emulator/subject-token"),
        ("GET", "/computeMetadata/v1/project/project-id"),
        ("POST", "/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken"),
    ],
)
def test_credentials_are_not_shared(client: Client, method: str, path: str) -> None:
    url = client.url + path
    asked = preflight(client, url, method)
    assert asked.status in (400, 403, 404, 405)
    headers = {"Origin": ORIGIN, "Metadata-Flavor": "Google"}
    for response in (asked, client.pool.request(method, url, headers=headers)):
        assert SHARED not in response.headers


def test_what_is_no_preflight_of_a_route(client: Client) -> None:
    url = f"{client.web}/studies"
    assert preflight(client, url, "PUT").status == 404
    assert preflight(client, url + "x").status == 404
    assert client.pool.request("OPTIONS", url, headers={"Origin": ORIGIN}).status == 404
