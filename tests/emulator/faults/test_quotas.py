"""How many requests and bytes an account may have."""

from __future__ import annotations

from orthanc_gcp.emulator.faults.quotas import Meter, Quota
from orthanc_gcp.emulator.http.responses import Refusal
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


def refusal(meter: Meter, quota: Quota) -> int:
    """The status of a request, 0 when it is let in."""
    try:
        meter.admit(quota)
    except Refusal as refusal:
        return refusal.response.status_code
    return 0


def test_a_quota_by_the_second() -> None:
    now = [100.0]
    meter, quota = Meter(lambda: now[0], "1"), Quota(requests_per_second=3)
    assert [refusal(meter, quota) for _ in range(5)] == [0, 0, 0, 429, 429]
    now[0] += 0.5
    assert [refusal(meter, quota) for _ in range(2)] == [0, 429]
    now[0] += 60  # a second's worth is all that is saved up
    assert [refusal(meter, quota) for _ in range(4)] == [0, 0, 0, 429]
    now[0] -= 60
    assert refusal(meter, quota) == 429


def test_a_quota_of_bytes(emulator: Emulator, own_client: Client, clock: Clock) -> None:
    file = make_dicom()
    emulator.fault_settings.change(quota={"bytesPerSecond": len(file) // 20, "retryAfter": True})
    assert own_client.store(file).status == 200  # nobody knew how long it is
    answer = own_client.get("/studies")
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 30
    clock.offset += 31
    assert own_client.get("/studies").status == 200
