"""The index: which instances there are, found by their UIDs."""

from __future__ import annotations

import sqlite3

import pytest

from orthanc_gcp.emulator.dicom.reader import BytesSource
from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.index import Index, StudySummary, Totals
from orthanc_gcp.emulator.storage.instances import InstanceChange, StorageClass, StoredFile
from orthanc_gcp.emulator.storage.records import Record, read_record
from tests.emulator.client import make_dicom

STORE = 1


def record(study: str, series: str, instance: str, **attributes: str) -> Record:
    uids = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": instance,
        **attributes,
    }
    return read_record(BytesSource(make_dicom(**uids)))


def file(name: str, size: int = 10) -> StoredFile:
    return StoredFile(name, size, name.encode())


@pytest.fixture
def index(database: Database) -> Index:
    """Two studies; the first has two series."""
    index = Index(database)
    for study, series, instance in (
        ("1", "1.1", "1.1.1"),
        ("1", "1.1", "1.1.2"),
        ("1", "1.2", "1.2.1"),
        ("2", "2.1", "2.1.1"),
    ):
        index.add(STORE, record(study, series, instance), file(instance))
    return index


def names(index: Index, *uids: str) -> list[str]:
    return [instance.file for batch in index.batches(STORE, *uids) for instance in batch]


def test_instances_of_a_study_a_series_and_one(index: Index) -> None:
    assert [found.file for found in index.instances(STORE, "1")] == ["1.1.1", "1.1.2", "1.2.1"]
    assert [found.file for found in index.instances(STORE, "1", "1.1")] == ["1.1.1", "1.1.2"]
    (found,) = index.instances(STORE, "1", "1.1", "1.1.2")
    assert (found.key.instance, found.size, found.sha256) == ("1.1.2", 10, b"1.1.2")
    assert found.transfer_syntax == "1.2.840.10008.1.2.1"
    assert index.instances(STORE + 1, "1") == []
    assert index.instance(STORE, found.key) == found
    assert index.instance(STORE + 1, found.key) is None


def test_batches_follow_each_other(index: Index) -> None:
    sizes = [len(batch) for batch in index.batches(STORE, size=3)]
    assert sizes == [3, 1]
    assert names(index) == ["1.1.1", "1.1.2", "1.2.1", "2.1.1"]
    assert names(index, "1", "1.2") == ["1.2.1"]


def test_a_batch_is_of_what_is_there_when_it_is_asked_for(index: Index) -> None:
    batches = index.batches(STORE, size=2)
    assert [found.file for found in next(batches)] == ["1.1.1", "1.1.2"]
    index.remove(["1.1.1", "1.2.1"])
    assert [found.file for found in next(batches)] == ["2.1.1"]


def test_totals(index: Index) -> None:
    assert index.totals(STORE)[:3] == (2, 3, 4)
    assert index.totals(STORE, "1", "1.1")[:3] == (1, 1, 2)
    assert index.totals(STORE).blob_size == 40
    assert index.totals(STORE, "3") == Totals(0, 0, 0, 0, 0)


def test_the_latest_studies_come_first(index: Index) -> None:
    first, second = index.latest_studies(STORE, 0, 10)
    assert (first.uid, first.series, first.instances) == ("2", 1, 1)
    assert second == StudySummary("1", "Doe^John", "4711", "20200229", "", 2, 3)
    assert index.latest_studies(STORE, 1, 1) == [second]


def test_a_key_is_taken_once(index: Index) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        index.add(STORE, record("1", "1.1", "1.1.1"), file("other"))
    assert not index.has_file("other")
    index.add(STORE + 1, record("1", "1.1", "1.1.1"), file("other"))
    assert index.has_file("other")


def test_what_replaces_an_instance_sets_its_study(index: Index) -> None:
    new = record("1", "1.1", "1.1.1", PatientName="New^Name", Modality="CT")
    index.add(STORE, new, file("new"), replaced="1.1.1")
    assert names(index, "1", "1.1") == ["1.1.2", "new"]
    assert index.latest_studies(STORE, 0, 2)[1].patient_name == "New^Name"


def test_series_and_studies_go_with_their_last_instance(index: Index) -> None:
    index.remove(["1.2.1", "2.1.1"])
    assert index.totals(STORE)[:3] == (1, 1, 2)
    index.remove(["1.1.1", "1.1.2", "unknown"])
    assert index.totals(STORE)[:3] == (0, 0, 0)


def test_storage_classes(index: Index) -> None:
    assert index.storage_class("1.1.1") is None
    cold = StorageClass("COLDLINE", 7.0)
    index.put_storage_class(["1.1.1", "unknown"], cold)
    assert index.storage_class("1.1.1") == cold
    assert index.storage_class("unknown") is None
    index.add(STORE, record("3", "3.1", "3.1.1"), file("new"), storage_class=cold)
    assert index.storage_class("new") == cold


def test_whoever_is_notified_learns_of_every_change(index: Index) -> None:
    changes: list[tuple[str, str, str | None]] = []

    def notify(_sql: sqlite3.Connection, change: InstanceChange) -> None:
        changes.append((change.key.instance, change.storage_class, change.previous_class))

    index.add(STORE, record("3", "3.1", "3.1.1"), file("new"), notify=notify)
    index.put_storage_class(["new", "1.1.1"], StorageClass("ARCHIVE", 1.0), notify)
    index.put_storage_class(["new"], StorageClass("ARCHIVE", 2.0), notify)
    index.remove(["new", "unknown"], notify)
    assert changes == [
        ("3.1.1", "STANDARD", None),
        ("1.1.1", "ARCHIVE", "STANDARD"),
        ("3.1.1", "ARCHIVE", "STANDARD"),
        ("3.1.1", "ARCHIVE", None),
    ]


def test_a_notification_that_fails_takes_the_change_back(index: Index) -> None:
    def fail(_sql: sqlite3.Connection, _change: InstanceChange) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        index.add(STORE, record("3", "3.1", "3.1.1"), file("new"), notify=fail)
    with pytest.raises(LookupError):
        index.remove(["1.1.1"], fail)
    assert not index.has_file("new")
    assert index.has_file("1.1.1")
