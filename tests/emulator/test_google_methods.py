"""Every method that Google's discovery document has for DICOM is there, and refuses as it should.

What else the status tables of Google's documents list for the control plane, quotas (429) and
overload (503), does not happen by itself in an emulator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import urllib3

from orthanc_gcp.emulator.faults.permissions import PERMISSIONS
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import Client

DOCUMENT = files("googleapiclient.discovery_cache") / "documents" / "healthcare.v1.json"
ELSEWHERE = {"consentStores", "dataMapperWorkspaces", "fhirStores", "hl7V2Stores", "services"}
NAMES = {
    "projectsId": "osimis-test",
    "locationsId": "europe-west2",
    "datasetsId": "test",
    "dicomStoresId": "dicom",
}


def below(prefix: str, resource: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the name, verb and path of each method."""
    for name, method in resource.get("methods", {}).items():
        path = re.sub(r"\{(\w+)\}", lambda found: NAMES.get(found[1], "1"), method["flatPath"])
        yield f"{prefix}{name}", method["httpMethod"], path
    for name, inner in resource.get("resources", {}).items():
        if name not in ELSEWHERE:
            yield from below(f"{prefix}{name}.", inner)


ALL = list(
    below("", json.loads(DOCUMENT.read_text())["resources"]["projects"]["resources"]["locations"])
)


def answers(client: Client, token: str | None) -> Iterator[tuple[str, urllib3.BaseHTTPResponse]]:
    """Yield what each method answers to a request without a body."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for name, verb, path in ALL:
        yield name, client.pool.request(verb, f"{client.url}/{path}", headers=headers)


def test_what_there_is(client: Client) -> None:
    assert len(ALL) > 47
    missing = set()
    for name, verb, path in ALL:
        answer = client.pool.request(verb, f"{client.url}/{path}")
        if answer.headers["content-type"].startswith("text/html"):
            missing.add(name)
    assert not missing


def test_verbs_that_are_wrong(client: Client) -> None:
    for name, _, path in ALL:
        for verb in ("PUT", "OPTIONS"):
            answer = client.request(verb, f"{client.url}/{path}")
            assert answer.status == 404, name
            assert answer.headers["content-type"] == "text/html; charset=UTF-8"


def test_requests_without_a_credential(client: Client) -> None:
    for name, answer in answers(client, None):
        assert answer.status == 401, name
        error = answer.json()["error"]
        assert error["status"] == "UNAUTHENTICATED"
        assert error["details"][0]["reason"] == "CREDENTIALS_MISSING"
        assert error["details"][0]["metadata"]["method"].startswith("google.cloud.healthcare.v1.")
        assert answer.headers["www-authenticate"] == 'Bearer realm="https://accounts.google.com/"'


def test_requests_with_a_token_that_is_none(client: Client) -> None:
    for name, answer in answers(client, "ya29.nothing"):
        assert (answer.status, "details" in answer.json()["error"]) == (401, False), name
        assert answer.headers["www-authenticate"].endswith('error="invalid_token"')


def test_callers_who_may_do_nothing(emulator: Emulator, own_client: Client) -> None:
    locations = ["healthcare.locations.get", "healthcare.locations.list"]
    emulator.fault_settings.change(deniedPermissions=[*PERMISSIONS, *locations])
    for name, answer in answers(own_client, own_client.token):
        allowed = name.endswith("testIamPermissions")
        assert answer.status == (200 if allowed else 403), name
        assert allowed or answer.json()["error"]["status"] == "PERMISSION_DENIED"


def test_an_api_that_is_disabled(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(disabledApi=True)
    for name, answer in answers(own_client, own_client.token):
        assert answer.status == 403, name
        assert answer.json()["error"]["details"][0]["reason"] == "SERVICE_DISABLED"
