"""Regional access boundaries, as google-auth asks for them."""

from __future__ import annotations

import google.auth.transport.urllib3
import pytest
from google.auth import _regional_access_boundary_utils as boundaries
from google.oauth2 import _client, service_account

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import HEALTHCARE, Client

GOOGLE = "https://iamcredentials.googleapis.com"


def addresses(emulator: Emulator) -> list[str]:
    """Where google-auth asks, for identities of every kind."""
    _, number, _, _, _, pool = emulator.identities.pools.workloads.split("/")
    return [
        boundaries.get_service_account_rab_endpoint(emulator.identities.service_accounts[0].email),
        boundaries.get_workload_identity_pool_rab_endpoint(number, pool),
        boundaries.get_workforce_pool_rab_endpoint("orthanc-staff"),
    ]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_google_auth_gets_what_it_takes(
    shared_emulator: Emulator, shared_client: Client, kind: int
) -> None:
    url = addresses(shared_emulator)[kind].replace(GOOGLE, shared_client.url)
    request = google.auth.transport.urllib3.Request(shared_client.pool)
    headers = {"authorization": f"Bearer {shared_client.token}"}
    found = _client._lookup_regional_access_boundary(request, url, headers)
    assert found == {"encodedLocations": "0x0"}


def test_google_auth_sends_it(
    shared_emulator: Emulator, shared_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        boundaries,
        "get_service_account_rab_endpoint",
        lambda email: f"{shared_client.url}/v1/projects/-/serviceAccounts/{email}/allowedLocations",
    )
    key = shared_emulator.identities.service_accounts[0].key_file(shared_emulator.token_uri)
    signer = service_account.Credentials.from_service_account_info(key, scopes=[HEALTHCARE])
    request = google.auth.transport.urllib3.Request(shared_client.pool)
    signer.refresh(request)
    manager = signer._rab_manager
    manager.start_blocking_refresh(signer, request)
    headers: dict[str, str] = {}
    manager.apply_headers(headers)
    assert headers == {"x-allowed-locations": "0x0"}
    assert shared_client.request("GET", "/studies", **headers).status in (200, 204)


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        ("projects/-/serviceAccounts/x@y.z", "Not found; Gaia id not found for email x@y.z"),
        (
            "projects/1/locations/global/workloadIdentityPools/x",
            "resource not found: projects/1/locations/global/workloadIdentityPools/x",
        ),
        (
            "locations/global/workforcePools/x",
            "resource not found: locations/global/workforcePools/x",
        ),
    ],
)
def test_what_there_is_not(client: Client, resource: str, message: str) -> None:
    answer = client.request("GET", f"{client.url}/v1/{resource}/allowedLocations")
    expected = {"code": 404, "message": message, "status": "NOT_FOUND"}
    assert (answer.status, answer.json()) == (404, {"error": expected})


def test_nobody_asks_without_a_credential(client: Client) -> None:
    url = f"{client.url}/v1/projects/-/serviceAccounts/x@y.z/allowedLocations"
    for headers in ({}, {"Authorization": "Bearer x"}):
        assert client.pool.request("GET", url, headers=headers).status == 401


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/v1/projects/-/serviceAccounts/x@y.z/allowedLocations"),
        ("GET", "/v1/projects/-/serviceAccounts/x/y/allowedLocations"),
        ("GET", "/v1/projects/-/allowedLocations"),
        ("GET", "/v1//allowedLocations"),
    ],
)
def test_other_addresses(client: Client, verb: str, path: str) -> None:
    answer = client.request(verb, client.url + path)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=UTF-8")
