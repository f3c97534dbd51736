"""The rows of instances, of their series and of their studies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from orthanc_gcp.emulator.dicom.reader import BytesSource
from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.instances import (
    InstanceChange,
    StorageClass,
    StoredFile,
    changes_of,
    insert,
    remove,
    set_storage_class,
)
from orthanc_gcp.emulator.storage.records import DetachedRecord, Record, read_record
from tests.emulator.client import make_dicom


@pytest.fixture
def sql(database: Database) -> Iterator[sqlite3.Connection]:
    with database.transaction() as connection:
        yield connection


def record(instance: str, series: str = "1.2", **attributes: str) -> Record:
    uids = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": series, "SOPInstanceUID": instance}
    return read_record(BytesSource(make_dicom(**uids, **attributes)))


def add(sql: sqlite3.Connection, new: Record, file: str, replaced: str | None = None) -> None:
    insert(sql, 1, new, StoredFile(file, 3, b"abc"), replaced)


def rows(sql: sqlite3.Connection, table: str, columns: str) -> list[tuple[object, ...]]:
    return sql.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()


def test_instances_share_their_series_and_study(sql: sqlite3.Connection) -> None:
    add(sql, record("1.3"), "a")
    add(sql, record("1.4"), "b")
    add(sql, record("1.3", series="1.5"), "c")
    assert rows(sql, "studies", "uid, patient_id") == [("1.1", "4711")]
    assert rows(sql, "series", "uid, modality") == [("1.2", "OT"), ("1.5", "OT")]
    assert rows(sql, "instances", "uid, file, size, sha256") == [
        ("1.3", "a", 3, b"abc"),
        ("1.4", "b", 3, b"abc"),
        ("1.3", "c", 3, b"abc"),
    ]


def test_the_first_instance_describes_a_study_unless_it_is_replaced(
    sql: sqlite3.Connection,
) -> None:
    add(sql, record("1.3", PatientID="first"), "a")
    add(sql, record("1.4", PatientID="second", Modality="CT"), "b")
    assert rows(sql, "studies", "patient_id") == [("first",)]
    add(sql, record("1.4", PatientID="third", Modality="CT"), "c", replaced="b")
    assert rows(sql, "studies", "patient_id") == [("third",)]
    assert rows(sql, "series", "modality") == [("CT",)]
    assert rows(sql, "instances", "file") == [("a",), ("c",)]


def test_a_record_without_its_file_gives_the_same_row(sql: sqlite3.Connection) -> None:
    add(sql, record("1.3"), "a")
    insert(sql, 2, DetachedRecord.of(record("1.3")), StoredFile("b", 3, b"abc"))
    columns = "uid, sop_class, transfer_syntax, size, sha256, attributes"
    first, second = rows(sql, "instances", columns)
    assert first == second
    first, second = rows(sql, "studies", "uid, patient_name, study_date, attributes")
    assert first == second


def test_what_is_empty_goes_too(sql: sqlite3.Connection) -> None:
    add(sql, record("1.3"), "a")
    add(sql, record("1.4"), "b")
    add(sql, record("1.5", series="1.6"), "c")
    set_storage_class(sql, ["a"], StorageClass("ARCHIVE", 1.0))
    remove(sql, ["a"])
    assert len(rows(sql, "series", "uid")) == 2
    remove(sql, ["b"])
    assert rows(sql, "series", "uid") == [("1.6",)]
    remove(sql, ["c", "unknown"])
    assert rows(sql, "series", "uid") == rows(sql, "studies", "uid") == []
    assert sql.execute("SELECT * FROM storage_classes").fetchall() == []


def test_changes_are_in_the_order_of_arrival(sql: sqlite3.Connection) -> None:
    first, second = record("1.9"), record("1.3", Modality="CT", series="1.7")
    add(sql, first, "b")
    add(sql, second, "a")
    set_storage_class(sql, ["a", "unknown"], StorageClass("NEARLINE", 1.0))
    assert changes_of(sql, ["a", "b", "unknown"]) == [
        InstanceChange(first.key, "OT", "STANDARD"),
        InstanceChange(second.key, "CT", "NEARLINE"),
    ]
