"""The Security Token Service: subject tokens of three kinds, and what is wrong with them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import google.auth.jwt
import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import HEALTHCARE, STORE

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
AWS = "urn:ietf:params:aws:token-type:aws4_request"
MTLS = "urn:ietf:params:oauth:token-type:mtls"


class Service:
    """Sends exchanges that google-auth would not send."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.pool = urllib3.PoolManager(retries=False, timeout=10)
        self.pools = emulator.identities.pools

    def post(self, path: str, **form: str) -> tuple[int, Any]:
        url = f"{self.emulator.url}{path}"
        kept = {name: value for name, value in form.items() if value}
        response = self.pool.request("POST", url, fields=kept, encode_multipart=False)
        return response.status, response.json()

    def exchange(self, token: str = "", **changed: str) -> tuple[int, Any]:
        form = {
            "grant_type": EXCHANGE,
            "requested_token_type": ACCESS_TOKEN,
            "audience": self.pools.oidc,
            "scope": HEALTHCARE,
            "subject_token_type": JWT,
            "subject_token": token or self.subject_token(),
        }
        return self.post("/v1/token", **form | changed)

    def subject_token(self, **claims: Any) -> str:
        return self.emulator.identities.subject_token(time.time(), **claims)

    def refuses(self, *arguments: str, **changed: str) -> tuple[str, str]:
        status, body = self.exchange(*arguments, **changed)
        assert status == 400
        return body["error"], body["error_description"]


@pytest.fixture(scope="module")
def service(shared_emulator: Emulator) -> Iterator[Service]:
    service = Service(shared_emulator)
    yield service
    service.pool.clear()


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


def test_the_provider_tells_its_key(service: Service) -> None:
    url = f"{service.emulator.url}/emulator"
    (key,) = service.pool.request("GET", f"{url}/jwks").json()["keys"]
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "="), "big") for name in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = service.pool.request("GET", f"{url}/subject-token").data
    in_json = service.pool.request("GET", f"{url}/subject-token?format=json").json()["id_token"]
    for token in (text, in_json):
        claims = google.auth.jwt.decode(token, certs={key["kid"]: pem}, verify=True)
        assert claims["sub"] == service.pools.SUBJECT
    assert service.pool.request("POST", f"{url}/subject-token").status == 404


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


@pytest.mark.parametrize("token", ["", "[]", "{}", '["AAAA"]', '["!"]', "nonsense"])
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


def test_a_client_that_cannot_authenticate(service: Service) -> None:
    url = f"{service.emulator.url}/v1/oauthtoken"
    for header in ("Basic !", "Basic eDp5", "Bearer x"):
        answer = service.pool.request(
            "POST",
            url,
            fields={"grant_type": "refresh_token", "refresh_token": "x"},
            encode_multipart=False,
            headers={"Authorization": header},
        )
        assert answer.status in (400, 401)
