"""The index of what is stored: SQLite, one row per dataset, store, study, series, instance.

The index decides what exists. A row is committed before its instance is acknowledged, and the
write-ahead log survives the death of the process.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orthanc_gcp.emulator.dicom.person_names import fuzzy_match
from orthanc_gcp.emulator.dicom.search_attributes import INSTANCE, SERIES, STUDY
from orthanc_gcp.emulator.resource_names import DatasetName, LocationName, StoreName
from orthanc_gcp.emulator.storage import message_tables
from orthanc_gcp.emulator.storage.records import Entry, InstanceKey, Record

__all__ = [
    "STANDARD",
    "Index",
    "InstanceChange",
    "Notify",
    "StorageClass",
    "StoredInstance",
    "StudySummary",
    "Totals",
    "mark_changed",
]

STANDARD = "STANDARD"
"""The storage class of what was stored without one."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS datasets (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stores (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dataset TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS studies (
    id INTEGER PRIMARY KEY, store INTEGER NOT NULL REFERENCES stores, uid TEXT NOT NULL,
    patient_name TEXT NOT NULL, patient_id TEXT NOT NULL, accession_number TEXT NOT NULL,
    referring_physician TEXT NOT NULL, study_date TEXT NOT NULL, attributes TEXT NOT NULL,
    UNIQUE (store, uid));
CREATE INDEX IF NOT EXISTS studies_by_patient ON studies (store, patient_id);
CREATE INDEX IF NOT EXISTS studies_by_accession ON studies (store, accession_number);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, study INTEGER NOT NULL REFERENCES studies, uid TEXT NOT NULL,
    modality TEXT NOT NULL, attributes TEXT NOT NULL, UNIQUE (study, uid));
CREATE INDEX IF NOT EXISTS series_by_uid ON series (uid);
CREATE TABLE IF NOT EXISTS instances (
    id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series, uid TEXT NOT NULL,
    sop_class TEXT NOT NULL, transfer_syntax TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 BLOB NOT NULL, file TEXT NOT NULL UNIQUE, attributes TEXT NOT NULL,
    UNIQUE (series, uid));
