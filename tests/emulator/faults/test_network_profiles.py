"""Network profiles: how fast the store is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings, SettingError
from orthanc_gcp.emulator.faults.network_profiles import GOOGLE, PACE, network_settings
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import AS_STORED, Client, make_dicom, read, split
from tests.emulator.faults.first_values import FIRST


def test_what_a_profile_does_not_name_is_as_at_first() -> None:
    assert {name: FIRST[name] for name in PACE} == PACE
    assert network_settings(None) == network_settings({}) == PACE
    assert network_settings({"latency": 1}) == {**PACE, "latency": 1}
    assert network_settings("google") == {**PACE, **GOOGLE}


@pytest.mark.parametrize("value", ["", "Google", 1, True, ["latency"], {"searchLag": 1}])
def test_what_is_no_profile(value: Any) -> None:
    with pytest.raises(ValueError, match='is "google" or an object of latency, bandwidth, inst'):
        network_settings(value)


def test_it_is_a_short_form_of_four_settings() -> None:
    settings = FaultSettings({"network": "google", "latency": 0.3})
    changed = {**FIRST, **GOOGLE, "latency": 0.3}
    assert settings.as_json() == changed
    settings.change(network=None, emptyQido=200)
    assert settings.as_json() == {**FIRST, "emptyQido": 200}
    settings.change(**json.loads(json.dumps(changed)))
    assert settings.as_json() == changed
    settings.change(network={"bandwidth": 5})
    assert settings.as_json() == {**FIRST, "bandwidth": 5}
    for wrong in ("fast", {"latency": "1"}, {"quota": 5}, {"bandwidth": 0}):
        with pytest.raises(SettingError):
            settings.change(network=wrong, emptyQido=200)
    assert settings.as_json() == {**FIRST, "bandwidth": 5}
    settings.reset()
    assert settings.as_json() == changed


def test_further_instances_take_longer(emulator: Emulator, own_client: Client) -> None:
    first = make_dicom()
    same = {"StudyInstanceUID": read(first).StudyInstanceUID}
    files = [first, *(make_dicom(**same) for _ in range(3))]

    def seconds(action: Any) -> float:
        started = time.monotonic()
        answer = action()
        assert answer.status == 200, answer.data
        return time.monotonic() - started

    emulator.fault_settings.change(instanceLatency=1000)
    assert own_client.store(first).status == 200
    path = f"/studies/{same['StudyInstanceUID']}"
    assert len(split(own_client.get(path, AS_STORED))) == 1
    emulator.fault_settings.change(instanceLatency=0.1, duplicates="identical-ok")
    assert seconds(lambda: own_client.store(*files)) >= 0.3
    assert seconds(lambda: own_client.get(path, AS_STORED)) >= 0.3
