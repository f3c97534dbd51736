"""What is known of objects of Cloud Storage besides their content.

Source: Cloud Storage, JSON API, "Objects" (resource representations).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.emulator.storage.database import Database, json_object

__all__ = ["ObjectRecord", "ObjectTable"]


@dataclass(frozen=True)
class ObjectRecord:
    """What is known of an object.

    Attributes
    ----------
    file : str
        Identifies the file of which this is known: another one in its place is another object.
    generation, metageneration : int
        The version of the content, and of what is said about it.
    created, updated : float
        In seconds since 1970.
    md5, crc32c : str or None
        Checksums in base64, as far as they are known.
    fields : dict
        What can be set of the resource: ``contentType``, ``metadata`` and others.
    """

    file: str
    generation: int
    metageneration: int
    created: float
    updated: float
    md5: str | None
    crc32c: str | None
    fields: dict[str, Any]


class ObjectTable:
    """The records of all objects that something is known of, by bucket and name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, bucket: str, name: str) -> ObjectRecord | None:
        rows = self._database.read(
            "SELECT fields, file, generation, metageneration, created, updated, md5, crc32c"
            " FROM objects WHERE bucket = ? AND name = ?",
            (bucket, name),
        )
        row = rows.fetchone()
        if row is None:
            return None
        fields, file, generation, metageneration, created, updated, md5, crc32c = row
        versions = (file, generation, metageneration, created, updated)
        return ObjectRecord(*versions, md5, crc32c, json_object(fields))

    def put(self, bucket: str, name: str, record: ObjectRecord) -> None:
        row = (
            *(bucket, name, record.file, record.generation, record.metageneration),
            *(record.created, record.updated, record.md5, record.crc32c),
            json.dumps(record.fields),
        )
        with self._database.transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def remove(self, bucket: str, name: str) -> None:
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))

    def remove_bucket(self, bucket: str) -> None:
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM objects WHERE bucket = ?", (bucket,))
