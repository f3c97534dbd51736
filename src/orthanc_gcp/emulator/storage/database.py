"""The SQLite database of a directory: one writer at a time, and a reader for each thread.

The write-ahead log survives the death of the process, so that what is committed stays.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

from orthanc_gcp.emulator.dicom.person_names import fuzzy_match
from orthanc_gcp.emulator.storage.schema import SCHEMA, SEARCHED

__all__ = ["Database", "json_object"]


class Database:
    """All tables, in a file that is made when it is not there.

    SQL has a function ``fuzzy_match(query, name)`` for searches of person names.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._readers: WeakSet[_Reader] = WeakSet()
        self._local = threading.local()
        self._lock = threading.Lock()
        # SQLite gives its log the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._writer = self._connect()
        # What deleted instances had goes back to the disk. It has to come before everything else.
        self._writer.execute("PRAGMA auto_vacuum = FULL")
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.executescript(SCHEMA)

    def close(self) -> None:
        for reader in list(self._readers):
            reader.connection.close()
        self._writer.close()

    def read(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a query on the calling thread's own connection."""
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = _Reader(self._connect())
            self._readers.add(reader)
        return reader.connection.execute(query, values)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing: an error in the block takes everything back."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def copy_to(self, path: Path) -> None:
        """Write a copy of what searches need to a file that must not exist."""
        with closing(Database(path)) as copy:
            sql = copy._writer
            sql.execute("ATTACH ? AS original", (str(self._path),))
            # A transaction reads everything as it was at one moment.
            sql.execute("BEGIN")
            for table in SEARCHED:
                sql.execute(f"INSERT INTO main.{table} SELECT * FROM original.{table}")  # noqa: S608 - names of the schema, and no values # nosec B608
            sql.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        # The log is in the kernel's hands once written: it survives kill -9, not a power cut.
        connection.execute("PRAGMA synchronous = OFF")
        connection.create_function("fuzzy_match", 2, fuzzy_match, deterministic=True)
        return connection


class _Reader:
    """A connection that is closed when the thread ends that has it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object of a column ``body``."""
    value: dict[str, Any] = json.loads(text)
    return value
