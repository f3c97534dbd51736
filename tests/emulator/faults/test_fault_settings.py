"""Failures on demand: the route that sets them, and what each one does."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import google.auth.exceptions
import google.auth.transport.urllib3
import google.oauth2.credentials
import pytest
import urllib3
from google.oauth2 import service_account

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import HEALTHCARE, STORE, Client
from tests.emulator.processes import running

FIRST = {
    "deletedKeys": [],
    "revokedRefreshTokens": [],
    "disabledApi": False,
    "deniedPermissions": [],
    "deniedImpersonation": False,
    "deniedQuotaProjects": [],
    "strangers": [],
    "grantedScopes": None,
    "metadata": True,
    "tokenEndpoint": None,
    "clockOffset": 0,
    "dateOffset": 0,
    "faults": [],
    "seed": 0,
    "latency": 0,
    "bandwidth": None,
    "quota": None,
    "searchLag": 0,
    "operationDelay": 0,
    "operationFailure": None,
    "missingResource": 403,
    "emptyQido": 204,
    "duplicates": "identical-ok",
}


class Adjustable:
    """A client of an emulator that can be broken."""

    def __init__(self, emulator: Emulator, client: Client) -> None:
        self.emulator = emulator
        self.client = client
        self.change = emulator.fault_settings.change
        self.request = google.auth.transport.urllib3.Request(client.pool)
        self.account = service_account.Credentials.from_service_account_info(
            emulator.identities.service_accounts[0].key_file(emulator.token_uri),
            scopes=[HEALTHCARE],
        )

    def refused(self) -> str:
        """Return why the key gets no token."""
        with pytest.raises(google.auth.exceptions.RefreshError) as caught:
            self.account.refresh(self.request)
        return str(caught.value)

    def post(self) -> urllib3.BaseHTTPResponse:
        user = self.emulator.identities.users[0]
        form = {
            "grant_type": "refresh_token",
            "refresh_token": user.refresh_token,
            "client_id": user.client_id,
            "client_secret": user.client_secret,
        }
        return self.client.pool.request("POST", self.emulator.token_uri, body=urlencode(form))

    def error(self, **headers: str) -> dict[str, Any]:
        """Return the refusal of a search."""
        answer = self.client.request("GET", "/studies", **headers)
        assert answer.status == 403
        return dict(answer.json()["error"])


@pytest.fixture
def adjustable(emulator: Emulator, own_client: Client) -> Iterator[Adjustable]:
    yield Adjustable(emulator, own_client)


def test_the_route_is_there_when_asked_for(tmp_path: Path) -> None:
    with running(tmp_path / "one", "--admin") as process:
        pool = urllib3.PoolManager(retries=False)
        url = f"{process.url}/emulator/state"
        assert pool.request("GET", url).json() == FIRST
        changed = pool.request("PATCH", url, json={"disabledApi": True, "dateOffset": 60})
        assert changed.json() == {**FIRST, "disabledApi": True, "dateOffset": 60}
        assert pool.request("GET", url).json() == changed.json()
        client = Client(process.url, tmp_path / "one")
        assert client.get("/studies").status == 403
        for body in (b"x", b"[]", b'{"nothing": 1}', b'{"metadata": "off"}'):
            refused = pool.request("PATCH", url, body=body)
            assert (refused.status, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert pool.request("GET", url).json() == changed.json()
        assert pool.request("POST", url).status == 404
        client.pool.clear()
        pool.clear()


def test_the_route_is_not_there_otherwise(client: Client) -> None:
    for verb in ("GET", "PATCH"):
        assert client.pool.request(verb, f"{client.url}/emulator/state").status == 404


@pytest.mark.parametrize(
    "change",
    [
        {"nothing": 1},
        {"deletedKeys": "x"},
        {"deletedKeys": [1]},
        {"disabledApi": 1},
        {"deniedPermissions": ["healthcare.nothing"]},
        {"dateOffset": True},
        {"clockOffset": "1"},
        {"clockOffset": float("nan")},
        {"dateOffset": 1e12},
        {"operationDelay": -1},
        {"tokenEndpoint": "explode"},
        {"tokenEndpoint": {"status": 99}},
        {"tokenEndpoint": {"delay": None}},
        {"tokenEndpoint": {"explode": True}},
        {"tokenEndpoint": []},
    ],
)
def test_settings_that_cannot_be_set_so(change: dict[str, Any]) -> None:
    settings = FaultSettings()
    with pytest.raises(ValueError, match=next(iter(change))):
        settings.change(metadata=False, **change)
    assert settings.as_json() == FIRST


def test_reset_is_back_to_the_start() -> None:
    at_first = {"disabledApi": True, "faults": [{"path": "x", "status": 503}]}
    settings = FaultSettings(at_first)
    first = settings.as_json()
    assert settings.current.faults.fault_of("GET", "/x") is not None
    settings.change(disabledApi=False, metadata=False, latency=1)
    assert settings.as_json() != first
    settings.reset()
    assert settings.as_json() == first
    settings.change(seed=7)
    current = settings.current
    assert (current.disabled_api, current.metadata, current.latency) == (True, True, 0)


def test_a_key_that_is_deleted(adjustable: Adjustable) -> None:
    adjustable.change(deletedKeys=[adjustable.account._signer.key_id])
    assert "Invalid JWT Signature" in adjustable.refused()
    key = adjustable.emulator.identities.service_accounts[0].key_file("")
    by_itself = service_account.Credentials.from_service_account_info(key)
    by_itself._create_self_signed_jwt("https://healthcare.googleapis.com/")
    by_itself.refresh(adjustable.request)
    adjustable.client.token = str(by_itself.token)
    assert adjustable.client.get("/studies").status == 401
    adjustable.change(deletedKeys=[])
    assert adjustable.client.get("/studies").status == 204


def test_a_refresh_token_that_is_revoked(adjustable: Adjustable) -> None:
    user = adjustable.emulator.identities.users[0]
    assert adjustable.post().status == 200
    adjustable.change(revokedRefreshTokens=[user.refresh_token])
    assert adjustable.post().json()["error_description"] == "Token has been expired or revoked."


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


def test_an_account_of_another_project(adjustable: Adjustable) -> None:
    adjustable.change(strangers=[adjustable.emulator.identities.service_accounts[0].email])
    assert "(or it may not exist)" in adjustable.error()["message"]
    adjustable.client.token = adjustable.post().json()["access_token"]
    assert adjustable.client.get("/studies").status == 204


def test_scopes_that_are_not_granted(adjustable: Adjustable) -> None:
    adjustable.change(grantedScopes=["openid"])
    assert adjustable.post().json()["scope"] == "openid"
    adjustable.account.refresh(adjustable.request)
    adjustable.client.token = str(adjustable.account.token)
    assert "insufficient authentication scopes" in adjustable.error()["message"]


def test_an_answer_of_the_token_endpoint(adjustable: Adjustable) -> None:
    page = {"status": 403, "body": "<html>No.</html>", "contentType": "text/html"}
    adjustable.change(tokenEndpoint=page)
    answer = adjustable.post()
    assert (answer.status, answer.data) == (403, b"<html>No.</html>")
    assert answer.headers["content-type"].startswith("text/html")


def test_a_slow_token_endpoint(adjustable: Adjustable) -> None:
    adjustable.change(tokenEndpoint={"delay": 0.3})
    started = time.monotonic()
    assert adjustable.post().status == 200
    assert time.monotonic() - started >= 0.3


def test_a_connection_that_is_reset(adjustable: Adjustable) -> None:
    adjustable.change(tokenEndpoint="reset")
    with pytest.raises(urllib3.exceptions.ProtocolError, match="reset by peer"):
        adjustable.post()
    assert adjustable.client.get("/studies").status == 204


def test_an_answer_that_is_cut_off(adjustable: Adjustable) -> None:
    adjustable.change(tokenEndpoint="truncate")
    with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
        adjustable.post()
    user = adjustable.emulator.identities.users[0]
    adjustable.change(revokedRefreshTokens=[user.refresh_token])
    with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
        adjustable.post()


def dated(answer: urllib3.BaseHTTPResponse) -> float:
    """Return how far the date of an answer is from now."""
    (date,) = answer.headers.getlist("date")
    return parsedate_to_datetime(date).timestamp() - time.time()


def test_dates_that_are_off(adjustable: Adjustable) -> None:
    assert abs(dated(adjustable.client.get("/studies"))) < 2
    adjustable.change(dateOffset=-600)
    assert abs(dated(adjustable.client.get("/studies")) + 600) < 2
    assert adjustable.post().status == 200


@pytest.mark.parametrize(("offset", "works"), [(-600, False), (600, True), (7200, False)])
def test_a_clock_that_differs(adjustable: Adjustable, offset: float, works: bool) -> None:
    adjustable.change(clockOffset=offset)
    answer = adjustable.client.pool.request("GET", f"{adjustable.client.url}/")
    assert abs(dated(answer) - offset) < 2
    if works:
        adjustable.account.refresh(adjustable.request)
    else:
        assert "short-lived token (60 minutes)" in adjustable.refused()


def test_a_connection_over_tls_that_is_reset(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    with Emulator(Options(tmp_path, tls=True)) as emulator:
        pool = urllib3.PoolManager(retries=False, ca_certs=str(emulator.ca))
        for cut in ("reset", "truncate"):
            emulator.fault_settings.change(tokenEndpoint=cut)
            with pytest.raises(urllib3.exceptions.ProtocolError):
                pool.request("POST", emulator.token_uri)
        pool.clear()
