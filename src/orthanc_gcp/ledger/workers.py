"""Who lives among the workers on one database, and who follows which Orthanc.

On PostgreSQL each worker holds an advisory lock through a connection of its own: the server lets
it go when the process or its machine is gone. On SQLite there is one worker, which locks a file.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import sqlalchemy as sql

from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import GcpError
from orthanc_gcp.ledger.schema import workers
from orthanc_gcp.reasons import LocalReason

__all__ = ["WorkerRegistry", "join", "living"]

LIVES, FOLLOWS = 740120, 740121
"""The first keys of the two kinds of advisory locks."""
LOOK_EVERY = 4.0
MOURNING = 8.0
"""Seconds that a lock must have been free before its worker is taken for dead: one that lives and
has only lost its connection notices sooner, and breaks off what it sends."""


class WorkerRegistry(Protocol):
    """A worker among others."""

    def look(self, source: str) -> list[str]:
        """Look after the locks; the workers of an Orthanc that have died and are to be replaced.

        Raises
        ------
        SQLAlchemyError
            The database is away: the others see this worker no more.
        """

    def bury(self, name: str) -> None:
        """Somebody has taken over what a dead worker had."""

    @property
    def alive(self) -> bool:
        """Whether the others still see this worker; if not, it must send nothing."""

    @property
    def follows(self) -> bool:
        """Whether this worker is the one that follows the Orthanc."""

    def leave(self) -> None:
        """End."""


def join(engine: sql.Engine, name: str, clock: Clock) -> WorkerRegistry:
    """Become one of the workers on a database.

    Raises
    ------
    GcpError
        There is a worker already, of the same name or on a database for one.
    """
    if engine.dialect.name == "sqlite":
        return _Alone(engine)
    return _Several(engine, name, clock)


def living(engine: sql.Engine) -> bool:
    """Whether any worker runs on a database."""
    if engine.dialect.name != "sqlite":
        locks = sql.text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            " AND granted AND classid = :kind"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with engine.connect() as connection:
            return bool(connection.scalar(locks, {"kind": LIVES}))
    try:
        file = os.open(_lock_file(engine), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _lock_file(engine: sql.Engine) -> Path:
    database = Path(str(engine.url.database))
    return database.with_name(f"{database.name}.lock")


class _Alone:
    """The only worker on a SQLite file."""

    alive = follows = True

    def __init__(self, engine: sql.Engine) -> None:
        self._file = os.open(_lock_file(engine), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Who asks whether a worker lives holds the lock for a moment.
        if not any(self._locks(pause) for pause in (0.0, 0.05, 0.2)):
            os.close(self._file)
            raise GcpError(
                f"another worker has {engine.url.database}; "
                "several workers need a PostgreSQL database",
                reason=LocalReason.IN_USE,
            )

    def _locks(self, pause: float) -> bool:
        threading.Event().wait(pause)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def look(self, source: str) -> list[str]:  # noqa: ARG002
        return []

    def bury(self, name: str) -> None:
        """Nobody dies beside the only one."""

    def leave(self) -> None:
        os.close(self._file)


class _Several:
    """One of several workers on PostgreSQL."""

    def __init__(self, engine: sql.Engine, name: str, clock: Clock) -> None:
        self._engine, self._name, self._clock = engine, name, clock
        self._connection: sql.Connection | None = None
        self._looked = float("-inf")
        self._missed: dict[str, float] = {}
        self._source = ""
        self.alive = self.follows = False
        if not self._connect():
            raise GcpError(
                f"another worker is called {name}: give each its own --name",
                reason=LocalReason.IN_USE,
            )

    def look(self, source: str) -> list[str]:
        now = self._clock.now()
        if now - self._looked < LOOK_EVERY:
            return []
        self._looked = now
        try:
            if self._connection is None and not self._connect():
                return []
            return self._see(source, now)
        except sql.exc.SQLAlchemyError:
            self._disconnect()
            self._looked = float("-inf")
            raise

    def bury(self, name: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(workers.delete().where(workers.c.name == name))
        self._missed.pop(name, None)
        if self._connection is not None and name != self._name:
            _unlock(self._connection, LIVES, name)

    def leave(self) -> None:
        with suppress(sql.exc.SQLAlchemyError):
            self.bury(self._name)
        self._disconnect()

    def _connect(self) -> bool:
        """Hold the lock of this worker; False when another has it."""
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # It is not to be handed to anybody else, nor to be tested by the pool.
        connection.detach()
        # A machine that lost its power is to be noticed by the server within half a minute.
        for option, seconds in (("idle", 10), ("interval", 5), ("count", 3)):
            connection.exec_driver_sql(f"SET tcp_keepalives_{option} = {seconds}")
        connection.exec_driver_sql("SET statement_timeout = '3s'")
        if not _lock(connection, LIVES, self._name):
            connection.close()
            return False
        self._connection, self.alive = connection, True
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self.alive = self.follows = False
        self._missed.clear()
        if connection is not None:
            with suppress(sql.exc.SQLAlchemyError):
                connection.close()

    def _see(self, source: str, now: float) -> list[str]:
        connection = self._connection
        assert connection is not None  # noqa: S101 - look() has seen to it
        if source and source != self._source:
            self._register(connection, source)
        if source and not self.follows:
            self.follows = _lock(connection, FOLLOWS, source)
        others = connection.scalars(
            sql.select(workers.c.name).where(
                workers.c.source == source, workers.c.name != self._name
            )
        ).all()
        return [name for name in others if self._is_dead(connection, name, now)]

    def _register(self, connection: sql.Connection, source: str) -> None:
        connection.execute(workers.delete().where(workers.c.name == self._name))
        connection.execute(workers.insert().values(name=self._name, source=source))
        self._source = source

    def _is_dead(self, connection: sql.Connection, name: str, now: float) -> bool:
        """Whether nobody has held the lock of a worker for a while.

        The lock stays with the one who finds it so, until the dead is buried: only one takes over.
        """
        if not _lock(connection, LIVES, name):
            self._missed.pop(name, None)
            return False
        since = self._missed.setdefault(name, now)
        if now - since < MOURNING:
            _unlock(connection, LIVES, name)
            return False
        return True


def _lock(connection: sql.Connection, kind: int, name: str) -> bool:
    query = sql.select(sql.func.pg_try_advisory_lock(kind, sql.func.hashtext(name)))
    return bool(connection.scalar(query))


def _unlock(connection: sql.Connection, kind: int, name: str) -> None:
    """Let a lock go, however often this connection has taken it."""
    query = sql.select(sql.func.pg_advisory_unlock(kind, sql.func.hashtext(name)))
    while connection.scalar(query):
        pass