CREATE INDEX IF NOT EXISTS instances_by_uid ON instances (uid);
CREATE TABLE IF NOT EXISTS storage_classes (
    file TEXT PRIMARY KEY, name TEXT NOT NULL, updated REAL NOT NULL);
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, dataset TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (operation TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS changed (
    operation TEXT NOT NULL, instance TEXT NOT NULL, PRIMARY KEY (operation, instance))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policies (name TEXT PRIMARY KEY, body TEXT NOT NULL);
INSERT OR IGNORE INTO datasets
    SELECT DISTINCT dataset, json_object('name', dataset) FROM stores WHERE dataset != '';
"""
_TAKE_NAME = "UPDATE stores SET name = 'deleted/' || id, dataset = ''"
_JOINED = """
FROM studies JOIN series ON series.study = studies.id
JOIN instances ON instances.series = series.id"""
_FROM_INSTANCES = f"{_JOINED} WHERE studies.store = ?"
_SELECT_CHANGES = f"""
SELECT studies.uid, series.uid, instances.uid, series.modality,
    COALESCE(storage_classes.name, '{STANDARD}') {_JOINED}
LEFT JOIN storage_classes ON storage_classes.file = instances.file WHERE """
_SELECT_INSTANCES = f"""
SELECT studies.uid, series.uid, instances.uid, instances.transfer_syntax,
    instances.size, instances.sha256, instances.file, instances.id {_FROM_INSTANCES}"""
_SELECT_ALL_INSTANCES = _SELECT_INSTANCES.replace(
    _FROM_INSTANCES,
    """
FROM instances CROSS JOIN series ON instances.series = series.id
CROSS JOIN studies ON series.study = studies.id
WHERE studies.store = ?""",
)
"""The same in the order of the rows: no sorting of a whole store for each batch."""
_SELECT_TOTALS = f"""
SELECT COUNT(DISTINCT studies.id), COUNT(DISTINCT series.id), COUNT(*),
    COALESCE(SUM(LENGTH(instances.attributes)), 0), COALESCE(SUM(instances.size), 0)
    {_FROM_INSTANCES}"""

_SELECT_SUMMARIES = """
SELECT uid, patient_name, patient_id, study_date, accession_number,
    (SELECT COUNT(*) FROM series WHERE study = studies.id),
    (SELECT COUNT(*) FROM series JOIN instances ON series = series.id WHERE study = studies.id)
FROM studies WHERE store = ? ORDER BY id DESC LIMIT ? OFFSET ?"""


@dataclass(frozen=True)
class StoredInstance:
    """An instance that is in a store; ``file`` is the name of its file."""

    key: InstanceKey
    transfer_syntax: str
    size: int
    sha256: bytes
    file: str


class StudySummary(NamedTuple):
    """A study as a list for people shows it."""

    uid: str
    patient_name: str
    patient_id: str
    study_date: str
    accession_number: str
    series: int
    instances: int


class StorageClass(NamedTuple):
    """In which storage class an instance is, and since when."""

    name: str
    updated: float


class InstanceChange(NamedTuple):
    """An instance that comes, changes or goes; ``previous_class`` if its storage class changes."""

    key: InstanceKey
    modality: str
    storage_class: str
    previous_class: str | None = None


Notify = Callable[[sqlite3.Connection, InstanceChange], None]
"""Tells of an instance, in the transaction that changes it."""


class Totals(NamedTuple):
    """How much there is: numbers, and bytes in the index and in files."""

    studies: int
    series: int
    instances: int
    structured_size: int
    blob_size: int


class Index:
    """All tables. One writer at a time; each thread reads through its own connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._lock = threading.Lock()
        self._writer = self._connect()
        self._writer.executescript(_SCHEMA + message_tables.SCHEMA)
        self._store_ids: dict[StoreName, int] = {}

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    # Datasets

    def create_dataset(self, name: DatasetName, body: dict[str, Any]) -> bool:
        """Add a dataset; tell whether it is new."""
        with self.transaction() as sql:
            row = (str(name), json.dumps(body))
            return sql.execute("INSERT OR IGNORE INTO datasets VALUES (?, ?)", row).rowcount > 0

    def dataset_body(self, name: DatasetName) -> dict[str, Any] | None:
        row = self.read("SELECT body FROM datasets WHERE name = ?", (str(name),)).fetchone()
        return None if row is None else _json_object(row[0])

    def has_dataset(self, name: DatasetName) -> bool:
        return self.dataset_body(name) is not None

    def put_dataset_body(self, name: DatasetName, body: dict[str, Any]) -> None:
        with self.transaction() as sql:
            row = (json.dumps(body), str(name))
            sql.execute("UPDATE datasets SET body = ? WHERE name = ?", row)

    def datasets(self, place: LocationName, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield the datasets of a location or project by name, those after a name."""
        prefix = f"{place}/datasets/" if place.location else f"{place}/locations/"
        rows = self.read(
            "SELECT body FROM datasets WHERE name > ? AND name < ? ORDER BY name",
            (max(prefix, after), prefix[:-1] + "0"),  # "0" is what follows "/"
        )
        return (_json_object(body) for (body,) in rows)

    def delete_dataset(self, name: DatasetName) -> list[int]:
        """Take away a dataset with its operations and the names of its stores; return their rows.

        The rows stay, so that their numbers are not used again.
        """
        with self.transaction() as sql:
            for table in ("jobs", "changed"):
                sql.execute(
                    f"DELETE FROM {table} WHERE operation IN"  # noqa: S608
                    " (SELECT name FROM operations WHERE dataset = ?)",
                    (str(name),),
                )
            for table, column in (("operations", "dataset"), ("datasets", "name")):
                sql.execute(f"DELETE FROM {table} WHERE {column} = ?", (str(name),))  # noqa: S608
            rows = sql.execute(f"{_TAKE_NAME} WHERE dataset = ? RETURNING id", (str(name),))
            self._store_ids = {
                store: row for store, row in self._store_ids.items() if store.parent != name
            }
            return [int(row) for (row,) in rows]

    # Stores

    def create_store(self, name: StoreName, body: dict[str, Any]) -> bool:
        """Add a store to a dataset that there is; tell whether it is new."""
        with self.transaction() as sql:
            done = sql.execute(
                "INSERT OR IGNORE INTO stores (name, dataset, body)"
                " SELECT ?, name, ? FROM datasets WHERE name = ?",
                (str(name), json.dumps(body), str(name.parent)),
            )
            return done.rowcount > 0

    def store_id(self, name: StoreName) -> int | None:
        known = self._store_ids.get(name)
        if known is not None:
            return known
        # Under the lock, so that a store that is being deleted does not come back.
        with self._lock:
            row = self.read("SELECT id FROM stores WHERE name = ?", (str(name),)).fetchone()
            if row is None:
                return None
            return self._store_ids.setdefault(name, int(row[0]))

    def put_store_body(self, name: StoreName, body: dict[str, Any]) -> None:
        with self.transaction() as sql:
            sql.execute("UPDATE stores SET body = ? WHERE name = ?", (json.dumps(body), str(name)))

    def delete_store(self, name: StoreName) -> list[int]:
        """Take a store's name away; return its row, if there was one.

        The row stays, so that its number is not used again.
        """
        with self.transaction() as sql:
            rows = sql.execute(f"{_TAKE_NAME} WHERE name = ? RETURNING id", (str(name),))
            self._store_ids.pop(name, None)
            return [int(row) for (row,) in rows]

    def deleted_stores(self) -> list[int]:
        """Return the rows of the stores that are deleted."""
        found = self.read("SELECT id FROM stores WHERE dataset = ''")
        return [int(row) for (row,) in found]

    def store_body(self, name: StoreName) -> dict[str, Any] | None:
        row = self.read("SELECT body FROM stores WHERE name = ?", (str(name),)).fetchone()
        return None if row is None else _json_object(row[0])

    def list_stores(self, dataset: DatasetName, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield the stores of a dataset by name, those after a name."""
        rows = self.read(
            "SELECT body FROM stores WHERE dataset = ? AND name > ? ORDER BY name",
            (str(dataset), after),
        )
        return (_json_object(body) for (body,) in rows)

    def all_stores(self, limit: int) -> list[tuple[int, str]]:
        """Return the rows and names of stores of every dataset, by name."""
        rows = self.read(
            "SELECT id, name FROM stores WHERE dataset != '' ORDER BY name LIMIT ?", (limit,)
        )
        return [(int(row), str(name)) for row, name in rows]

    # Instances

    def add(
        self,
        store: int,
        record: Record | Entry,
        size: int,
        sha256: bytes,
        file: str,
        replaced: str | None = None,
        storage_class: StorageClass | None = None,
        notify: Notify | None = None,
    ) -> None:
        """Add an instance; raise :class:`sqlite3.IntegrityError` when its key is taken.

        The instance in the file ``replaced`` is removed with it, and its study and series get the
        attributes of the new one.
        """
        with self.transaction() as sql:
            if replaced is not None:
                _remove(sql, [replaced])
            study = _study_row(sql, store, record)
            series = _series_row(sql, study, record)
            if replaced is not None:
                _refresh(sql, study, series, record)
            sql.execute(
                "INSERT INTO instances (series, uid, sop_class, transfer_syntax, size, sha256,"
                " file, attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    series,
                    record.key.instance,
                    record.sop_class,
                    record.transfer_syntax,
                    size,
                    sha256,
                    file,
                    record.attributes(INSTANCE),
                ),
            )
            if storage_class is not None:
                _put_storage_class(sql, [file], storage_class)
            if notify is not None:
                name = STANDARD if storage_class is None else storage_class.name
                notify(sql, InstanceChange(record.key, record.modality, name))

    def instances(
        self, store: int, study: str, series: str | None = None, instance: str | None = None
    ) -> list[StoredInstance]:
        """Return the instances of a study, of a series, or one, in the order of their arrival."""
        return self._instances(store, study, series, instance)

    def latest_studies(self, store: int, offset: int, limit: int) -> list[StudySummary]:
        """Return studies of a store, those that came last first."""
        rows = self.read(_SELECT_SUMMARIES, (store, limit, offset))
        return [StudySummary(*row) for row in rows]

    def batches(
        self, store: int, *uids: str | None, size: int = 100
    ) -> Iterator[list[StoredInstance]]:
        """Yield the instances of a store, or under UIDs, some at a time, as each is asked for."""
        condition, values = _under(uids)
        select = _SELECT_INSTANCES if values else _SELECT_ALL_INSTANCES
        query = f"{select}{condition} AND instances.id > ? ORDER BY instances.id LIMIT ?"
        last = 0
        while rows := self.read(query, [store, *values, last, size]).fetchall():
            last = rows[-1][-1]
            yield [_stored(row) for row in rows]

    def totals(self, store: int, *uids: str | None) -> Totals:
        """Return how much is in a store, or under the UIDs of a study, a series, an instance."""
        condition, values = _under(uids)
        return Totals(*self.read(_SELECT_TOTALS + condition, [store, *values]).fetchone())

    def _instances(self, store: int, *uids: str | None) -> list[StoredInstance]:
        condition, values = _under(uids)
        query = f"{_SELECT_INSTANCES}{condition} ORDER BY instances.id"
        return [_stored(row) for row in self.read(query, [store, *values])]

    def instance(self, store: int, key: InstanceKey) -> StoredInstance | None:
        found = self.instances(store, key.study, key.series, key.instance)
        return found[0] if found else None

    def has_file(self, file: str) -> bool:
        return self.read("SELECT 1 FROM instances WHERE file = ?", (file,)).fetchone() is not None

    def remove(self, files: Sequence[str], notify: Notify | None = None) -> None:
        """Remove instances by their files, and the series and studies that are empty then."""
        with self.transaction() as sql:
            if notify is not None:
                for change in _changes(sql, files):
                    notify(sql, change)
            _remove(sql, files)

    # Storage classes

    def storage_class(self, file: str) -> StorageClass | None:
        """Return the storage class of an instance, unless it has always been the first one."""
        row = self.read("SELECT name, updated FROM storage_classes WHERE file = ?", (file,))
        found = row.fetchone()
        return None if found is None else StorageClass(*found)

    def put_storage_class(
        self, files: Sequence[str], storage_class: StorageClass, notify: Notify | None = None
    ) -> None:
        """Put instances that are still there into a storage class."""
        with self.transaction() as sql:
            changes = _changes(sql, files) if notify is not None else []
            _put_storage_class(sql, files, storage_class)
            for change in changes:
                if notify is not None and change.storage_class != storage_class.name:
                    notify(
                        sql,
                        change._replace(
                            storage_class=storage_class.name, previous_class=change.storage_class
                        ),
                    )

    # Policies

    def policies(self) -> dict[str, dict[str, Any]]:
        """Return every IAM policy by the name of its resource."""
        return {name: _json_object(body) for name, body in self.read("SELECT * FROM policies")}

    def put_policy(self, name: str, body: dict[str, Any] | None) -> None:
        """Set the policy of a resource, or remove it."""
        with self.transaction() as sql:
            sql.execute("DELETE FROM policies WHERE name = ?", (name,))
            if body is not None:
                sql.execute("INSERT INTO policies VALUES (?, ?)", (name, json.dumps(body)))

    # Operations

    def begin_operation(
        self, name: str, dataset: DatasetName, body: dict[str, Any], job: dict[str, Any]
    ) -> None:
        """Add an operation, and what it takes to carry it out, until :meth:`end_operation`."""
        with self.transaction() as sql:
            row = (name, str(dataset), json.dumps(body))
            sql.execute("INSERT INTO operations (name, dataset, body) VALUES (?, ?, ?)", row)
            sql.execute("INSERT INTO jobs VALUES (?, ?)", (name, json.dumps(job)))

    def end_operation(self, name: str, body: dict[str, Any]) -> None:
        with self.transaction() as sql:
            sql.execute("UPDATE operations SET body = ? WHERE name = ?", (json.dumps(body), name))
            sql.execute("DELETE FROM jobs WHERE operation = ?", (name,))
            sql.execute("DELETE FROM changed WHERE operation = ?", (name,))

    def changed(self, operation: str) -> int:
        """Return how many instances an operation that has not ended has changed."""
        row = self.read("SELECT COUNT(*) FROM changed WHERE operation = ?", (operation,))
        return int(row.fetchone()[0])

    def is_changed(self, operation: str, key: InstanceKey) -> bool:
        row = (operation, key.path)
        query = "SELECT 1 FROM changed WHERE operation = ? AND instance = ?"
        return self.read(query, row).fetchone() is not None

    def jobs(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return the operations that have not ended, each with its job."""
        rows = self.read(
            "SELECT operations.body, jobs.body FROM jobs"
            " JOIN operations ON operations.name = jobs.operation ORDER BY jobs.rowid"
        )
        return [(_json_object(body), _json_object(job)) for body, job in rows]

    def forget_operations(self, ended_before: str) -> None:
        """Remove the operations that ended before a moment."""
        with self.transaction() as sql:
            sql.execute(
                "DELETE FROM operations WHERE json_extract(body, '$.metadata.endTime') < ?",
                (ended_before,),
            )

    def operation(self, name: str) -> dict[str, Any] | None:
        row = self.read("SELECT body FROM operations WHERE name = ?", (name,)).fetchone()
        return None if row is None else _json_object(row[0])

    def operations(self, dataset: DatasetName, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield the operations of a dataset by name, those after a name."""
        rows = self.read(
            "SELECT body FROM operations WHERE dataset = ? AND name > ? ORDER BY name",
            (str(dataset), after),
        )
        return (_json_object(body) for (body,) in rows)

    # Connections

    def copy_to(self, path: Path) -> None:
        """Write a copy of the whole index."""
        self.read("VACUUM INTO ?", (str(path),))

    def read(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a query on the calling thread's own connection."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        cursor: sqlite3.Cursor = connection.execute(query, values)
        return cursor

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # The log is in the kernel's hands once written: it survives kill -9, not a power cut.
        connection.execute("PRAGMA synchronous = OFF")
        connection.create_function("fuzzy_match", 2, fuzzy_match, deterministic=True)
        self._connections.append(connection)
        return connection


def _under(uids: Sequence[str | None]) -> tuple[str, list[str]]:
    """Return the condition that limits instances to a study, a series, one; and its values."""
    pairs = zip(("studies", "series", "instances"), uids, strict=False)
    given = [(table, uid) for table, uid in pairs if uid is not None]
    return "".join(f" AND {table}.uid = ?" for table, _ in given), [uid for _, uid in given]


def _stored(row: Sequence[Any]) -> StoredInstance:
    return StoredInstance(InstanceKey(*row[:3]), *row[3:-1])


def _put_storage_class(
    sql: sqlite3.Connection, files: Sequence[str], storage_class: StorageClass
) -> None:
    sql.executemany(
        "INSERT OR REPLACE INTO storage_classes SELECT file, ?, ? FROM instances WHERE file = ?",
        [(*storage_class, file) for file in files],
    )


def mark_changed(sql: sqlite3.Connection, operation: str, key: InstanceKey) -> None:
    """Note, in the transaction that changes an instance, which operation does it."""
    sql.execute(
        "INSERT OR IGNORE INTO changed SELECT operation, ? FROM jobs WHERE operation = ?",
        (key.path, operation),
    )


def _study_row(sql: sqlite3.Connection, store: int, record: Record | Entry) -> int:
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


def _series_row(sql: sqlite3.Connection, study: int, record: Record | Entry) -> int:
    uid = record.key.series
    row = sql.execute("SELECT id FROM series WHERE study = ? AND uid = ?", (study, uid)).fetchone()
    if row is not None:
        return int(row[0])
    done = sql.execute(
        "INSERT INTO series (study, uid, modality, attributes) VALUES (?, ?, ?, ?)",
        (study, uid, record.modality, record.attributes(SERIES)),
    )
    return _new_row(done)


def _refresh(sql: sqlite3.Connection, study: int, series: int, record: Record | Entry) -> None:
    """Set the attributes of a study and a series to those of an instance."""
    sql.execute(
        "UPDATE studies SET attributes = ?, patient_name = ?, patient_id = ?,"
        " accession_number = ?, referring_physician = ?, study_date = ? WHERE id = ?",
        (record.attributes(STUDY), *record.study_keys().values(), study),
    )
    sql.execute(
        "UPDATE series SET attributes = ?, modality = ? WHERE id = ?",
        (record.attributes(SERIES), record.modality, series),
    )


def _among(files: Sequence[str]) -> str:
    return f"instances.file IN ({','.join('?' * len(files))})"


def _changes(sql: sqlite3.Connection, files: Sequence[str]) -> list[InstanceChange]:
    """Return what there is to tell of instances, in the order of their arrival."""
    rows = sql.execute(f"{_SELECT_CHANGES}{_among(files)} ORDER BY instances.id", files).fetchall()
    return [InstanceChange(InstanceKey(*uids), modality, name) for *uids, modality, name in rows]


def _new_row(done: sqlite3.Cursor) -> int:
    if done.lastrowid is None:
        raise sqlite3.DatabaseError("no row was inserted")
    return done.lastrowid


def _remove(sql: sqlite3.Connection, files: Sequence[str]) -> None:
    # Not by their rows: SQLite gives the number of a deleted row to the next one.
    chosen = f"FROM instances WHERE {_among(files)}"
    series = sql.execute(f"SELECT DISTINCT series {chosen}", files).fetchall()
    sql.executemany("DELETE FROM storage_classes WHERE file = ?", [(file,) for file in files])
    sql.execute(f"DELETE {chosen}", files)
    for (row,) in series:
        _prune(sql, row)


def _prune(sql: sqlite3.Connection, series: int) -> None:
    if sql.execute("SELECT 1 FROM instances WHERE series = ? LIMIT 1", (series,)).fetchone():
        return
    (study,) = sql.execute("DELETE FROM series WHERE id = ? RETURNING study", (series,)).fetchone()
    if not sql.execute("SELECT 1 FROM series WHERE study = ? LIMIT 1", (study,)).fetchone():
        sql.execute("DELETE FROM studies WHERE id = ?", (study,))


def _json_object(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    return value
