"""De-identification: there is none, and the emulator says so."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import STORE, Client

DATASET = STORE.partition("/dicomStores/")[0]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize("resource", [STORE, DATASET])
def test_it_is_not_implemented(client: Client, version: str, resource: str) -> None:
    url = f"{client.url}/{version}/{resource}:deidentify"
    answer = client.request("POST", url, json.dumps({"config": {}}).encode())
    error = answer.json()["error"]
    assert (answer.status, error["status"]) == (501, "UNIMPLEMENTED")
    assert error["message"] == "The emulator does not de-identify: nothing was read or written."
    assert client.request("POST", url, b"[").status == 400
    assert client.request("POST", url.replace("/test", "/other"), b"{}").status == 403


def test_a_permission_goes_first(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(deniedPermissions=["healthcare.datasets.deidentify"])
    for resource, status in ((DATASET, 403), (STORE, 501)):
        url = f"{own_client.url}/v1/{resource}:deidentify"
        assert own_client.request("POST", url, b"{}").status == status
