"""The studies that an audit goes through, by UID, however many there are.

They stand in a temporary database (SQLite, "Temporary Databases": one without a name), which is in
memory as long as it is small, then in a file that vanishes when it is closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

__all__ = ["ListedStudy", "StudyList"]

_PAGE = 500
_SCHEMA = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE studies (uid TEXT PRIMARY KEY, certain INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE of_orthanc (uid TEXT, name TEXT, PRIMARY KEY (uid, name)) WITHOUT ROWID",
    "CREATE TABLE of_stores (uid TEXT, account TEXT, PRIMARY KEY (uid, account)) WITHOUT ROWID",
)


@dataclass(frozen=True)
class ListedStudy:
    """A study that somebody has.

    Attributes
    ----------
    certain
        Whether it is to be audited; otherwise only when Orthanc has something of the period of it.
    orthanc_ids
        Orthanc's identifiers: several where there are several patients.
    accounts
        Those whose stores list it, as far as they were asked for all their studies.
    """

    uid: str
    certain: bool = True
    orthanc_ids: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


class StudyList:
    """Sorted by UID, as the bytes of UTF-8; close it at the end."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for statement in _SCHEMA:
            self._database.execute(statement)

    def __enter__(self) -> StudyList:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def add(self, uid: str, *, certain: bool = True) -> None:
        """Add a study, once."""
        self._database.execute(
            "INSERT INTO studies VALUES (?, ?) "
            "ON CONFLICT (uid) DO UPDATE SET certain = max(certain, excluded.certain)",
            (uid, certain),
        )

    def add_identifier(self, uid: str, name: str) -> None:
        """Remember that Orthanc has a study, by its identifier, whether that is added or not."""
        self._database.execute("INSERT OR IGNORE INTO of_orthanc VALUES (?, ?)", (uid, name))

    def add_of_store(self, uid: str, account: str) -> None:
        """Add a study that the store of an account lists."""
        self.add(uid)
        self._database.execute("INSERT OR IGNORE INTO of_stores VALUES (?, ?)", (uid, account))

    def count(self, after: str | None = None) -> int:
        """How many there are, or come after a UID."""
        query = "SELECT count(*) FROM studies WHERE ?1 IS NULL OR uid > ?1"
        return int(self._database.execute(query, (after,)).fetchone()[0])

    def after(self, uid: str | None = None) -> Iterator[ListedStudy]:
        """All, or those that come after a UID."""
        query = (
            "SELECT uid, certain FROM studies WHERE ?1 IS NULL OR uid > ?1 ORDER BY uid LIMIT ?2"
        )
        last = uid
        while page := self._database.execute(query, (last, _PAGE)).fetchall():
            for study, certain in page:
                yield ListedStudy(
                    study,
                    bool(certain),
                    self._column("SELECT name FROM of_orthanc WHERE uid = ? ORDER BY 1", study),
                    self._column("SELECT account FROM of_stores WHERE uid = ? ORDER BY 1", study),
                )
            last = page[-1][0]

    def _column(self, query: str, study: str) -> tuple[str, ...]:
        return tuple(value for (value,) in self._database.execute(query, (study,)))
