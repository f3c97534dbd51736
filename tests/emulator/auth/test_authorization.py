"""Who gets in, and what the others are told."""

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

from tests.emulator.adjustable import Adjustable
from tests.emulator.auth.refusals import answer, reason
from tests.emulator.client import STORE, Client
from tests.emulator.conftest import Clock

REALM = 'Bearer realm="https://accounts.google.com/"'


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


def test_an_api_that_is_disabled(adjustable: Adjustable) -> None:
    adjustable.change(disabledApi=True)
    error = adjustable.error()
    number = adjustable.emulator.identities.pools.project_number
    start = f"Cloud Healthcare API has not been used in project {number} before or it is disabled."
    assert error["message"].startswith(start)
    info = error["details"][0]
    assert (info["reason"], info["metadata"]["consumer"]) == (
        "SERVICE_DISABLED",
        f"projects/{number}",
    )
    assert info["metadata"]["activationUrl"] in error["message"]


def test_a_permission_that_nobody_has(adjustable: Adjustable) -> None:
    read = "healthcare.dicomStores.dicomWebRead"
    adjustable.change(deniedPermissions=[read])
    assert f"Permission '{read}' denied" in adjustable.error()["message"]
    url = f"{adjustable.client.url}/v1/{STORE}:testIamPermissions"
    body = {"permissions": [read, "healthcare.dicomStores.dicomWebWrite"]}
    granted = adjustable.client.request("POST", url, json.dumps(body).encode()).json()
    assert granted == {"permissions": ["healthcare.dicomStores.dicomWebWrite"]}


def test_a_quota_project_that_nobody_may_use(adjustable: Adjustable) -> None:
    adjustable.change(deniedQuotaProjects=["other"])
    error = adjustable.error(x_goog_user_project="other")
    assert error["details"][0]["reason"] == "USER_PROJECT_DENIED"
    assert adjustable.client.get("/studies").status == 204


def test_a_quota_project_that_one_may_use(adjustable: Adjustable) -> None:
    adjustable.change(deniedQuotaProjects=["other"])
    own = adjustable.client.request("GET", "/studies", x_goog_user_project="osimis-test")
    assert own.status == 204


def test_a_token_that_a_fault_has_expired(adjustable: Adjustable) -> None:
    bearer = f"Bearer {adjustable.client.token}"
    adjustable.change(faults=[{"tokenDies": True, "count": 1}])
    for _ in range(2):
        assert answer(adjustable.client, Authorization=bearer)[0] == 401
    adjustable.client.token = adjustable.post().json()["access_token"]
    assert adjustable.client.get("/studies").status == 204
