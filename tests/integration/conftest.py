"""Fixtures of the tests that drive a real Orthanc."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.emulator import Emulator
from tests.support.keys import STORE, write
from tests.support.orthanc import Orthanc, wait_until

SERVER = "/dicom-web/servers/my-google"


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator over HTTPS for all tests that only use it."""
    emulator = Emulator(tmp_path_factory.mktemp("emulator"), "--tls")
    yield emulator
    emulator.stop()


@pytest.fixture
def sample_accounts(emulator: Emulator, tmp_path: Any) -> dict[str, dict[str, str]]:
    """The three sample configurations of the original's documentation."""
    user = emulator.user
    file = write(tmp_path / "dicom-user.json", {k: v for k, v in user.items() if k != "type"})
    return {
        "service account": {
            **STORE,
            "ServiceAccountFile": str(emulator.credentials / "service-account.json"),
        },
        "user file": {**STORE, "AuthorizedUserFile": file, "TokenUri": emulator.token_uri},
        "user strings": {
            **STORE,
            "AuthorizedUserClientId": user["client_id"],
            "AuthorizedUserClientSecret": user["client_secret"],
            "AuthorizedUserRefreshToken": user["refresh_token"],
            "TokenUri": emulator.token_uri,
        },
    }


def to_store(account: dict[str, str], emulator: Emulator, **more: Any) -> dict[str, Any]:
    """Orthanc's configuration for one account of the emulator."""
    section = {"BaseUrl": f"{emulator.url}/v1beta1/", "Accounts": {"my-google": account}}
    return {
        "HttpsCACertificates": str(emulator.ca),
        "GoogleCloudPlatform": {**section, **more.pop("section", {})},
        **more,
    }


def query(orthanc: Orthanc, server: str = SERVER, **arguments: str) -> Any:
    """QIDO-RS for studies through Orthanc; an empty answer is an empty list."""
    body = {"Uri": "/studies", "Arguments": arguments}
    answer = orthanc.request("POST", f"{server}/get", body)
    assert answer.status == 200, answer.data
    return json.loads(answer.data or b"[]")


def job(orthanc: Orthanc, path: str, body: dict[str, Any]) -> Any:
    """Run a job of the DICOMweb plugin to its end."""
    job_id = orthanc.json("POST", path, {**body, "Synchronous": False})["ID"]
    wait_until(
        lambda: orthanc.json("GET", f"/jobs/{job_id}")["State"] in ("Success", "Failure"), 60
    )
    state = orthanc.json("GET", f"/jobs/{job_id}")
    assert state["State"] == "Success", state
    return state["Content"]
