"""Slow connections, quotas, late searches and other behaviour that fault settings change."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from orthanc_gcp.emulator.faults.bandwidth import BandwidthLimit
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.server import Emulator
from orthanc_gcp.emulator.storage import search_lag
from tests.emulator.client import AS_STORED, Client, make_dicom, path_of, read
from tests.emulator.conftest import Clock


@pytest.mark.parametrize(
    "change",
    [
        {"latency": -1},
        {"bandwidth": 0},
        {"bandwidth": 1.5},
        {"quota": 5},
        {"quota": {}},
        {"quota": {"requestsPerMinute": -1}},
        {"quota": {"requestsPerMinute": 1, "retryAfter": 1}},
        {"searchLag": -1},
        {"operationFailure": 0},
        {"operationFailure": 17},
        {"missingResource": 410},
        {"emptyQido": True},
        {"duplicates": "never"},
        {"seed": -1},
    ],
)
def test_positions_that_cannot_be(change: dict[str, Any]) -> None:
    settings = FaultSettings()
    before = settings.as_json()
    with pytest.raises(ValueError, match=next(iter(change))):
        settings.change(metadata=False, **change)
    assert settings.as_json() == before


def test_a_pace() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def run() -> None:
        pace = BandwidthLimit(1000, lambda: now, sleep)
        for size in (500, 1000):
            await pace.take(size)

    now = 100.0
    asyncio.run(run())
    assert waited == [0.5, 1.5]


def test_answers_at_a_pace(emulator: Emulator, own_client: Client) -> None:
    content = make_dicom(pixels=bytes(range(256)) * 80)
    own_client.store(content)
    rate = 50_000
    emulator.fault_settings.change(bandwidth=rate)
    for accept in ("application/dicom; transfer-syntax=*", AS_STORED):
        started = time.monotonic()
        answer = own_client.pool.request(
            "GET",
            own_client.web + path_of(read(content)),
            headers={"Authorization": f"Bearer {own_client.token}", "Accept": accept},
            preload_content=False,
        )
        received = b""
        for block in answer.stream(1000):
            received += block
            # It may be slower, but never faster.
            assert len(received) <= rate * (time.monotonic() - started)
        assert content in received


def test_uploads_at_a_pace(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(bandwidth=50_000)
    content = make_dicom(pixels=bytes(20_000))
    started = time.monotonic()
    assert own_client.store(content).status == 200
    assert time.monotonic() - started >= len(content) / 50_000


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


def uids(client: Client, path: str = "/instances", **query: str) -> set[str]:
    tag = {"/studies": "0020000D", "/series": "0020000E"}.get(path, "00080018")
    return {match[tag]["Value"][0] for match in client.search(path, **query)}


def test_searches_that_lag(emulator: Emulator, own_client: Client, clock: Clock) -> None:
    before, after = make_dicom(), make_dicom()
    first, second = (read(content) for content in (before, after))
    own_client.store(before)
    emulator.fault_settings.change(searchLag=30)
    assert uids(own_client) == {first.SOPInstanceUID}
    own_client.store(after)
    clock.offset += 20
    assert own_client.request("DELETE", path_of(first)).status == 200
    assert own_client.get(path_of(second)).status == 200
    assert own_client.get(path_of(first)).status == 403
    assert uids(own_client, "/studies") == {first.StudyInstanceUID}
    assert uids(own_client, "/series") == {first.SeriesInstanceUID}
    assert uids(own_client, includefield="all") == {first.SOPInstanceUID}
    clock.offset += 15
    assert uids(own_client) == {first.SOPInstanceUID, second.SOPInstanceUID}
    assert uids(own_client, "/studies", PatientID="4711", StudyDate="20200229") == {
        first.StudyInstanceUID,
        second.StudyInstanceUID,
    }
    clock.offset += 20
    assert uids(own_client) == {second.SOPInstanceUID}


def test_searches_that_lag_no_more(emulator: Emulator, own_client: Client) -> None:
    for _ in range(2):
        emulator.fault_settings.change(searchLag=3600)
        known = uids(own_client)
        content = make_dicom()
        own_client.store(content)
        assert uids(own_client) == known
        emulator.fault_settings.change(searchLag=0)
        assert uids(own_client) == known | {read(content).SOPInstanceUID}


def test_changes_that_wait_are_limited(
    emulator: Emulator, own_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_lag, "MAX_PENDING", 2)
    emulator.fault_settings.change(searchLag=3600)
    files = [make_dicom() for _ in range(3)]
    own_client.store(*files)
    assert uids(own_client) == {read(files[0]).SOPInstanceUID}


def test_operations_that_fail(emulator: Emulator, own_client: Client) -> None:
    content = make_dicom()
    own_client.store(content)
    emulator.fault_settings.change(operationFailure=14)
    study = f"/studies/{read(content).StudyInstanceUID}"
    name = own_client.request("DELETE", study).json()["name"]
    operation = own_client.request("GET", f"{own_client.url}/v1/{name}").json()
    assert operation["done"] is True
    assert operation["error"]["code"] == 14
    assert operation["metadata"]["counter"] == {"failure": "1"}
    assert "response" not in operation
    assert own_client.get(study).status == 200


def test_what_missing_resources_are(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(missingResource=404)
    answer = own_client.get("/studies/1.2.3")
    assert (answer.status, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert "studies/1.2.3" in answer.json()["error"]["message"]
    read_permission = "healthcare.dicomStores.dicomWebRead"
    emulator.fault_settings.change(deniedPermissions=[read_permission])
    assert own_client.get("/studies/1.2.3").status == 403


def test_what_empty_searches_are(emulator: Emulator, own_client: Client) -> None:
    emulator.fault_settings.change(emptyQido=200)
    answer = own_client.get("/studies")
    assert (answer.status, json.loads(answer.data)) == (200, [])
    xml = own_client.get("/studies", 'multipart/related; type="application/dicom+xml"')
    assert xml.status == 200
    boundary = xml.headers["content-type"].partition("boundary=")[2]
    assert xml.data == f"\r\n--{boundary}--\r\n".encode()


def test_what_duplicates_are(emulator: Emulator, own_client: Client) -> None:
    content = make_dicom()
    assert own_client.store(content).status == 200
    emulator.fault_settings.change(duplicates="always-conflict")
    answer = own_client.store(content)
    (failed,) = answer.json()["00081198"]["Value"]
    assert (answer.status, failed["00091097"]["Value"]) == (409, ["already exists"])
    emulator.fault_settings.change(duplicates="identical-ok")
    assert own_client.store(content).status == 200
