"""Signed JWTs of service accounts: as assertions, and as access tokens."""

from __future__ import annotations

import time
from typing import Any

import google.auth.crypt
import google.auth.exceptions
import google.auth.jwt
import google.auth.transport.urllib3
import google.oauth2.credentials
import pytest

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.auth.refusals import answer, reason
from tests.emulator.auth.token_endpoint import Endpoint, refuses
from tests.emulator.client import HEALTHCARE, Client
from tests.emulator.conftest import Clock


def test_the_emulators_own_address_is_an_audience(endpoint: Endpoint) -> None:
    assert endpoint.bearer(endpoint.assertion(aud=endpoint.uri))[0] == 200


def test_a_subject_that_is_the_account_itself_is_fine(endpoint: Endpoint) -> None:
    assert endpoint.bearer(endpoint.assertion(sub=endpoint.key["client_email"]))[0] == 200


WINDOW = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your 'iat' and 'exp' values in the JWT claim."
)


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iss": "x@y"}, refuses("invalid_grant", "Invalid grant: account not found")),
        ({"iss": 7}, refuses("invalid_grant", "Invalid grant: account not found")),
        ({"iat": None}, refuses("invalid_grant", "Invalid JWT: iat (issued at) is not set.")),
        ({"exp": None}, refuses("invalid_grant", "Invalid JWT: exp (expiration time) is not set.")),
        ({"iat": "now"}, refuses("invalid_request", "Bad Request")),
        ({"iat": NOW - 7200, "exp": NOW - 3600}, refuses("invalid_grant", WINDOW)),
        ({"iat": NOW + 1800, "exp": NOW + 3600}, refuses("invalid_grant", WINDOW)),
        ({"exp": NOW + 7200}, refuses("invalid_grant", WINDOW)),
        ({"sub": "other@example.org"}, None),
        ({"sub": "nobody"}, refuses("invalid_grant", "Invalid email or User ID")),
        (
            {"scope": ""},
            refuses("invalid_scope", "Invalid OAuth scope or ID token audience provided."),
        ),
        ({"aud": None}, refuses("invalid_grant", "Invalid JWT: Failed audience check.")),
        ({"aud": "https://a.b"}, refuses("invalid_grant", "Invalid JWT: Failed audience check.")),
        # Google looks at the times before it looks at the audience.
        (
            {"iat": None, "aud": None},
            refuses("invalid_grant", "Invalid JWT: iat (issued at) is not set."),
        ),
    ],
)
def test_refused_claims(endpoint: Endpoint, claims: dict[str, Any], expected: Any) -> None:
    status, body = endpoint.bearer(endpoint.assertion(**claims))
    if expected is None:
        assert (status, body["error"]) == (401, "unauthorized_client")
    else:
        assert (status, body) == expected


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}])
def test_other_algorithms_are_no_signatures(endpoint: Endpoint, header: dict[str, str]) -> None:
    jwt = endpoint.assertion(header)
    assert endpoint.bearer(jwt) == refuses("invalid_grant", "Invalid JWT Signature.")


def test_a_changed_assertion_fails_its_signature(endpoint: Endpoint) -> None:
    mine, other = endpoint.assertion().split("."), endpoint.assertion(scope="openid").split(".")
    forged = ".".join((mine[0], other[1], mine[2]))
    assert endpoint.bearer(forged) == refuses("invalid_grant", "Invalid JWT Signature.")


@pytest.mark.parametrize("jwt", ["", "a", "a.b", "a.b.c", "W10.W10.W10", "e30.e30.!", "é.é.é"])
def test_a_malformed_assertion(endpoint: Endpoint, jwt: str) -> None:
    assert endpoint.bearer(jwt) == refuses("invalid_request", "Bad Request")


def test_a_clock_that_is_wrong_is_named(endpoint: Endpoint, module_clock: Clock) -> None:
    module_clock.offset = 200
    assert endpoint.bearer(endpoint.assertion())[0] == 200
    module_clock.offset = -1200
    assert endpoint.bearer(endpoint.assertion()) == refuses("invalid_grant", WINDOW)


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
