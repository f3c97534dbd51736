"""Instances of a store: what the index knows of them, and the SQL that writes their rows.

Each function here writes in a transaction of its caller's. Files are given by their names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orthanc_gcp.emulator.dicom.search_attributes import INSTANCE, SERIES, STUDY
from orthanc_gcp.emulator.storage.records import DetachedRecord, InstanceKey, Record

__all__ = [
    "JOINED",
    "STANDARD",
    "InstanceChange",
    "Notify",
    "StorageClass",
    "StoredFile",
    "StoredInstance",
    "changes_of",
    "insert",
    "remove",
    "set_storage_class",
]

AnyRecord = Record | DetachedRecord

STANDARD = "STANDARD"
"""The storage class of what was stored without one."""

JOINED = """
FROM studies JOIN series ON series.study = studies.id
JOIN instances ON instances.series = series.id"""
"""Every instance with its series and its study."""

_INSERT = """
INSERT INTO instances (series, uid, sop_class, transfer_syntax, size, sha256, file, attributes)
SELECT series.id, ?, ?, ?, ?, ?, ?, ? FROM studies JOIN series ON series.study = studies.id
WHERE studies.store = ? AND studies.uid = ? AND series.uid = ?"""

_SELECT_CHANGES = f"""
SELECT studies.uid, series.uid, instances.uid, series.modality,
    COALESCE(storage_classes.name, '{STANDARD}') {JOINED}
LEFT JOIN storage_classes ON storage_classes.file = instances.file WHERE """


@dataclass(frozen=True)
class StoredInstance:
    """An instance that is in a store; ``size`` is in bytes, ``file`` the name of its file."""

    key: InstanceKey
    transfer_syntax: str
    size: int
    sha256: bytes
    file: str


class StoredFile(NamedTuple):
    """A file by its name, with the size of an instance in bytes and its digest.

    With a ``content``, there is no such file: the database has it.
    """

    name: str
    size: int
    sha256: bytes
    content: bytes | None = None


class StorageClass(NamedTuple):
    """In which storage class an instance is, and since when, in seconds since 1970."""

    name: str
    updated: float


class InstanceChange(NamedTuple):
    """An instance that comes, changes or goes; ``previous_class`` if its storage class changes."""

    key: InstanceKey
    modality: str
    storage_class: str
    previous_class: str | None = None


Notify = Callable[[sqlite3.Connection, InstanceChange], None]
"""Publishes a change of an instance in the transaction that makes it."""


def insert(
    sql: sqlite3.Connection,
    store: int,
    record: AnyRecord,
    file: StoredFile,
    replaced: str | None = None,
) -> None:
    """Add an instance, with the rows of its study and series where they are not there yet.

    The instance in the file ``replaced`` is removed before, and study and series get the attributes
    of the new one. Raises :class:`sqlite3.IntegrityError` when the key of the instance is taken.
    """
    if replaced is not None:
        remove(sql, [replaced])
    key = record.key
    values = (
        *(key.instance, record.sop_class, record.transfer_syntax),
        *(file.size, file.sha256, file.name, record.attributes(INSTANCE)),
        *(store, key.study, key.series),
    )
    done = sql.execute(_INSERT, values)
    if not done.rowcount:
        _series_row(sql, _study_row(sql, store, record), record)
        done = sql.execute(_INSERT, values)
    if file.content is not None:
        sql.execute("INSERT INTO contents VALUES (?, ?)", (_new_row(done), file.content))
    if replaced is not None:
        _refresh(sql, store, record)


def set_storage_class(
    sql: sqlite3.Connection, files: Sequence[str], storage_class: StorageClass
) -> None:
    """Put the instances in some files, those that are still there, into a storage class."""
    sql.executemany(
        "INSERT OR REPLACE INTO storage_classes SELECT file, ?, ? FROM instances WHERE file = ?",
        [(*storage_class, file) for file in files],
    )


def remove(sql: sqlite3.Connection, files: Sequence[str]) -> None:
    """Remove the instances in some files, and the series and studies that are empty then."""
    # Not by their rows: SQLite gives the number of a deleted row to the next one.
    chosen = f"FROM instances WHERE {_among(files)}"
    series = sql.execute(f"SELECT DISTINCT series {chosen}", files).fetchall()
    sql.executemany("DELETE FROM storage_classes WHERE file = ?", [(file,) for file in files])
    rows = f"SELECT id {chosen}"
    sql.execute(f"DELETE FROM contents WHERE instance IN ({rows})", files)  # noqa: S608 - names of the schema, and no values # nosec B608
    sql.execute(f"DELETE {chosen}", files)
    for (row,) in series:
        _prune(sql, row)


def changes_of(sql: sqlite3.Connection, files: Sequence[str]) -> list[InstanceChange]:
    """Return the instances in some files as they are now, in the order of their arrival."""
    rows = sql.execute(f"{_SELECT_CHANGES}{_among(files)} ORDER BY instances.id", files).fetchall()
    return [InstanceChange(InstanceKey(*uids), modality, name) for *uids, modality, name in rows]


def _study_row(sql: sqlite3.Connection, store: int, record: AnyRecord) -> int:
    uid = record.key.study
    row = sql.execute("SELECT id FROM studies WHERE store = ? AND uid = ?", (store, uid)).fetchone()
    if row is not None:
        return int(row[0])
    done = sql.execute(
        "INSERT INTO studies (store, uid, attributes, patient_name, patient_id, accession_number,"
        " referring_physician, study_date) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (store, uid, record.attributes(STUDY), *record.study_keys().values()),
    )
    return _new_row(done)


def _series_row(sql: sqlite3.Connection, study: int, record: AnyRecord) -> int:
    uid = record.key.series
    row = sql.execute("SELECT id FROM series WHERE study = ? AND uid = ?", (study, uid)).fetchone()
    if row is not None:
        return int(row[0])
    done = sql.execute(
        "INSERT INTO series (study, uid, modality, attributes) VALUES (?, ?, ?, ?)",
        (study, uid, record.modality, record.attributes(SERIES)),
    )
    return _new_row(done)


def _refresh(sql: sqlite3.Connection, store: int, record: AnyRecord) -> None:
    """Set the attributes of a study and a series to those of an instance."""
    study, series = _study_row(sql, store, record), record.key.series
    sql.execute(
        "UPDATE studies SET attributes = ?, patient_name = ?, patient_id = ?,"
        " accession_number = ?, referring_physician = ?, study_date = ? WHERE id = ?",
        (record.attributes(STUDY), *record.study_keys().values(), study),
    )
    sql.execute(
        "UPDATE series SET attributes = ?, modality = ? WHERE study = ? AND uid = ?",
        (record.attributes(SERIES), record.modality, study, series),
    )


def _among(files: Sequence[str]) -> str:
    return f"instances.file IN ({','.join('?' * len(files))})"


def _new_row(done: sqlite3.Cursor) -> int:
    if done.lastrowid is None:
        raise sqlite3.DatabaseError("no row was inserted")
    return done.lastrowid


def _prune(sql: sqlite3.Connection, series: int) -> None:
    if sql.execute("SELECT 1 FROM instances WHERE series = ? LIMIT 1", (series,)).fetchone():
        return
    (study,) = sql.execute("DELETE FROM series WHERE id = ? RETURNING study", (series,)).fetchone()
    if not sql.execute("SELECT 1 FROM series WHERE study = ? LIMIT 1", (study,)).fetchone():
        sql.execute("DELETE FROM studies WHERE id = ?", (study,))
