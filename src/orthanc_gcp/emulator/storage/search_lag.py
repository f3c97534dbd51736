"""What searches see, which may lag behind what is stored.

While they lag, they read a copy of the database, in which every change of the index is made again
later.
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.index import Index

__all__ = ["SearchLag"]

MAX_PENDING = 20_000
"""How many changes wait at most; the oldest is not kept waiting longer."""

Rows = TypeVar("Rows")

IndexChange = Callable[[Index], None]
"""Makes a change of the index, in whichever database."""


class SearchLag:
    """Reads of a database that changes reach late.

    Parameters
    ----------
    folder : Path
        Where the copy is, while there is one; it does not outlive the process.
    lag : callable
        Gives the seconds after which a change is seen.
    clock : callable
        Gives the time.
    """

    def __init__(
        self, database: Database, folder: Path, lag: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._folder = folder
        self._lag = lag
        self._clock = clock
        self._lock = threading.Lock()
        self._copy: Database | None = None
        self._pending: deque[tuple[float, IndexChange]] = deque()
        shutil.rmtree(folder, ignore_errors=True)

    def prepare(self) -> bool:
        """Get ready for a change of the index; return whether :meth:`repeat` has to be called."""
        if self._copy is None and not self._lag():
            return False
        with self._lock:
            if self._caught_up() is None and self._lag():
                self._folder.mkdir(mode=0o700)
                path = self._folder / "index.sqlite"
                self._database.copy_to(path)
                self._copy = Database(path)
            return self._copy is not None

    def repeat(self, change: IndexChange) -> None:
        """Let searches see, later, a change that has been made."""
        with self._lock:
            if self._copy is None:
                return
            self._pending.append((self._clock(), change))
            if len(self._pending) > MAX_PENDING:
                self._pending.popleft()[1](Index(self._copy))

    def read(
        self, statement: str, values: Sequence[object], take: Callable[[Iterator[Any]], Rows]
    ) -> Rows:
        """Return what is taken of the rows that a query finds for a search."""
        if self._copy is not None:
            with self._lock:
                copy = self._caught_up()
                if copy is not None:
                    return take(copy.read(statement, values))
        return take(self._database.read(statement, values))

    def close(self) -> None:
        """Forget the copy."""
        with self._lock:
            self._drop()

    def _caught_up(self) -> Database | None:
        """Return the copy with the changes that are due, unless nothing is late any more."""
        lag, now = self._lag(), self._clock()
        if not lag:
            self._drop()
        while self._copy and self._pending and self._pending[0][0] + lag <= now:
            self._pending.popleft()[1](Index(self._copy))
        return self._copy

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None
        self._pending.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
