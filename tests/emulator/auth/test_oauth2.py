"""The token endpoint, asked by google-auth and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import google.auth.crypt
import google.auth.exceptions
import google.auth.jwt
import google.auth.transport.urllib3
import google.oauth2.credentials
import pytest
from google.oauth2 import service_account

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.auth.token_endpoint import Endpoint, refuses
from tests.emulator.client import HEALTHCARE, Client


def test_google_auth_gets_a_token_for_a_service_account(own_client: Client) -> None:
    assert own_client.token.startswith("ya29.")
    assert own_client.get("/studies").status == 204


def test_google_auth_gets_a_token_for_a_user(
    emulator: Emulator, credentials: Path, own_client: Client
) -> None:
    user = google.oauth2.credentials.Credentials.from_authorized_user_file(
        str(credentials / "authorized-user.json")
    ).with_token_uri(emulator.token_uri)
    user.refresh(google.auth.transport.urllib3.Request(own_client.pool))
    own_client.token = user.token
    assert own_client.get("/studies").status == 204


def test_google_auth_tells_what_the_endpoint_says(
    emulator: Emulator, credentials: Path, own_client: Client
) -> None:
    key = json.loads((credentials / "service-account.json").read_text())
    emulator.identities.delete_key(key["private_key_id"])
    signer = service_account.Credentials.from_service_account_info(key, scopes=[HEALTHCARE])
    with pytest.raises(google.auth.exceptions.RefreshError, match="Invalid JWT Signature"):
        signer.refresh(google.auth.transport.urllib3.Request(own_client.pool))


def test_the_answer_to_an_assertion(endpoint: Endpoint) -> None:
    status, body = endpoint.bearer(endpoint.assertion())
    assert status == 200
    assert set(body) == {"access_token", "expires_in", "token_type"}
    assert (body["expires_in"], body["token_type"]) == (3599, "Bearer")


@pytest.mark.parametrize("scope", ["https://example.org/nothing", f"{HEALTHCARE} unknown"])
def test_a_scope_that_google_does_not_know_gets_an_id_token(endpoint: Endpoint, scope: str) -> None:
    status, body = endpoint.bearer(endpoint.assertion(scope=scope))
    assert (status, set(body)) == (200, {"id_token"})
    claims = google.auth.jwt.decode(body["id_token"], verify=False)
    assert (claims["aud"], claims["email"]) == (scope, endpoint.key["client_email"])


def test_a_target_audience_gets_an_id_token(endpoint: Endpoint) -> None:
    jwt = endpoint.assertion(scope=None, target_audience="https://example.org")
    _, body = endpoint.bearer(jwt)
    assert google.auth.jwt.decode(body["id_token"], verify=False)["aud"] == "https://example.org"


@pytest.mark.parametrize("grant", ["client_credentials", "password", "nonsense"])
def test_grants_that_google_does_not_have(endpoint: Endpoint, grant: str) -> None:
    expected = refuses("unsupported_grant_type", f"Invalid grant_type: {grant}")
    assert endpoint.post(grant_type=grant) == expected


def test_no_grant(endpoint: Endpoint) -> None:
    assert endpoint.post()[1]["error"] == "unsupported_grant_type"


def test_the_answer_to_a_refresh_token(endpoint: Endpoint) -> None:
    status, body = endpoint.refresh()
    assert status == 200
    assert set(body) == {"access_token", "expires_in", "scope", "token_type"}
    assert "https://www.googleapis.com/auth/cloud-platform" in body["scope"].split()


def test_a_refresh_token_may_be_used_for_less(endpoint: Endpoint) -> None:
    assert endpoint.refresh(scope="openid")[1]["scope"] == "openid"
    assert endpoint.refresh(scope="https://www.googleapis.com/auth/drive")[0] == 400


def test_the_endpoint_takes_only_post(endpoint: Endpoint) -> None:
    response = endpoint.pool.request("GET", endpoint.uri)
    assert (response.status, response.headers["content-type"]) == (404, "text/html; charset=UTF-8")
