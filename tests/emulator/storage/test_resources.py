"""Datasets, DICOM stores and policies, as they are kept."""

from __future__ import annotations

import pytest

from orthanc_gcp.emulator.resource_names import DatasetName, LocationName
from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.operation_tables import OperationTables
from orthanc_gcp.emulator.storage.resources import Resources

LOCATION = LocationName("p", "l")
DATASET = LOCATION.dataset("d")
STORE = DATASET.store("s")


@pytest.fixture
def resources(database: Database) -> Resources:
    return Resources(database)


def create(resources: Resources, *names: str) -> None:
    for name in names:
        dataset = DATASET.store(name)
        assert resources.create_store(dataset, {"name": name})


def test_a_dataset_is_created_once(resources: Resources) -> None:
    assert not resources.has_dataset(DATASET)
    assert resources.create_dataset(DATASET, {"timeZone": "UTC"})
    assert not resources.create_dataset(DATASET, {})
    assert resources.dataset_body(DATASET) == {"timeZone": "UTC"}
    resources.put_dataset_body(DATASET, {})
    assert resources.dataset_body(DATASET) == {}


def test_datasets_of_a_location_and_of_a_project(resources: Resources) -> None:
    for project, location, dataset in (
        ("p", "l", "b"),
        ("p", "l", "a"),
        ("p", "l2", "c"),
        ("p2", "l", "d"),
    ):
        resources.create_dataset(DatasetName(project, location, dataset), {"name": dataset})

    def found(parent: LocationName, after: str = "") -> list[str]:
        return [body["name"] for body in resources.datasets(parent, after)]

    assert found(LOCATION) == ["a", "b"]
    assert found(LOCATION, after=str(LOCATION.dataset("a"))) == ["b"]
    assert found(LocationName("p")) == ["a", "b", "c"]


def test_a_store_takes_a_dataset(resources: Resources) -> None:
    assert not resources.create_store(STORE, {})
    resources.create_dataset(DATASET, {})
    assert resources.create_store(STORE, {"labels": {}})
    assert not resources.create_store(STORE, {})
    assert resources.store_body(STORE) == {"labels": {}}
    resources.put_store_body(STORE, {"name": "s"})
    assert resources.store_body(STORE) == {"name": "s"}


def test_stores_are_listed_by_name(resources: Resources) -> None:
    resources.create_dataset(DATASET, {})
    create(resources, "b", "a", "c")
    assert [body["name"] for body in resources.list_stores(DATASET)] == ["a", "b", "c"]
    after = str(DATASET.store("a"))
    assert [body["name"] for body in resources.list_stores(DATASET, after)] == ["b", "c"]
    assert [name.rpartition("/")[2] for _, name in resources.all_stores(2)] == ["a", "b"]


def test_the_number_of_a_deleted_store_is_not_used_again(resources: Resources) -> None:
    resources.create_dataset(DATASET, {})
    create(resources, "s")
    first = resources.store_id(STORE)
    assert resources.store_id(STORE) == first
    assert resources.delete_store(STORE) == [first]
    assert resources.delete_store(STORE) == []
    assert resources.store_id(STORE) is None
    assert resources.store_body(STORE) is None
    assert resources.deleted_stores() == [first]
    create(resources, "s")
    assert resources.store_id(STORE) not in (None, first)


def test_a_dataset_takes_its_stores_and_operations_along(
    resources: Resources, database: Database
) -> None:
    other = LOCATION.dataset("other")
    operations = OperationTables(database)
    for dataset in (DATASET, other):
        resources.create_dataset(dataset, {})
        resources.create_store(dataset.store("s"), {})
        operations.begin(f"{dataset}/operations/1", dataset, {}, {})
    rows = [resources.store_id(dataset.store("s")) for dataset in (DATASET, other)]
    assert resources.delete_dataset(DATASET) == rows[:1]
    assert not resources.has_dataset(DATASET)
    assert resources.store_id(STORE) is None
    assert resources.store_id(other.store("s")) == rows[1]
    assert operations.body(f"{DATASET}/operations/1") is None
    assert len(operations.jobs()) == 1


def test_policies(resources: Resources) -> None:
    assert resources.policies() == {}
    resources.put_policy("a", {"etag": "1"})
    resources.put_policy("a", {"etag": "2"})
    resources.put_policy("b", {"etag": "3"})
    resources.put_policy("b", None)
    assert resources.policies() == {"a": {"etag": "2"}}


def test_the_deleted_datasets_that_are_remembered(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orthanc_gcp.emulator.storage.resources._MAX_DELETED", 2)
    names = [LOCATION.dataset(name) for name in "abc"]
    for name in names:
        resources.create_dataset(name, {})
        resources.delete_dataset(name)
    assert [resources.was_deleted(name) for name in names] == [False, True, True]
