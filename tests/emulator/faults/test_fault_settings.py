"""Fault settings: what they can be, and how they are at first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orthanc_gcp.cli import app
from orthanc_gcp.emulator.faults.fault_settings import SETTINGS, FaultSettings
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import (
    Client,
    make_dicom,
    read,
)
from tests.emulator.faults.connections import (
    statuses,
)
from tests.emulator.faults.first_values import FIRST
from tests.emulator.processes import running
from tests.support.listing import assert_same


def test_every_first_value_is_known() -> None:
    assert_same(
        FIRST,
        SETTINGS,
        page="tests/emulator/faults/first_values.py",
        place="with its first value",
        source="SETTINGS in emulator/faults/fault_settings.py",
    )


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


def test_settings_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"faults": [{"status": 503, "count": 1}], "seed": 3}))
    more = ("--fault", '{"status": 500, "count": 1}', "--fault", '{"status": 504, "count": 1}')
    with running(tmp_path / "data", "--fault-settings", str(path), *more) as process:
        client = Client(process.url, tmp_path / "data")
        assert statuses(client, 4) == [503, 500, 504, 204]
        client.pool.clear()


@pytest.mark.parametrize(
    ("content", "arguments", "complaint"),
    [
        ("[]", (), "a JSON object is expected"),
        ("{", (), "a JSON object is expected"),
        ('{"nothing": 1}', (), "there is no fault setting 'nothing'"),
        ("{}", ("--fault", '{"status": 1}'), "faults has a rule 0"),
        ("{}", ("--fault", "x"), "a JSON object is expected"),
        ('{"faults": 1}', ("--fault", "{}"), "faults is a list of rules"),
    ],
)
def test_settings_that_stop_the_start(
    tmp_path: Path, content: str, arguments: tuple[str, ...], complaint: str
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content)
    options = ("--directory", str(tmp_path / "data"), "--fault-settings", str(path), *arguments)
    done = CliRunner().invoke(app, ["emulator", *options])
    assert done.exit_code == 2
    assert complaint in " ".join(done.output.replace("│", "").split())


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
    answer = own_client.store(content)
    (failed,) = answer.json()["00081198"]["Value"]
    assert (answer.status, failed["00091097"]["Value"]) == (409, ["already exists"])
    emulator.fault_settings.change(duplicates="identical-ok")
    assert own_client.store(content).status == 200
