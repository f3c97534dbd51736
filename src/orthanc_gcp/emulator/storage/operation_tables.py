"""Long-running operations on disk (AIP-151), so that those that have not ended can go on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from orthanc_gcp.emulator.resource_names import DatasetName
from orthanc_gcp.emulator.storage.database import Database, json_object
from orthanc_gcp.emulator.storage.records import InstanceKey

__all__ = ["OperationTables", "mark_changed"]


class OperationTables:
    """Operations by name: a ``body`` as Google shows it, and a job until the operation ends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self, name: str, dataset: DatasetName, body: dict[str, Any], job: dict[str, Any]
    ) -> None:
        """Add an operation, and what it takes to carry it out, until :meth:`end`."""
        with self._database.transaction() as sql:
            row = (name, str(dataset), json.dumps(body))
            sql.execute("INSERT INTO operations (name, dataset, body) VALUES (?, ?, ?)", row)
            sql.execute("INSERT INTO jobs VALUES (?, ?)", (name, json.dumps(job)))

    def end(self, name: str, body: dict[str, Any]) -> None:
        """Set what Google shows of an operation from now on, and drop its job."""
        with self._database.transaction() as sql:
            sql.execute("UPDATE operations SET body = ? WHERE name = ?", (json.dumps(body), name))
            sql.execute("DELETE FROM jobs WHERE operation = ?", (name,))
            sql.execute("DELETE FROM changed WHERE operation = ?", (name,))

    def forget(self, ended_before: str) -> None:
        """Remove the operations that ended before a moment (RFC 3339)."""
        with self._database.transaction() as sql:
            sql.execute(
                "DELETE FROM operations WHERE json_extract(body, '$.metadata.endTime') < ?",
                (ended_before,),
            )

    def jobs(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return the operations that have not ended, each with its job, in their order."""
        rows = self._database.read(
            "SELECT operations.body, jobs.body FROM jobs"
            " JOIN operations ON operations.name = jobs.operation ORDER BY jobs.rowid"
        )
        return [(json_object(body), json_object(job)) for body, job in rows]

    def body(self, name: str) -> dict[str, Any] | None:
        rows = self._database.read("SELECT body FROM operations WHERE name = ?", (name,))
        row = rows.fetchone()
        return None if row is None else json_object(row[0])

    def of_dataset(self, dataset: DatasetName, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield the operations of a dataset by name, those after a name."""
        rows = self._database.read(
            "SELECT body FROM operations WHERE dataset = ? AND name > ? ORDER BY name",
            (str(dataset), after),
        )
        return (json_object(body) for (body,) in rows)

    def changed(self, name: str) -> int:
        """Return how many instances an operation that has not ended has changed."""
        rows = self._database.read("SELECT COUNT(*) FROM changed WHERE operation = ?", (name,))
        return int(rows.fetchone()[0])

    def is_changed(self, name: str, key: InstanceKey) -> bool:
        """Return whether an operation that has not ended has changed an instance."""
        query = "SELECT 1 FROM changed WHERE operation = ? AND instance = ?"
        return self._database.read(query, (name, key.path)).fetchone() is not None


def mark_changed(sql: sqlite3.Connection, operation: str, key: InstanceKey) -> None:
    """Note, in the transaction that changes an instance, which operation does it."""
    sql.execute(
        "INSERT OR IGNORE INTO changed SELECT operation, ? FROM jobs WHERE operation = ?",
        (key.path, operation),
    )
