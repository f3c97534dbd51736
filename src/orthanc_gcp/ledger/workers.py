"""Which workers on one database are alive, and which of them follows which Orthanc.

On PostgreSQL each worker holds an advisory lock of its session (PostgreSQL, "Advisory Locks"): the
server releases it when the process or its machine is gone. A process that was stopped, or a machine
that stands still, keeps its session: each worker speaks in that session every few seconds, and the
server notes when (``pg_stat_activity.state_change``, by its own clock). Who finds that a session
has been silent for too long ends it (``pg_terminate_backend``, for sessions of the same role), and
what that worker had is taken over as from a dead one. No worker's clock is compared with another's.
A worker counts itself as one only for as long as it has just seen its lock: one that wakes up
sends nothing more. A pooler that gives the same session to one connection after another (PgBouncer,
"pool_mode", transaction and statement) makes the locks of one those of all: each worker marks its
session, and refuses one whose mark another connection sees, or that does not have it any more.

On SQLite there is one worker. It locks a file beside the database, and, where the system can, the
database itself, whatever its name: a hard link or a mount is the same file, of which SQLite would
not know ("How To Corrupt An SQLite Database File", section "Multiple links to the same file"). That
needs Linux, and no library does it: one closes what it has locked when it likes, and SQLite's own
locks would be gone then.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import sqlalchemy as sql

from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import LedgerError
from orthanc_gcp.file_locks import file_lock, is_locked
from orthanc_gcp.ledger.database import place, reading, words_of
from orthanc_gcp.ledger.key_values import KeyValues
from orthanc_gcp.ledger.schema import State, key_values, transfers
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import LedgerReason

try:
    import fcntl
except ImportError:  # Windows
    _HAS_OFD_LOCKS = False
else:
    _HAS_OFD_LOCKS = hasattr(fcntl, "F_OFD_SETLK")

__all__ = [
    "Running",
    "Unseen",
    "WorkerRegistry",
    "alive_workers",
    "any_alive",
    "has_several",
    "note_served",
    "running",
    "served",
    "worker_registry",
]

_log = logging.getLogger(__name__)

ALIVE, FOLLOWS = 740120, 740121
"""The first keys of the two kinds of advisory locks."""
REFRESH_EVERY = 4.0
DEAD_AFTER = 8.0
"""Seconds that a lock must have been free before its worker is taken for dead: one that is alive
and has only lost its connection notices sooner, and breaks off what it sends."""
SILENT_AFTER = 25.0
"""Seconds without a word, by the server's clock, after which a worker's session is ended."""
ALIVE_FOR = 15.0
"""Seconds for which a worker may count on its lock after it has seen it; fewer than the others wait
before they end its session."""
_NAMED = "worker:"
"""What a worker has written down begins so: a lock does not say whose it is."""
_SERVES = "serves:"
"""And this is what it sends: one index, to some destinations."""
_LOCKED = sql.text(
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = :kind"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_KEYS = sql.text(
    "SELECT name, CAST(hashtext(name) AS oid) FROM unnest(CAST(:names AS text[])) AS name"
)
_TRIES = (0.0, 0.05, 0.2)
"""Seconds before each try to lock: another worker, or a command, may hold the lock for a moment to
find out whether it is free."""


class Unseen(NamedTuple):
    """That the others do not see a worker, which follows and sends nothing then.

    Attributes
    ----------
    since
        In seconds since 1970.
    words
        Why, and what is to be done.
    """

    since: float
    words: str


class WorkerRegistry(Protocol):
    """A worker among others; it counts from :meth:`join` on."""

    def reserve(self) -> None:
        """Let no other worker begin on a database for one; before anything of it is read.

        Raises
        ------
        LedgerError
            There is a worker already.
        """

    def join(self) -> None:
        """Become one of the workers on the database.

        Raises
        ------
        LedgerError
            There is a worker already, of the same name or on a database for one; or sessions are
            shared.
        SQLAlchemyError
            The database is away.
        """

    def refresh(self, source: str, *, may_join: bool = True) -> list[str]:
        """Renew what the locks say; the dead workers that have still claimed something.

        Parameters
        ----------
        may_join
            Whether a worker that has lost its lock may take it again: not before it has ended what
            it was sending, which another may have claimed.

        From then on this worker follows the index that the ledger calls so, if no other does.

        Each is this worker's to deal with until :meth:`remove`.

        Raises
        ------
        LedgerError
            A file of the database was deleted or replaced: what is written is lost. Or sessions
            of the database are shared: its locks are everybody's.
        SQLAlchemyError
            The database is away: the others see this worker no more.
        """

    def remove(self, name: str) -> None:
        """What a dead worker had claimed waits again."""

    @property
    def alive(self) -> bool:
        """Whether the others still see this worker; if not, it must send nothing."""

    def unseen(self, seconds: float) -> Unseen | None:
        """Why the others do not see this worker, if that has lasted for so long."""

    def follows(self, source: str) -> bool:
        """Whether this worker is the one that follows the index that the ledger calls so."""

    def leave(self) -> None:
        """End."""


def worker_registry(engine: sql.Engine, name: str, clock: Clock) -> WorkerRegistry:
    """What a worker of this name knows of the others on its database."""
    if engine.dialect.name == "sqlite":
        return _Alone(engine, name, clock)
    return _Several(engine, name, clock)


def any_alive(engine: sql.Engine) -> bool:
    """Whether any worker runs on a database.

    Raises
    ------
    SQLAlchemyError
        The database is away.
    """
    if engine.dialect.name == "sqlite":
        return is_locked(_lock_file(engine))
    return bool(_locked(engine))


def has_several(engine: sql.Engine) -> bool:
    """Whether more than one worker runs on a database; SQLite is for one.

    Raises
    ------
    SQLAlchemyError
        The database is away.
    """
    return engine.dialect.name != "sqlite" and len(_locked(engine)) > 1


def _locked(engine: sql.Engine) -> set[int]:
    """The keys of the workers that run, on PostgreSQL."""
    with engine.connect() as connection:
        return set(connection.scalars(_LOCKED, {"kind": ALIVE}))


def alive_workers(engine: sql.Engine) -> list[str]:
    """The names of the workers that run on a database.

    Raises
    ------
    SQLAlchemyError
        The database is away.
    """
    noted = KeyValues(engine).starting_with(_NAMED)
    names = sorted(name.removeprefix(_NAMED) for name in noted)
    if engine.dialect.name == "sqlite":
        return names if any_alive(engine) else []
    locked = _locked(engine)
    with engine.connect() as connection:
        return [name for name, key in connection.execute(_KEYS, {"names": names}) if key in locked]


def note_served(engine: sql.Engine, name: str, source: str, destinations: Iterable[int]) -> None:
    """A worker sends what is of an index to these destinations, as long as it runs.

    Raises
    ------
    SQLAlchemyError
        The database is away.
    """
    values = KeyValues(engine)
    alive = alive_workers(engine)
    for one in values.starting_with(_SERVES):
        if one.removeprefix(_SERVES) not in alive:
            values.delete(one)
    serves = {"index": source, "destinations": sorted(destinations)}
    values.set(f"{_SERVES}{name}", serves)


def served(engine: sql.Engine) -> set[tuple[int, str]]:
    """What the workers that run on a database send: destinations, each with an index.

    Their configurations may have different accounts than the one that a command is given: a file
    that was changed is read when Orthanc is started again.

    Raises
    ------
    SQLAlchemyError
        The database is away.
    """
    noted, alive = KeyValues(engine).starting_with(_SERVES), alive_workers(engine)
    return {
        (number, one["index"])
        for name, one in noted.items()
        if name.removeprefix(_SERVES) in alive
        for number in one["destinations"]
    }


class Running(NamedTuple):
    """A worker that runs.

    Attributes
    ----------
    began
        In seconds since 1970, by its own clock; None where that is not known.
    source
        What the ledger calls the index that its Orthanc had last; None where it never knew that.
    """

    name: str
    began: float | None
    source: str | None


def running(engine: sql.Engine) -> list[Running]:
    """The workers that run on a database.

    Raises
    ------
    SQLAlchemyError
        The database is away.
    """
    values = KeyValues(engine)
    serves = values.starting_with(_SERVES)
    return [
        Running(
            name,
            values.get(f"{_NAMED}{name}", float),
            serves.get(f"{_SERVES}{name}", {}).get("index"),
        )
        for name in alive_workers(engine)
    ]


def _note(engine: sql.Engine, name: str, clock: Clock, *, alone: bool) -> None:
    """Write down what a worker is called, and when it began; it works without that, too.

    What stands there of workers before it does not hold any more for one that is alone.
    """
    values = KeyValues(engine)
    with suppress(sql.exc.SQLAlchemyError):
        for kind in (_NAMED, _SERVES) if alone else ():
            for other in values.starting_with(kind):
                values.delete(other)
        values.set(f"{_NAMED}{name}", clock.utc().timestamp())


def _strike_out(engine: sql.Engine, name: str) -> None:
    with suppress(sql.exc.SQLAlchemyError):
        KeyValues(engine).delete(f"{_NAMED}{name}")


def _serve_nothing(engine: sql.Engine, name: str) -> None:
    """A worker begins: what one of its name has sent before, it may not send by now."""
    with suppress(sql.exc.SQLAlchemyError):
        KeyValues(engine).delete(f"{_SERVES}{name}")


def _soon(lock: Callable[[], bool]) -> bool:
    """Whether one of a few tries gets a lock."""
    for pause in _TRIES:
        threading.Event().wait(pause)
        if lock():
            return True
    return False


def _others_with_claims(connection: sql.Connection, name: str) -> list[str]:
    of = transfers.c
    claimed = of.state == sql.literal(State.SENDING.value, literal_execute=True)
    query = sql.select(of.worker).where(claimed, of.worker != name).distinct()
    return list(connection.scalars(query))


def _lock_file(engine: sql.Engine) -> Path:
    # By whatever link the file is reached: two names of it are one ledger.
    database = Path(str(engine.url.database)).resolve()
    return database.with_name(f"{database.name}.lock")


class _DatabaseLock:
    """A lock on a SQLite file itself, by whatever name it is reached, until the process ends.

    It is one of the open file description, on a byte that SQLite locks never reach (fcntl(2), "Open
    file description locks"): ``flock(2)`` would lock all of it on NFS. The file is never closed
    again: closing it would release the locks that SQLite has of it in this process (fcntl(2),
    "Advisory record locking").
    """

    _BYTE = 1 << 62
    _BUSY = (errno.EACCES, errno.EAGAIN)

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1

    def acquire(self) -> bool:
        """Whether nobody else has it; a file that is not there yet has no other name."""
        if self._file >= 0 or not _HAS_OFD_LOCKS:
            return True
        try:
            file = os.open(self._path, os.O_RDWR)
        except OSError:  # SQLite says what is wrong with it
            return True
        if not _soon(partial(self._set, file, fcntl.F_WRLCK)):
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let another one have it."""
        if self._file >= 0:
            self._set(self._file, fcntl.F_UNLCK)
            self._file = -1

    def _set(self, file: int, kind: int) -> bool:
        wanted = struct.pack("hhqqi4x", kind, os.SEEK_SET, self._BYTE, 1, 0)
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
        except OSError as error:  # there are file systems without such locks
            return error.errno not in self._BUSY
        return True


class _File(NamedTuple):
    """What tells a file from all others of a machine."""

    device: int
    number: int


class _Alone:
    """The only worker on a SQLite file: whoever else has claimed something is dead."""

    def __init__(self, engine: sql.Engine, name: str, clock: Clock) -> None:
        self._engine, self._name, self._clock = engine, name, clock
        self._dead: list[str] | None = None
        self._lock = file_lock(_lock_file(engine))
        self._there: _File | None = None
        self._log: _File | None = None
        self._database = _DatabaseLock(Path(str(engine.url.database)))
        self.alive = False

    def reserve(self) -> None:
        if not self._database.acquire():
            raise self._in_use()

    def join(self) -> None:
        self.reserve()
        if not _soon(self._lock.acquire):
            self._database.release()
            raise self._in_use()
        self._there = self._which_file()
        self.alive = True
        _note(self._engine, self._name, self._clock, alone=True)

    def _which_file(self, suffix: str = "") -> _File | None:
        """What tells the file at the path from any other; None if there is none."""
        path = Path(str(self._engine.url.database)).resolve()
        try:
            found = path.with_name(f"{path.name}{suffix}").stat()
        except FileNotFoundError:
            return None
        return _File(found.st_dev, found.st_ino)

    def _replaced(self) -> str | None:
        """The file that is not the one that this process has open any more, if there is one.

        The write-ahead log is the same for as long as a connection is open (SQLite, "Write-Ahead
        Logging"): what is written into one that nobody else finds is lost if this process is
        killed.
        """
        if self._which_file() != self._there:
            return str(self._engine.url.database)
        log = self._which_file("-wal")
        self._log = self._log or log
        return None if log == self._log else f"{self._engine.url.database}-wal"

    def _in_use(self) -> LedgerError:
        return LedgerError(
            f"another worker has {self._engine.url.database}; "
            "several workers need a PostgreSQL database",
            reason=LedgerReason.IN_USE,
        )

    def unseen(self, seconds: float) -> Unseen | None:  # noqa: ARG002
        return None

    def follows(self, source: str) -> bool:
        return self.alive and bool(source)

    def refresh(self, source: str, *, may_join: bool = True) -> list[str]:  # noqa: ARG002
        with suppress(OSError):  # it cannot be looked at: SQLite says what is wrong with it
            if replaced := self._replaced():
                self.alive = False
                raise LedgerError(
                    f"the ledger {replaced} was deleted, or another file put in its place, while "
                    "the worker ran: it ends, to begin with what is there",
                    reason=LedgerReason.REPLACED,
                )
        if self._dead is None:
            with self._engine.connect() as connection:
                self._dead = _others_with_claims(connection, self._name)
        return list(self._dead)

    def remove(self, name: str) -> None:
        if self._dead:
            self._dead.remove(name)

    def leave(self) -> None:
        if self.alive:
            _strike_out(self._engine, self._name)
        self.alive = False
        self._database.release()
        self._lock.release()


class _Several:
    """One of several workers on PostgreSQL."""

    def __init__(self, engine: sql.Engine, name: str, clock: Clock) -> None:
        self._engine, self._name, self._clock = engine, name, clock
        self._connection: sql.Connection | None = None
        self._refreshed = float("-inf")
        self._missed: dict[str, float] = {}
        self._silent: set[_Session] = set()
        self._followed = ""
        self._seen, self._seen_utc = float("-inf"), 0.0
        self._why = ""
        self._refused = Outage(
            _log,
            f"the worker {name} has lost its lock, and follows and sends nothing",
            f"the worker {name} is one of the workers again",
            clock,
        )
        self._mark = secrets.token_hex(8)

    @property
    def alive(self) -> bool:
        return self._connection is not None and self._clock.now() - self._seen < ALIVE_FOR

    def unseen(self, seconds: float) -> Unseen | None:
        why = self._why
        lasts = bool(why) and self._clock.now() - self._seen >= seconds
        return Unseen(self._seen_utc, why) if lasts else None

    def follows(self, source: str) -> bool:
        return self.alive and bool(source) and self._followed == source

    def reserve(self) -> None:
        """Others may work on it as well."""

    def join(self) -> None:
        now = self._clock.now()
        if not _soon(self._connect):
            raise LedgerError(self._same_name(), reason=LedgerReason.IN_USE)
        self._note_seen(now)
        _serve_nothing(self._engine, self._name)

    def refresh(self, source: str, *, may_join: bool = True) -> list[str]:
        now = self._clock.now()
        if now - self._refreshed < REFRESH_EVERY:
            return []
        self._refreshed = now
        try:
            if self._connection is None and not self._join_again(may_join=may_join):
                return []
            dead = self._renew(self._connection, source, now)
        except sql.exc.SQLAlchemyError as error:
            self._why = f"the ledger cannot be used: {words_of(error)}"
            self._disconnect()
            self._refreshed = float("-inf")
            raise
        self._note_seen(now)
        return dead

    def remove(self, name: str) -> None:
        if self._connection is not None:
            _strike_out(self._engine, name)
            _unlock(self._connection, ALIVE, name)
        self._missed.pop(name, None)

    def leave(self) -> None:
        if self._connection is not None:
            # PostgreSQL notices the end of a session only some time after it.
            with suppress(sql.exc.SQLAlchemyError):
                noted = key_values.c.name == f"{_NAMED}{self._name}"
                self._connection.execute(key_values.delete().where(noted))
                self._connection.execute(sql.select(sql.func.pg_advisory_unlock_all()))
        self._disconnect()

    def _join_again(self, *, may_join: bool) -> bool:
        """Hold the lock again that was lost; False, and why, where that cannot be yet."""
        if not may_join:
            self._why = "what it was sending has not ended yet"
        elif _soon(self._connect):
            self._refused.ended()
            return True
        else:
            self._why = self._same_name()
            self._refused.failed(self._why, REFRESH_EVERY)
        return False

    def _same_name(self) -> str:
        return (
            f"another worker is called {self._name}: give each its own --name, or its host its own "
            "name"
        )

    def _note_seen(self, now: float) -> None:
        self._seen, self._seen_utc, self._why = now, self._clock.utc().timestamp(), ""

    def _connect(self) -> bool:
        """Hold the lock of this worker; False when another has it."""
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # It is not to be handed to anybody else, nor to be tested by the pool.
        connection.detach()
        try:
            locked = self._prepare(connection)
        except (LedgerError, sql.exc.SQLAlchemyError):
            connection.close()
            raise
        if not locked:
            connection.close()
            return False
        self._connection = connection
        _note(self._engine, self._name, self._clock, alone=False)
        return True

    def _prepare(self, connection: sql.Connection) -> bool:
        """Make a session one that may hold locks; whether it has that of this worker."""
        # A machine that lost its power is to be noticed by the server within half a minute.
        for option, seconds in (("idle", 10), ("interval", 5), ("count", 3)):
            connection.exec_driver_sql(f"SET tcp_keepalives_{option} = {seconds}")
        connection.exec_driver_sql("SET statement_timeout = '3s'")
        connection.execute(_SET_MARK, {"mark": self._mark})
        with reading(self._engine) as other:
            if other.scalar(_MARK) == self._mark:
                raise self._shared()
        return _lock(connection, ALIVE, self._name)

    def _shared(self) -> LedgerError:
        return LedgerError(
            f"{place(self._engine)} is a pooler that gives one session of PostgreSQL to several "
            "connections: name the server itself, or have each connection keep its own "
            "(PgBouncer: pool_mode = session)",
            reason=LedgerReason.SHARED_SESSION,
        )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._followed = ""
        self._missed.clear()
        self._silent.clear()
        if connection is not None:
            with suppress(sql.exc.SQLAlchemyError):
                connection.close()

    def _renew(self, connection: sql.Connection | None, source: str, now: float) -> list[str]:
        assert connection is not None  # noqa: S101 - refresh() has seen to it # nosec B101
        if connection.scalar(_MARK) != self._mark:
            raise self._shared()
        self._end_silent(connection)
        if self._followed and self._followed != source:
            _unlock(connection, FOLLOWS, self._followed)
            self._followed = ""
        if source and not self._followed and _lock(connection, FOLLOWS, source):
            self._followed = source
        others = _others_with_claims(connection, self._name)
        for name in self._missed.keys() - others:
            del self._missed[name]
            _unlock(connection, ALIVE, name)  # it was found dead, and maybe not removed
        return [name for name in others if self._is_dead(connection, name, now)]

    def _end_silent(self, connection: sql.Connection) -> None:
        """End the sessions of workers that have said nothing for too long.

        Only when they were as silent the time before: after a pause of the server itself, all are.
        """
        wanted = {"kind": ALIVE, "after": SILENT_AFTER}
        silent = {_Session(*row) for row in connection.execute(_SILENT, wanted)}
        for one in silent & self._silent:
            ended = connection.scalar(_END, {"pid": one.pid, "application": one.application})
            _log.warning(
                "a worker has not answered for %d s: its %d sessions of PostgreSQL are ended (%s)",
                SILENT_AFTER,
                ended or 0,
                one.application,
            )
        self._silent = silent

    def _is_dead(self, connection: sql.Connection, name: str, now: float) -> bool:
        """Whether nobody has held the lock of a worker for a while.

        The lock stays with the one who finds it so, until the dead is removed: only one requeues
        its claims, and no worker of that name starts meanwhile.
        """
        if not _lock(connection, ALIVE, name):
            self._missed.pop(name, None)
            return False
        since = self._missed.setdefault(name, now)
        if now - since < DEAD_AFTER:
            _unlock(connection, ALIVE, name)
            return False
        return True


class _Session(NamedTuple):
    """One of PostgreSQL, and when it last began or ended a statement."""

    pid: int
    application: str
    spoke_at: datetime


_SILENT = sql.text(
    "SELECT DISTINCT pid, application_name, state_change"
    " FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND classid = :kind AND database = datid"
    " AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND state_change < clock_timestamp() - make_interval(secs => :after)"
)
# All of the process: another of its sessions may hold rows that were to be written.
_END = sql.text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND (pid = :pid"
    " OR application_name = :application"
    " AND application_name <> current_setting('application_name'))"
)


_SET_MARK = sql.text("SELECT set_config('orthanc_gcp.worker', :mark, false)")
_MARK = sql.text("SELECT current_setting('orthanc_gcp.worker', true)")


def _lock(connection: sql.Connection, kind: int, name: str) -> bool:
    query = sql.select(sql.func.pg_try_advisory_lock(kind, sql.func.hashtext(name)))
    return bool(connection.scalar(query))


def _unlock(connection: sql.Connection, kind: int, name: str) -> None:
    """Release a lock, however often this connection has taken it."""
    query = sql.select(sql.func.pg_advisory_unlock(kind, sql.func.hashtext(name)))
    while connection.scalar(query):
        pass
