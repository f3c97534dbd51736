"""Who gets in, and what the others are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import google.auth.transport.urllib3
import pytest
from google.oauth2 import service_account

from tests.emulator.client import Client
from tests.emulator.conftest import Clock

REALM = 'Bearer realm="https://accounts.google.com/"'


def answer(client: Client, **headers: str) -> tuple[int, str, Any]:
    response = client.pool.request("GET", client.web + "/studies", headers=headers)
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    error = json.loads(response.data)["error"]
    assert error["code"] == response.status
    return response.status, response.headers["www-authenticate"], error


def reason(error: dict[str, Any]) -> str:
    (info,) = error["details"]
    assert info["domain"] == "googleapis.com"
    method = "google.cloud.healthcare.v1.dicomweb.DicomWebService.SearchForStudies"
    assert info["metadata"] == {"service": "healthcare.googleapis.com", "method": method}
    return str(info["reason"])


def test_no_credential(client: Client) -> None:
    status, challenge, error = answer(client)
    assert (status, challenge, error["status"]) == (401, REALM, "UNAUTHENTICATED")
    assert error["message"].startswith("Request is missing required authentication credential.")
    assert reason(error) == "CREDENTIALS_MISSING"


@pytest.mark.parametrize("credential", ["Bearer nonsense", "Bearer ya29.c.AAAA", "Basic eDp5", ""])
def test_a_bad_credential(client: Client, credential: str) -> None:
    status, challenge, error = answer(client, Authorization=credential)
    assert (status, challenge) == (401, f'{REALM}, error="invalid_token"')
    assert error["message"].startswith("Request had invalid authentication credentials.")
    assert "details" not in error


def test_a_forged_token(client: Client) -> None:
    token = client.token[:-2] + ("AA" if client.token[-2:] != "AA" else "BB")
    assert answer(client, Authorization=f"Bearer {token}")[0] == 401


def test_an_expired_token(own_client: Client, clock: Clock) -> None:
    clock.offset = 3500
    assert own_client.get("/studies").status == 204
    clock.offset = 3601
    bearer = f"Bearer {own_client.token}"
    status, challenge, error = answer(own_client, Authorization=bearer)
    assert (status, challenge) == (401, f'{REALM}, error="invalid_token"')
    assert reason(error) == "ACCESS_TOKEN_EXPIRED"


def test_a_scope_that_does_not_reach(own_client: Client, credentials: Path) -> None:
    signer = service_account.Credentials.from_service_account_file(
        str(credentials / "service-account.json"),
        scopes=["https://www.googleapis.com/auth/pubsub"],
    )
    signer.refresh(google.auth.transport.urllib3.Request(own_client.pool))
    status, challenge, error = answer(own_client, Authorization=f"Bearer {signer.token}")
    assert (status, error["status"]) == (403, "PERMISSION_DENIED")
    assert error["message"] == "Request had insufficient authentication scopes."
    assert challenge.startswith(f'{REALM}, error="insufficient_scope", scope="https://')
    assert reason(error) == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"


def test_the_scheme_may_be_written_in_lower_case(client: Client) -> None:
    response = client.request("GET", "/studies", authorization=f"bearer {client.token}")
    assert response.status == 204


def test_a_token_in_the_address(client: Client) -> None:
    url = f"{client.web}/studies?access_token={client.token}"
    assert client.pool.request("GET", url).status == 204


def test_credentials_come_before_the_body(client: Client) -> None:
    response = client.pool.request(
        "POST",
        client.web + "/studies",
        body=b"\0" * 5_000_000,
        headers={"Content-Type": "nonsense", "Authorization": "Bearer x"},
    )
    assert response.status == 401


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/"),
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
