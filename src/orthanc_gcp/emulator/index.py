"""The index of what is stored: SQLite, one row per store, study, series, instance, operation.

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

from orthanc_gcp.emulator import backlog
from orthanc_gcp.emulator.attributes import INSTANCE, SERIES, STUDY
from orthanc_gcp.emulator.names import DatasetName, StoreName
from orthanc_gcp.emulator.person_names import fuzzy_match
from orthanc_gcp.emulator.records import Entry, InstanceKey, Record

__all__ = ["Announce", "Index", "StoredInstance", "Totals"]

_SCHEMA = """
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
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, dataset TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS policies (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
Announce = Callable[[sqlite3.Connection, InstanceKey, str], None]
"""Tells of an instance and its modality, in the transaction that changes it."""

_DELETED_STORE = "deleted/"
_JOINED = """
FROM studies JOIN series ON series.study = studies.id
JOIN instances ON instances.series = series.id"""
_FROM_INSTANCES = f"{_JOINED} WHERE studies.store = ?"
_SELECT_KEYS = f"SELECT studies.uid, series.uid, instances.uid, series.modality {_JOINED} WHERE "
_SELECT_INSTANCES = f"""
SELECT studies.uid, series.uid, instances.uid, instances.transfer_syntax,
    instances.size, instances.sha256, instances.file {_FROM_INSTANCES}"""
_SELECT_TOTALS = f"""
SELECT COUNT(DISTINCT studies.id), COUNT(DISTINCT series.id), COUNT(*),
    COALESCE(SUM(LENGTH(instances.attributes)), 0), COALESCE(SUM(instances.size), 0)
    {_FROM_INSTANCES}"""


@dataclass(frozen=True)
class StoredInstance:
    """An instance that is in a store; ``file`` is the name of its file."""

    key: InstanceKey
    transfer_syntax: str
    size: int
    sha256: bytes
    file: str


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
        self._writer.executescript(_SCHEMA + backlog.SCHEMA)
        self._store_ids: dict[StoreName, int] = {}

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    # Stores

    def create_store(self, name: StoreName, body: dict[str, Any]) -> bool:
        """Add a store; tell whether it is new."""
        with self.transaction() as sql:
            done = sql.execute(
                "INSERT OR IGNORE INTO stores (name, dataset, body) VALUES (?, ?, ?)",
                (str(name), str(name.parent), json.dumps(body)),
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

    def delete_store(self, name: StoreName) -> None:
        """Take a store's name away; its row stays, so that its number is not used again."""
        with self.transaction() as sql:
            sql.execute(
                "UPDATE stores SET name = ? || id, dataset = '' WHERE name = ?",
                (_DELETED_STORE, str(name)),
            )
            self._store_ids.pop(name, None)

    def deleted_stores(self) -> list[int]:
        """Return the rows of the stores that are deleted."""
        found = self.read("SELECT id FROM stores WHERE dataset = ''")
        return [int(row) for (row,) in found]

    def store_body(self, name: StoreName) -> dict[str, Any] | None:
        row = self.read("SELECT body FROM stores WHERE name = ?", (str(name),)).fetchone()
        return None if row is None else _json_object(row[0])

    def list_stores(self, dataset: DatasetName, after: str, limit: int) -> list[dict[str, Any]]:
        """Return stores of a dataset by name, those after a name."""
        rows = self.read(
            "SELECT body FROM stores WHERE dataset = ? AND name > ? ORDER BY name LIMIT ?",
            (str(dataset), after, limit),
        )
        return [_json_object(body) for (body,) in rows]

    def has_dataset(self, dataset: DatasetName) -> bool:
        """Tell whether a dataset exists: it does when it has a store."""
        found = self.read("SELECT 1 FROM stores WHERE dataset = ? LIMIT 1", (str(dataset),))
        return found.fetchone() is not None

    # Instances

    def add(
        self,
        store: int,
        record: Record | Entry,
        size: int,
        sha256: bytes,
        file: str,
        replaced: str | None = None,
        announce: Announce | None = None,
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
            if announce is not None:
                announce(sql, record.key, record.modality)

    def instances(
        self, store: int, study: str, series: str | None = None, instance: str | None = None
    ) -> list[StoredInstance]:
        """Return the instances of a study, of a series, or one, in the order of their arrival."""
        return self._instances(store, study, series, instance)

    def all_instances(self, store: int) -> list[StoredInstance]:
        """Return the instances of a store."""
        return self._instances(store)

    def totals(self, store: int, *uids: str | None) -> Totals:
        """Return how much is in a store, or under the UIDs of a study, a series, an instance."""
        condition, values = _under(uids)
        return Totals(*self.read(_SELECT_TOTALS + condition, [store, *values]).fetchone())

    def _instances(self, store: int, *uids: str | None) -> list[StoredInstance]:
        condition, values = _under(uids)
        query = f"{_SELECT_INSTANCES}{condition} ORDER BY instances.id"
        rows = self.read(query, [store, *values])
        return [StoredInstance(InstanceKey(*row[:3]), *row[3:]) for row in rows]

    def instance(self, store: int, key: InstanceKey) -> StoredInstance | None:
        found = self.instances(store, key.study, key.series, key.instance)
        return found[0] if found else None

    def has_file(self, file: str) -> bool:
        return self.read("SELECT 1 FROM instances WHERE file = ?", (file,)).fetchone() is not None

    def remove(self, files: Sequence[str], announce: Announce | None = None) -> None:
        """Remove instances by their files, and the series and studies that are empty then."""
        with self.transaction() as sql:
            if announce is not None:
                query = f"{_SELECT_KEYS}{_among(files)} ORDER BY instances.id"
                for *uids, modality in sql.execute(query, files).fetchall():
                    announce(sql, InstanceKey(*uids), modality)
            _remove(sql, files)

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

    def put_operation(self, name: str, dataset: DatasetName, body: dict[str, Any]) -> None:
        with self.transaction() as sql:
            sql.execute(
                "INSERT OR REPLACE INTO operations (name, dataset, body) VALUES (?, ?, ?)",
                (name, str(dataset), json.dumps(body)),
            )

    def operation(self, name: str) -> dict[str, Any] | None:
        row = self.read("SELECT body FROM operations WHERE name = ?", (name,)).fetchone()
        return None if row is None else _json_object(row[0])

    def operations(self, dataset: DatasetName, after: str, limit: int) -> list[dict[str, Any]]:
        """Return operations of a dataset by name, those after a name."""
        rows = self.read(
            "SELECT body FROM operations WHERE dataset = ? AND name > ? ORDER BY name LIMIT ?",
            (str(dataset), after, limit),
        )
        return [_json_object(body) for (body,) in rows]

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
    return f"file IN ({','.join('?' * len(files))})"


def _new_row(done: sqlite3.Cursor) -> int:
    if done.lastrowid is None:
        raise sqlite3.DatabaseError("no row was inserted")
    return done.lastrowid


def _remove(sql: sqlite3.Connection, files: Sequence[str]) -> None:
    # Not by their rows: SQLite gives the number of a deleted row to the next one.
    chosen = f"FROM instances WHERE {_among(files)}"
    series = sql.execute(f"SELECT DISTINCT series {chosen}", files).fetchall()
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
