"""generateAccessToken, asked by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import google.auth.transport.urllib3
import pytest
from google.oauth2 import service_account

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import HEALTHCARE, Client
from tests.emulator.conftest import Clock

TARGET = "healthcare@osimis-test.iam.gserviceaccount.com"
IAM = "https://www.googleapis.com/auth/iam"


@pytest.fixture
def source(own_client: Client, emulator: Emulator) -> Client:
    """A client whose token may only be used to get others."""
    key = emulator.identities.service_accounts[0].key_file(emulator.token_uri)
    signer = service_account.Credentials.from_service_account_info(key, scopes=[IAM])
    signer.refresh(google.auth.transport.urllib3.Request(own_client.pool))
    own_client.token = str(signer.token)
    return own_client


def generate(client: Client, email: str = TARGET, **changed: Any) -> tuple[int, Any]:
    body = {"delegates": None, "scope": [HEALTHCARE], "lifetime": "3600s", **changed}
    url = f"{client.url}/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    answer = client.request("POST", url, json.dumps(body).encode(), content_type="application/json")
    return answer.status, answer.json()


def test_a_token_of_another(source: Client, clock: Clock) -> None:
    assert source.get("/studies").status == 403
    status, body = generate(source, lifetime="600s")
    assert (status, set(body)) == (200, {"accessToken", "expireTime"})
    end = datetime.strptime(body["expireTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(seconds=590) < end - datetime.now(UTC) <= timedelta(seconds=600)
    source.token = body["accessToken"]
    assert source.get("/studies").status == 204
    clock.offset = 601
    assert source.get("/studies").status == 401


def test_delegates_between(source: Client) -> None:
    middle = "projects/-/serviceAccounts/orthanc@osimis-test.iam.gserviceaccount.com"
    assert generate(source, delegates=[middle])[0] == 200
    stranger = "projects/-/serviceAccounts/x@osimis-test.iam.gserviceaccount.com"
    assert generate(source, delegates=[stranger])[0] == 404


def test_an_account_that_there_is_not(source: Client) -> None:
    email = "nobody@osimis-test.iam.gserviceaccount.com"
    expected = {
        "code": 404,
        "message": f"Not found; Gaia id not found for email {email}",
        "status": "NOT_FOUND",
    }
    assert generate(source, email) == (404, {"error": expected})


def test_an_account_that_there_is_not_and_no_right(source: Client, emulator: Emulator) -> None:
    emulator.fault_settings.change(deniedImpersonation=True)
    assert generate(source, "nobody@osimis-test.iam.gserviceaccount.com")[0] == 404
    status, body = generate(source)
    assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")
    (info,) = body["error"]["details"]
    assert (info["reason"], info["domain"]) == ("IAM_PERMISSION_DENIED", "iam.googleapis.com")
    assert info["metadata"] == {"permission": "iam.serviceAccounts.getAccessToken"}


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": []},
        {"scope": None},
        {"scope": [1]},
        {"lifetime": "3601s"},
        {"lifetime": "0s"},
        {"lifetime": "1h"},
        {"delegates": 1},
        {"delegates": ["x"]},
    ],
)
def test_arguments_that_cannot_be(source: Client, changed: dict[str, Any]) -> None:
    status, body = generate(source, **changed)
    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert body["error"]["message"] == "Request contains an invalid argument."


def test_who_may_not(source: Client, emulator: Emulator) -> None:
    for change in (
        {"deniedImpersonation": True},
        {"deniedPermissions": ["iam.serviceAccounts.getAccessToken"]},
    ):
        emulator.fault_settings.change(**change)
        status, body = generate(source)
        error = body["error"]
        assert (status, error["status"]) == (403, "PERMISSION_DENIED")
        assert error["details"][0]["reason"] == "IAM_PERMISSION_DENIED"
        emulator.fault_settings.change(deniedImpersonation=False, deniedPermissions=[])
    assert generate(source)[0] == 200


def test_a_token_without_the_scope(own_client: Client) -> None:
    status, body = generate(own_client)
    info = body["error"]["details"][0]
    assert (status, info["reason"]) == (403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
    assert info["metadata"]["service"] == "iamcredentials.googleapis.com"


def test_no_credential(own_client: Client) -> None:
    own_client.token = "nonsense"
    assert generate(own_client)[0] == 401


@pytest.mark.parametrize("body", [b"x", b"[]"])
def test_bodies_that_cannot_be(source: Client, body: bytes) -> None:
    url = f"{source.url}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    assert source.request("POST", url, body).status == 400
