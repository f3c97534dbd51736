"""How many requests a minute may have."""

from __future__ import annotations

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import Client, make_dicom
from tests.emulator.conftest import Clock


def test_a_quota(emulator: Emulator, own_client: Client, clock: Clock) -> None:
    emulator.fault_settings.change(quota={"requestsPerMinute": 2, "retryAfter": True})
    assert [own_client.get("/studies").status for _ in range(2)] == [204, 204]
    answer = own_client.store(make_dicom())
    error = answer.json()["error"]
    assert (answer.status, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["message"].startswith("Quota exceeded for quota metric")
    assert error["details"][0]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert 0 < int(answer.headers["retry-after"]) <= 60
    emulator.fault_settings.change(quota={"requestsPerMinute": 2})
    assert "retry-after" not in own_client.get("/studies").headers
    clock.offset += 60
    assert own_client.get("/studies").status == 204


def test_a_quota_counts_those_who_are_let_in(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(quota={"requestsPerMinute": 1})
    token, own_client.token = own_client.token, "none"
    assert own_client.get("/studies").status == 401
    own_client.token = token
    assert [own_client.get("/studies").status for _ in range(2)] == [204, 429]
