"""Who gets in, and what the others are told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import google.auth.crypt
import google.auth.jwt
import google.auth.transport.urllib3
import pytest
from google.oauth2 import service_account

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import HEALTHCARE, Client
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


def self_signed(emulator: Emulator, header: dict[str, str] | None = None, **claims: Any) -> str:
    key = emulator.identities.service_accounts[0].key_file(emulator.token_uri)
    now = int(time.time())
    payload = {
        "iss": key["client_email"],
        "sub": key["client_email"],
        "aud": "https://healthcare.googleapis.com/",
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    kept = {name: value for name, value in payload.items() if value is not None}
    signer = google.auth.crypt.RSASigner.from_service_account_info(key)
    return google.auth.jwt.encode(signer, kept, header).decode()


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 204),
        ({"aud": None, "scope": HEALTHCARE}, 204),
        ({"aud": "https://pubsub.googleapis.com/"}, 401),
        ({"aud": None}, 401),
        ({"aud": None, "scope": "https://www.googleapis.com/auth/pubsub"}, 403),
        ({"sub": "other@example.org"}, 401),
        ({"sub": None}, 401),
        ({"iss": "other@example.org"}, 401),
        ({"exp": int(time.time()) + 7200}, 401),
        ({"exp": "never"}, 401),
        ({"iat": 1000, "exp": 2000}, 401),
    ],
)
def test_jwts_as_access_tokens(
    shared_emulator: Emulator, client: Client, claims: dict[str, Any], status: int
) -> None:
    client.token = self_signed(shared_emulator, **claims)
    assert client.get("/studies").status == status


def test_an_expired_jwt_is_an_expired_token(shared_emulator: Emulator, client: Client) -> None:
    token = self_signed(shared_emulator, iat=1000, exp=2000)
    _, _, error = answer(client, Authorization=f"Bearer {token}")
    assert reason(error) == "ACCESS_TOKEN_EXPIRED"


def test_a_jwt_without_a_signature(shared_emulator: Emulator, client: Client) -> None:
    token = self_signed(shared_emulator, {"alg": "none"})
    for credential in (token, token.rpartition(".")[0] + ".", "eyJ", "eyJ.eyJ.AAAA"):
        assert answer(client, Authorization=f"Bearer {credential}")[0] == 401
