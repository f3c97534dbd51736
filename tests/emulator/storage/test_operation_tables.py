"""Operations on disk, with what it takes to go on with them."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.resource_names import DatasetName
from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.operation_tables import OperationTables, mark_changed
from orthanc_gcp.emulator.storage.records import InstanceKey

DATASET = DatasetName("p", "l", "d")
KEY = InstanceKey("1.1", "1.2", "1.3")


@pytest.fixture
def operations(database: Database) -> OperationTables:
    return OperationTables(database)


def ended(moment: str) -> dict[str, object]:
    return {"metadata": {"endTime": moment}, "done": True}


def test_an_operation_has_a_job_until_it_ends(operations: OperationTables) -> None:
    operations.begin("b", DATASET, {"name": "b"}, {"parameters": 1})
    operations.begin("a", DATASET, {"name": "a"}, {"parameters": 2})
    assert operations.jobs() == [
        ({"name": "b"}, {"parameters": 1}),
        ({"name": "a"}, {"parameters": 2}),
    ]
    operations.end("b", {"name": "b", "done": True})
    assert operations.jobs() == [({"name": "a"}, {"parameters": 2})]
    assert operations.body("b") == {"name": "b", "done": True}
    assert operations.body("c") is None


def test_those_of_a_dataset_by_name(operations: OperationTables) -> None:
    for name in ("b", "a", "c"):
        operations.begin(name, DATASET, {"name": name}, {})
    operations.begin("d", DatasetName("p", "l", "other"), {"name": "d"}, {})
    assert [body["name"] for body in operations.of_dataset(DATASET)] == ["a", "b", "c"]
    assert [body["name"] for body in operations.of_dataset(DATASET, "a")] == ["b", "c"]


def test_those_that_ended_before_a_moment_are_forgotten(operations: OperationTables) -> None:
    for name in ("old", "new", "running"):
        operations.begin(name, DATASET, {"name": name, "metadata": {}}, {})
    operations.end("old", ended("2026-01-01T00:00:00Z"))
    operations.end("new", ended("2026-03-01T00:00:00Z"))
    operations.forget("2026-02-01T00:00:00Z")
    assert operations.body("old") is None
    assert operations.body("new") is not None
    assert operations.body("running") is not None


def test_changed_instances_count_until_the_end(
    operations: OperationTables, database: Database
) -> None:
    operations.begin("a", DATASET, {}, {})
    with database.transaction() as sql:
        for operation in ("a", "a", "unknown"):
            mark_changed(sql, operation, KEY)
    assert (operations.changed("a"), operations.changed("unknown")) == (1, 0)
    assert operations.is_changed("a", KEY)
    assert not operations.is_changed("a", InstanceKey("1.1", "1.2", "1.4"))
    operations.end("a", {})
    assert not operations.is_changed("a", KEY)
