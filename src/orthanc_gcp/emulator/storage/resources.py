"""Datasets, DICOM stores and their IAM policies, as the Healthcare API shows them.

Source: Healthcare API, REST Resources ``projects.locations.datasets`` and
``projects.locations.datasets.dicomStores``.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from orthanc_gcp.emulator.resource_names import DatasetName, LocationName, StoreName
from orthanc_gcp.emulator.storage.database import Database, json_object

__all__ = ["Resources"]

_MAX_DELETED = 1000
_TAKE_NAME = "UPDATE stores SET name = 'deleted/' || id, dataset = ''"
_NAMED_TABLES = (
    *("datasets", "policies", "operations", "jobs", "changed"),
    *("topics", "subscriptions", "backlog"),
)


class Resources:
    """The resources above studies. A ``body`` is the JSON that Google shows of one.

    Whatever lists resources yields them by name, those after the name ``after``, which is what
    pages need (AIP-158).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._store_ids: dict[StoreName, int] = {}
        self._store_bodies: dict[StoreName, str] = {}
        self._deleted: OrderedDict[DatasetName, None] = OrderedDict()
        self._lock = threading.Lock()

    # Datasets

    def create_dataset(self, name: DatasetName, body: dict[str, Any]) -> bool:
        """Add a dataset; return whether it is new."""
        with self._database.transaction() as sql:
            row = (str(name), json.dumps(body))
            return sql.execute("INSERT OR IGNORE INTO datasets VALUES (?, ?)", row).rowcount > 0

    def dataset_body(self, name: DatasetName) -> dict[str, Any] | None:
        rows = self._database.read("SELECT body FROM datasets WHERE name = ?", (str(name),))
        row = rows.fetchone()
        return None if row is None else json_object(row[0])

    def has_dataset(self, name: DatasetName) -> bool:
        return self.dataset_body(name) is not None

    def was_deleted(self, name: DatasetName) -> bool:
        """Return whether a dataset is among the latest 1000 that were deleted since the start."""
        return name in self._deleted

    def put_dataset_body(self, name: DatasetName, body: dict[str, Any]) -> None:
        with self._database.transaction() as sql:
            row = (json.dumps(body), str(name))
            sql.execute("UPDATE datasets SET body = ? WHERE name = ?", row)

    def datasets(self, parent: LocationName, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield the datasets of a location, or of a project."""
        prefix = f"{parent}/datasets/" if parent.location else f"{parent}/locations/"
        rows = self._database.read(
            "SELECT body FROM datasets WHERE name > ? AND name < ? ORDER BY name",
            (max(prefix, after), prefix[:-1] + "0"),  # "0" is what follows "/"
        )
        return (json_object(body) for (body,) in rows)

    def delete_dataset(self, name: DatasetName) -> list[int]:
        """Delete a dataset with its operations and the names of its stores; return their rows."""
        with self._lock, self._database.transaction() as sql:
            for table in ("jobs", "changed"):
                sql.execute(
                    f"DELETE FROM {table} WHERE operation IN"  # noqa: S608 - names of the schema, and no values # nosec B608
                    " (SELECT name FROM operations WHERE dataset = ?)",
                    (str(name),),
                )
            for table, column in (("operations", "dataset"), ("datasets", "name")):
                sql.execute(f"DELETE FROM {table} WHERE {column} = ?", (str(name),))  # noqa: S608 - names of the schema, and no values # nosec B608
            self._deleted[name] = None
            if len(self._deleted) > _MAX_DELETED:
                self._deleted.popitem(last=False)
            rows = sql.execute(f"{_TAKE_NAME} WHERE dataset = ? RETURNING id", (str(name),))
            for known in (self._store_ids, self._store_bodies):
                for store in [store for store in known if store.parent == name]:
                    del known[store]
            return [int(row) for (row,) in rows]

    # DICOM stores

    def create_store(self, name: StoreName, body: dict[str, Any]) -> bool:
        """Add a store to a dataset that there is; return whether it is new."""
        with self._database.transaction() as sql:
            done = sql.execute(
                "INSERT OR IGNORE INTO stores (name, dataset, body)"
                " SELECT ?, name, ? FROM datasets WHERE name = ?",
                (str(name), json.dumps(body), str(name.parent)),
            )
            return done.rowcount > 0

    def store_id(self, name: StoreName) -> int | None:
        """Return the row of a store, if there is such a store."""
        known = self._store_ids.get(name)
        if known is not None:
            return known
        # Under the lock, so that a store that is being deleted does not come back.
        with self._lock:
            rows = self._database.read("SELECT id FROM stores WHERE name = ?", (str(name),))
            row = rows.fetchone()
            if row is None:
                return None
            return self._store_ids.setdefault(name, int(row[0]))

    def put_store_body(self, name: StoreName, body: dict[str, Any]) -> None:
        with self._lock, self._database.transaction() as sql:
            self._store_bodies.pop(name, None)
            sql.execute("UPDATE stores SET body = ? WHERE name = ?", (json.dumps(body), str(name)))

    def delete_store(self, name: StoreName) -> list[int]:
        """Take a store's name away; return its row, if there was one."""
        with self._lock, self._database.transaction() as sql:
            rows = sql.execute(f"{_TAKE_NAME} WHERE name = ? RETURNING id", (str(name),))
            self._store_ids.pop(name, None)
            self._store_bodies.pop(name, None)
            return [int(row) for (row,) in rows]

    def clear(self) -> None:
        """Delete all datasets, stores, policies, operations, topics and subscriptions.

        The stores are among :meth:`deleted_stores` then. What is remembered in memory stays: this
        object is of no use any more.
        """
        with self._lock, self._database.transaction() as sql:
            for table in _NAMED_TABLES:
                sql.execute(f"DELETE FROM {table}")  # noqa: S608 - names of the schema, and no values # nosec B608
            sql.execute(f"{_TAKE_NAME} WHERE dataset != ''")

    def deleted_stores(self) -> list[int]:
        """Return the rows of the stores that are deleted."""
        found = self._database.read("SELECT id FROM stores WHERE dataset = ''")
        return [int(row) for (row,) in found]

    def forget_deleted_stores(self) -> None:
        """Remove the rows of stores that are deleted and empty, whose numbers nobody uses."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM stores WHERE dataset = ''")

    def store_body(self, name: StoreName) -> dict[str, Any] | None:
        known = self._store_bodies.get(name)
        if known is not None:
            return json_object(known)
        # Under the lock, so that a body that is being changed does not come back.
        with self._lock:
            rows = self._database.read("SELECT body FROM stores WHERE name = ?", (str(name),))
            row = rows.fetchone()
            if row is None:
                return None
            return json_object(self._store_bodies.setdefault(name, row[0]))

    def list_stores(self, dataset: DatasetName, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield the stores of a dataset."""
        rows = self._database.read(
            "SELECT body FROM stores WHERE dataset = ? AND name > ? ORDER BY name",
            (str(dataset), after),
        )
        return (json_object(body) for (body,) in rows)

    def all_stores(self, limit: int) -> list[tuple[int, str]]:
        """Return the rows and names of stores of every dataset, by name."""
        rows = self._database.read(
            "SELECT id, name FROM stores WHERE dataset != '' ORDER BY name LIMIT ?", (limit,)
        )
        return [(int(row), str(name)) for row, name in rows]

    # IAM policies

    def policies(self) -> dict[str, dict[str, Any]]:
        """Return every IAM policy by the name of its resource."""
        rows = self._database.read("SELECT * FROM policies")
        return {name: json_object(body) for name, body in rows}

    def put_policy(self, name: str, body: dict[str, Any] | None) -> None:
        """Set the policy of a resource, or remove it."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM policies WHERE name = ?", (name,))
            if body is not None:
                sql.execute("INSERT INTO policies VALUES (?, ?)", (name, json.dumps(body)))
