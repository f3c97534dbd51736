"""Searches that find late what was stored."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.server import Emulator
from orthanc_gcp.emulator.storage import search_lag
from tests.emulator.client import Client, make_dicom, path_of, read
from tests.emulator.conftest import Clock


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
