"""Operations that take their time: what they show, cancelling, refusals, restarts."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from pydicom.uid import generate_uid

from orthanc_gcp.emulator.healthcare import operations
from orthanc_gcp.emulator.server import Emulator, Options
from orthanc_gcp.emulator.storage.operation_tables import OperationTables
from tests.emulator.client import AS_STORED, STORE, Client, make_dicom, path_of, read
from tests.emulator.conftest import Clock
from tests.emulator.contents import stored_contents
from tests.emulator.processes import running

DATASET = STORE.partition("/dicomStores/")[0]
LONG = 600


def operation(client: Client, name: str) -> dict[str, Any]:
    answer = client.get(f"{client.url}/v1/{name}")
    assert answer.status == 200
    return dict(answer.json())


def ended(client: Client, name: str) -> dict[str, Any]:
    """Poll an operation until it has ended."""
    for _ in range(600):
        found = operation(client, name)
        if found.get("done"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def cancel(client: Client, name: str) -> None:
    answer = client.request("POST", f"{client.url}/v1/{name}:cancel", b"{}")
    assert (answer.status, answer.json()) == (200, {})


def begin_deletion(client: Client, path: str) -> str:
    answer = client.request("DELETE", path)
    assert answer.status == 200
    return str(answer.json()["name"])


@pytest.fixture
def slow(emulator: Emulator, own_client: Client) -> Client:
    """A client of an emulator whose operations do not end by themselves."""
    emulator.fault_settings.change(operationDelay=LONG)
    return own_client


@pytest.fixture
def files(own_client: Client) -> list[bytes]:
    """Two instances of one study, in two series."""
    study = generate_uid()
    files = [make_dicom(StudyInstanceUID=study) for _ in range(2)]
    assert own_client.store(*files).status == 200
    return files


def study_of(content: bytes) -> str:
    return path_of(read(content)).partition("/series")[0]


def series_of(content: bytes) -> str:
    return path_of(read(content)).partition("/instances")[0]


def test_what_has_not_ended_is_not_done(slow: Client, files: list[bytes]) -> None:
    name = begin_deletion(slow, study_of(files[0]))
    found = operation(slow, name)
    metadata = found.pop("metadata")
    assert found == {"name": name}
    assert sorted(metadata) == ["@type", "apiMethodName", "createTime"]
    assert len(slow.search("/instances")) == 2


def test_a_short_delay(emulator: Emulator, own_client: Client, files: list[bytes]) -> None:
    emulator.fault_settings.change(operationDelay=0.2)
    found = ended(own_client, begin_deletion(own_client, study_of(files[0])))
    assert found["metadata"]["counter"] == {"success": "2"}
    times = [
        datetime.fromisoformat(found["metadata"][f"{which}Time"]) for which in ("create", "end")
    ]
    assert (times[1] - times[0]).total_seconds() >= 0.2
    assert own_client.search("/instances") == []


def test_nothing_enters_a_study_that_is_being_deleted(slow: Client, files: list[bytes]) -> None:
    name = begin_deletion(slow, study_of(files[0]))
    sibling = make_dicom(StudyInstanceUID=read(files[0]).StudyInstanceUID)
    other = make_dicom()
    refused = slow.store(sibling, files[0], other)
    assert refused.status == 409
    answer = refused.json()
    assert [item["00091097"]["Value"] for item in answer["00081198"]["Value"]] == [
        ["the study or series is being deleted"]
    ] * 2
    assert len(answer["00081199"]["Value"]) == 1
    cancel(slow, name)
    assert ended(slow, name)["error"]["code"] == 1
    assert slow.store(sibling).status == 200


def test_nothing_enters_a_series_that_is_being_deleted(slow: Client, files: list[bytes]) -> None:
    begin_deletion(slow, series_of(files[0]))
    same = {"StudyInstanceUID": read(files[0]).StudyInstanceUID}
    series = read(files[0]).SeriesInstanceUID
    assert slow.store(make_dicom(SeriesInstanceUID=series, **same)).status == 409
    assert slow.store(make_dicom(**same)).status == 200


def test_two_deletions_of_one_study(slow: Client, files: list[bytes]) -> None:
    first, second = (begin_deletion(slow, study_of(files[0])) for _ in range(2))
    sibling = make_dicom(StudyInstanceUID=read(files[0]).StudyInstanceUID)
    cancel(slow, first)
    ended(slow, first)
    assert slow.store(sibling).status == 409
    cancel(slow, second)
    ended(slow, second)
    assert slow.store(sibling).status == 200


def test_cancelling(slow: Client, files: list[bytes]) -> None:
    name = begin_deletion(slow, study_of(files[0]))
    cancel(slow, name)
    found = ended(slow, name)
    assert found["metadata"]["cancelRequested"] is True
    assert found["error"] == {"code": 1, "message": "The operation was cancelled."}
    assert "response" not in found
    assert len(slow.search("/instances")) == 2


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 2),
        ("done=true", 1),
        ("done = false", 1),
        ("NOT done=true", 1),
        ("metadata.apiMethodName:DeleteSeries", 1),
        ('metadata.apiMethodName:"Delete" AND done=false', 1),
        ("metadata.apiMethodName:DeleteSeries OR metadata.apiMethodName:DeleteStudy", 2),
        ("metadata.apiMethodName:Import", 0),
        ('metadata.createTime > "2020-01-01"', 2),
        ("error.code != 1", 0),
        ("error.code:*", 1),
    ],
)
def test_lists_with_a_filter(slow: Client, files: list[bytes], text: str, count: int) -> None:
    begin_deletion(slow, study_of(files[0]))
    name = begin_deletion(slow, series_of(files[0]))
    cancel(slow, name)
    ended(slow, name)
    url = f"{slow.url}/v1/{DATASET}/operations"
    found: list[Any] = []
    page: dict[str, Any] = {"nextPageToken": ""}
    while "nextPageToken" in page:
        query = {"filter": text, "pageSize": "1", "pageToken": page["nextPageToken"]}
        page = slow.get(url, **query).json()
        found += page.get("operations", [])
    assert len(found) == count


def test_a_month_after_its_end_an_operation_is_forgotten(
    own_client: Client, files: list[bytes], clock: Clock
) -> None:
    name = begin_deletion(own_client, study_of(files[0]))
    assert operation(own_client, name)["done"] is True
    clock.offset = operations.RETENTION + 60
    client = own_client.as_owner()
    assert client.get(f"{client.url}/v1/{name}").status == 404
    assert client.get(f"{client.url}/v1/{DATASET}/operations").json() == {}


def test_what_is_forgotten_leaves_the_disk(tmp_path: Path, clock: Clock, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    content = make_dicom()
    with Emulator(options, clock) as running_one:
        client = Client(running_one.url, tmp_path)
        client.store(content)
        begin_deletion(client, study_of(content))
        client.pool.clear()
    for offset, left in ((0, 1), (operations.RETENTION + 60, 0)):
        clock.offset = offset
        with Emulator(options, clock):
            pass
        with closing(sqlite3.connect(tmp_path / "index.sqlite")) as sql:
            assert sql.execute("SELECT COUNT(*) FROM operations").fetchone() == (left,)


def test_too_many_operations(
    slow: Client, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MAX_UNFINISHED", 1)
    name = begin_deletion(slow, study_of(files[0]))
    refused = slow.request("DELETE", study_of(files[0]))
    assert (refused.status, refused.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    cancel(slow, name)
    ended(slow, name)
    begin_deletion(slow, study_of(files[0]))


def switch(url: str, **state: Any) -> None:
    answer = urllib3.request("PATCH", f"{url}/emulator/state", json=state)
    assert answer.status == 200


@pytest.mark.parametrize("how", ["kill", "end"])
def test_a_deletion_goes_on_after_a_restart(tmp_path: Path, how: str) -> None:
    content, kept = make_dicom(), make_dicom()
    sibling = make_dicom(StudyInstanceUID=read(content).StudyInstanceUID)
    with running(tmp_path, "--admin") as process:
        client = Client(process.url, tmp_path)
        assert client.store(content, sibling, kept).status == 200
        switch(process.url, operationDelay=LONG)
        name = begin_deletion(client, study_of(content))
        # As if the deletion had got that far.
        assert client.request("DELETE", path_of(read(sibling))).status == 200
        assert client.get(path_of(read(content)), AS_STORED).status == 200
        client.pool.clear()
        getattr(process, how)()
    with running(tmp_path) as process:
        client = Client(process.url, tmp_path)
        found = ended(client, name)
        assert found["metadata"]["counter"] == {"success": "2"}
        assert found["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
        assert client.get(path_of(read(content)), AS_STORED).status == 403
        assert client.get(path_of(read(kept)), AS_STORED).status == 200
        assert client.store(content).status == 200
        client.pool.clear()
    assert len(stored_contents(tmp_path)) == 2


@pytest.mark.parametrize("delay", [0, 0.1])
def test_an_operation_ends_when_the_disk_has_room_again(
    emulator: Emulator,
    own_client: Client,
    files: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    delay: float,
) -> None:
    end, is_full = OperationTables.end, threading.Event()
    is_full.set()

    def end_with_room(tables: OperationTables, name: str, body: dict[str, Any]) -> None:
        if is_full.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        end(tables, name, body)

    monkeypatch.setattr(OperationTables, "end", end_with_room)
    monkeypatch.setattr(operations, "_TRY_AGAIN", 0.01)
    emulator.fault_settings.change(operationDelay=delay)
    name = begin_deletion(own_client, study_of(files[0]))
    while "cannot write the end" not in caplog.text:
        time.sleep(0.05)
    assert "done" not in operation(own_client, name)
    # A restart would delete it again.
    assert own_client.store(files[0]).status == 409
    is_full.clear()
    assert ended(own_client, name)["metadata"]["counter"] == {"success": "2"}
    assert own_client.store(files[0]).status == 200


def test_an_end_that_cannot_be_written_does_not_keep_the_emulator(
    tmp_path: Path, identities: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(identities, tmp_path)
    options = Options(tmp_path, write_credentials=tmp_path)
    content = make_dicom()

    def end(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full, Emulator(options) as emulator:
        full.setattr(OperationTables, "end", end)
        full.setattr(operations, "_TRY_AGAIN", 0.01)
        client = Client(emulator.url, tmp_path)
        client.store(content)
        name = begin_deletion(client, study_of(content))
    client.pool.clear()
    with Emulator(options) as emulator:
        assert "error" not in ended(Client(emulator.url, tmp_path), name)


def test_a_dataset_that_is_deleted_takes_its_operations_along(
    slow: Client, files: list[bytes]
) -> None:
    name = begin_deletion(slow, study_of(files[0]))
    assert slow.request("DELETE", f"{slow.url}/v1/{DATASET}").json() == {}
    assert slow.get(f"{slow.url}/v1/{name}").status == 404


def test_an_operation_shows_the_version_that_began_it(slow: Client, files: list[bytes]) -> None:
    web = slow.web.replace("/v1/", "/v1beta1/")
    started = json.loads(slow.request("DELETE", web + study_of(files[0])).data)
    metadata = operation(slow, started["name"])["metadata"]
    assert metadata["apiMethodName"].startswith("google.cloud.healthcare.v1beta1.dicomweb.")


def test_a_reset_ends_what_goes_on(
    emulator: Emulator, slow: Client, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    name = begin_deletion(slow, study_of(files[0]))
    emulator.reset()
    assert slow.get(f"{slow.url}/v1/{name}").status == 404
    assert slow.store(*files).status == 200
    again = begin_deletion(slow, study_of(files[0]))
    assert ended(slow, again)["metadata"]["counter"] == {"success": "2"}
    assert caplog.records == []
