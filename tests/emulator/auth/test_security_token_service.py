"""The Security Token Service: subject tokens of three kinds, and what is wrong with them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.emulator.auth.token_exchange import ACCESS_TOKEN, AWS, EXCHANGE, JWT, MTLS, Service
from tests.emulator.client import STORE
from tests.support.fuzzed_emulator import certificates


def test_the_answer_to_a_token_exchange(service: Service) -> None:
    status, body = service.exchange()
    assert status == 200
    token = body.pop("access_token")
    expected = {"issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3599}
    assert body == expected
    url = f"{service.emulator.url}/v1/{STORE}/dicomWeb/studies"
    headers = {"Authorization": f"Bearer {token}"}
    assert service.pool.request("GET", url, headers=headers).status == 204


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"requested_token_type": JWT}, "invalid_request"),
        ({"scope": ""}, "invalid_request"),
        ({"audience": ""}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"subject_token_type": AWS}, "invalid_request"),
        ({"subject_token": "nonsense"}, "invalid_grant"),
    ],
)
def test_refused_exchanges(service: Service, changed: dict[str, str], error: str) -> None:
    assert service.refuses(**changed)[0] == error


def test_a_pool_or_provider_that_there_is_not(service: Service) -> None:
    error, description = service.refuses(audience=service.pools.oidc.replace("orthanc", "other"))
    assert error == "invalid_target"
    assert description.startswith('The target service indicated by the "audience" parameters is')


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"iss": "https://example.org"}, "The issuer in ID Token https://example.org does not"),
        ({"aud": "https://example.org"}, r"audience in ID Token [https://example.org] does not"),
        ({"iat": 1000, "exp": 2000}, "ID Token issued at 1000 is stale to sign-in."),
        ({"iat": int(time.time()) + 3600}, "issued in the future"),
        ({"exp": None}, "lacks 'iat' or 'exp'"),
        ({"sub": ""}, "google.subject"),
    ],
)
def test_claims_that_are_wrong(service: Service, claims: dict[str, Any], words: str) -> None:
    error, description = service.refuses(service.subject_token(**claims))
    assert error == "invalid_grant"
    assert words in description


def test_the_providers_own_audience_is_fine_too(service: Service) -> None:
    token = service.subject_token(aud=["https://example.org", service.pools.oidc])
    assert service.exchange(token)[0] == 200


def test_a_token_that_another_signed(service: Service) -> None:
    mine, other = service.subject_token().split("."), service.subject_token(sub="x").split(".")
    forged = ".".join((mine[0], other[1], mine[2]))
    assert service.refuses(forged) == ("invalid_grant", "Invalid ID Token signature.")
    short = ".".join((*mine[:2], "AAAA"))
    assert service.refuses(short) == ("invalid_grant", "Invalid ID Token signature.")


ODD_CERTIFICATES = [json.dumps([base64.b64encode(one).decode()]) for one in certificates()[1:]]


def signed_request(service: Service, **changed: Any) -> str:
    headers = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIA0/20200101/eu-west-2/sts/aws4_request, …",
        "host": "sts.eu-west-2.amazonaws.com",
        "x-amz-date": "20200101T000000Z",
        "x-goog-cloud-target-resource": service.pools.aws,
        **changed.pop("headers", {}),
    }
    request = {
        "url": "https://sts.eu-west-2.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        "method": "POST",
        "headers": [{"key": key, "value": value} for key, value in headers.items() if value],
        **changed,
    }
    return quote(json.dumps(request))


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"headers": {"x-goog-cloud-target-resource": "//iam.googleapis.com/other"}}, 400),
        ({"headers": {"x-goog-cloud-target-resource": ""}}, 400),
        ({"headers": {"Authorization": ""}}, 400),
        ({"headers": {"Authorization": "Bearer Credential=x/y"}}, 400),
        ({"headers": {"x-amz-date": ""}}, 400),
        ({"method": "GET"}, 400),
        ({"url": "https://sts.example.org?Action=GetCallerIdentity"}, 400),
        ({"url": "https://sts.eu-west-2.amazonaws.com?Action=Other"}, 400),
        ({"headers": 7}, 400),
    ],
)
def test_requests_that_aws_credentials_sign(
    service: Service, changed: dict[str, Any], status: int
) -> None:
    if changed.get("headers") == 7:
        token = quote(json.dumps({"headers": 7}))
    else:
        token = signed_request(service, **changed)
    pools = service.pools
    answer = service.exchange(token, audience=pools.aws, subject_token_type=AWS)
    assert answer[0] == status
    if status == 400:
        assert answer[1]["error"] == "invalid_grant"


@pytest.mark.parametrize("token", ["[" * 5000, '{"headers":' * 3000, "null", '{"headers": [7]}'])
def test_requests_that_cannot_be_read(service: Service, token: str) -> None:
    error, _ = service.refuses(token, audience=service.pools.aws, subject_token_type=AWS)
    assert error == "invalid_grant"


@pytest.mark.parametrize(
    "token", ["", "[]", "{}", '["AAAA"]', '["!"]', "nonsense", "[" * 5000, *ODD_CERTIFICATES]
)
def test_certificates_that_cannot_be_read(service: Service, token: str) -> None:
    error, _ = service.refuses(
        token or "[[]]", audience=service.pools.x509, subject_token_type=MTLS
    )
    assert error == "invalid_grant"


def staff(service: Service, **changed: str) -> tuple[int, Any]:
    person = service.emulator.identities.workforce[0]
    form = {
        "grant_type": "refresh_token",
        "refresh_token": person.refresh_token,
        "client_id": person.client_id,
        "client_secret": person.client_secret,
    }
    return service.post("/v1/oauthtoken", **form | changed)


def test_refresh_tokens_of_a_workforce_pool(service: Service) -> None:
    status, body = staff(service)
    assert (status, body["expires_in"]) == (200, 3599)
    assert staff(service, grant_type=EXCHANGE)[1]["error"] == "unsupported_grant_type"
    assert staff(service, client_secret="x")[0] == 401
    # A user of Google's own has nothing to do with the pool.
    user = service.emulator.identities.users[0]
    assert staff(service, client_id=user.client_id)[0] == 401
    assert staff(service, refresh_token=user.refresh_token)[1]["error"] == "invalid_grant"
