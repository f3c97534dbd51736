"""The token endpoint, asked by google-auth and by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import google.auth.crypt
import google.auth.exceptions
import google.auth.jwt
import google.auth.transport.urllib3
import google.oauth2.credentials
import pytest
import urllib3
from google.oauth2 import service_account

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import HEALTHCARE, Client
from tests.emulator.conftest import Clock

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE = "https://oauth2.googleapis.com/token"


class Endpoint:
    """Sends grants that google-auth would not send."""

    def __init__(self, emulator: Emulator) -> None:
        self.pool = urllib3.PoolManager(retries=False)
        self.emulator = emulator
        self.uri = emulator.token_uri
        self.key = emulator.identities.service_accounts[0].key_file(self.uri)
        self.user = emulator.identities.users[0].credential_file()

    def post(self, **form: str) -> tuple[int, Any]:
        response = self.pool.request(
            "POST",
            self.uri,
            body=urlencode(form),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert response.headers["content-type"] == "application/json; charset=UTF-8"
        return response.status, response.json()

    def assertion(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        signer = google.auth.crypt.RSASigner.from_service_account_info(self.key)
        now = int(time.time())
        payload = {
            "iss": self.key["client_email"],
            "aud": GOOGLE,
            "scope": HEALTHCARE,
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        kept = {name: value for name, value in payload.items() if value is not None}
        return google.auth.jwt.encode(signer, kept, header).decode()

    def bearer(self, jwt: str) -> tuple[int, Any]:
        return self.post(grant_type=JWT_BEARER, assertion=jwt)

    def refresh(self, **changed: str) -> tuple[int, Any]:
        names = ("client_id", "client_secret", "refresh_token")
        form = {name: self.user[name] for name in names} | changed
        kept = {name: value for name, value in form.items() if value}
        return self.post(grant_type="refresh_token", **kept)


@pytest.fixture(scope="module")
def module_clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def module_emulator(
    tmp_path_factory: pytest.TempPathFactory, module_clock: Clock
) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("token")
    with Emulator(Options(folder, write_credentials=folder), module_clock) as running:
        yield running


@pytest.fixture
def endpoint(module_emulator: Emulator, module_clock: Clock) -> Endpoint:
    module_clock.offset = 0
    return Endpoint(module_emulator)


def refuses(error: str, description: str, status: int = 400) -> tuple[int, dict[str, str]]:
    return status, {"error": error, "error_description": description}


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


def test_the_emulators_own_address_is_an_audience(endpoint: Endpoint) -> None:
    assert endpoint.bearer(endpoint.assertion(aud=endpoint.uri))[0] == 200


def test_a_subject_that_is_the_account_itself_is_fine(endpoint: Endpoint) -> None:
    assert endpoint.bearer(endpoint.assertion(sub=endpoint.key["client_email"]))[0] == 200


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


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"client_id": "x"}, refuses("invalid_client", "The OAuth client was not found.", 401)),
        (
            {"client_secret": "x"},
            refuses("invalid_client", "The provided client secret is invalid.", 401),
        ),
        (
            {"refresh_token": "x"},
            refuses("invalid_grant", "Token has been expired or revoked."),
        ),
        (
            {"refresh_token": ""},
            refuses("invalid_request", "Missing required parameter: refresh_token"),
        ),
        (
            {"client_id": ""},
            refuses("invalid_request", "Could not determine client ID from request."),
        ),
    ],
)
def test_refused_refresh_tokens(endpoint: Endpoint, changed: dict[str, str], expected: Any) -> None:
    assert endpoint.refresh(**changed) == expected


def test_a_revoked_refresh_token(emulator: Emulator) -> None:
    endpoint = Endpoint(emulator)
    assert endpoint.refresh()[0] == 200
    emulator.identities.revoke(endpoint.user["refresh_token"])
    expected = refuses("invalid_grant", "Token has been expired or revoked.")
    assert endpoint.refresh() == expected


def test_a_new_key_works_beside_the_old_one(emulator: Emulator) -> None:
    endpoint = Endpoint(emulator)
    account = emulator.identities.service_accounts[0]
    key_id = emulator.identities.add_key(account)
    assert endpoint.bearer(endpoint.assertion())[0] == 200
    endpoint.key |= {"private_key_id": key_id, "private_key": account.keys[key_id]}
    assert endpoint.bearer(endpoint.assertion())[0] == 200


def test_a_clock_that_is_wrong_is_named(endpoint: Endpoint, module_clock: Clock) -> None:
    module_clock.offset = 200
    assert endpoint.bearer(endpoint.assertion())[0] == 200
    module_clock.offset = -1200
    assert endpoint.bearer(endpoint.assertion()) == refuses("invalid_grant", WINDOW)


def test_json_is_as_good_as_a_form(endpoint: Endpoint) -> None:
    body = {"grant_type": JWT_BEARER, "assertion": endpoint.assertion()}
    response = endpoint.pool.request("POST", endpoint.uri, json=body)
    assert response.status == 200


def test_the_endpoint_takes_only_post(endpoint: Endpoint) -> None:
    response = endpoint.pool.request("GET", endpoint.uri)
    assert (response.status, response.headers["content-type"]) == (404, "text/html; charset=UTF-8")


def test_a_huge_request_is_not_read(endpoint: Endpoint) -> None:
    response = endpoint.pool.request("POST", endpoint.uri, body=b"a" * 1_000_000)
    assert response.status == 400
