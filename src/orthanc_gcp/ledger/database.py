"""The one database of the ledger: SQLite in a file, or PostgreSQL."""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from orthanc_gcp.configuration import Settings
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.ledger.postgresql_tls import with_tls
from orthanc_gcp.redaction import address, printable, readable, without

__all__ = [
    "FILE_NAME",
    "OneAtATime",
    "change_mark",
    "connect",
    "execute_many",
    "find",
    "is_away",
    "lock_alone",
    "make_private",
    "place",
    "reading",
    "upsert",
    "url_for",
    "url_of",
    "words_of",
    "writing",
]

FILE_NAME = "orthanc-gcp.sqlite"
_SECRETS = ("password", "sslpassword")
_BUSY_SECONDS, _LOCKED_SECONDS = 30, 10
_CONNECTIONS = 24
_WRITERS: WeakKeyDictionary[sql.Engine, _Writer] = WeakKeyDictionary()


class _Writer:
    """Who writes into a file of SQLite: one thread of this process after the other.

    SQLite lets who finds its lock taken sleep for longer and longer (sqlite3_busy_timeout); here
    the next one goes on at once, and those who wait hold no connection. Other processes, and who
    has waited for too long here, are left to SQLite.

    All have the same connection: SQLite drops what a connection has read of the file once another
    one has written.
    """

    def __init__(self, engine: sql.Engine) -> None:
        self._lock, self._engine = threading.Lock(), _sqlite_engine(engine.url, 1)
        event.listen(engine, "engine_disposed", lambda _: self._engine.dispose())

    @contextmanager
    def connection(self) -> Iterator[sql.Connection]:
        """The connection, for as long as it is this thread's turn."""
        mine = self._lock.acquire(timeout=_BUSY_SECONDS)
        try:
            with self._engine.connect() as connection:
                yield connection
        finally:
            if mine:
                self._lock.release()


def url_for(settings: Settings) -> str:
    """The address of the ledger that a configuration names.

    Raises
    ------
    ConfigurationError
        Something is wrong with it, or with what else says where images are and go: the ledger
        must not begin anew in another place.
    """
    if settings.sending_problems:
        raise ConfigurationError("; ".join(map(str, settings.sending_problems)))
    return url_of(settings.section.database, settings.storage_folder, settings.ca_certificates)


def url_of(database: str, folder: Path, authorities: Path | None = None) -> str:
    """The address of the database: the configured one, or a file in Orthanc's storage folder.

    Parameters
    ----------
    authorities
        Those that a PostgreSQL server's certificate may come from, in PEM; else the machine's.

    Raises
    ------
    ConfigurationError
        It is neither PostgreSQL's nor SQLite's.
    """
    if not database:
        return f"sqlite:///{folder / FILE_NAME}"
    for scheme in ("postgresql://", "postgres://", "postgresql+psycopg://"):
        if database.startswith(scheme):
            url = sql.make_url(_quoted("postgresql+psycopg://" + database.removeprefix(scheme)))
            return with_tls(url, authorities).render_as_string(hide_password=False)
    if database.startswith("sqlite:///"):
        return database
    raise ConfigurationError(
        "GoogleCloudPlatform.Database: expected postgresql://user:password@host/database"
    )


def _quoted(url: str) -> str:
    """The same address as SQLAlchemy wants it: quoted, and several hosts as parameters.

    It would take an ``@`` in a password for the one before the host, and show what follows it.
    """
    try:
        there = address(url)
    except ValueError as error:
        raise ConfigurationError(f"GoogleCloudPlatform.Database: expected {error}") from None
    scheme, _, rest = there.bare.partition("://")
    hosts, slash, path = rest.partition("/")
    if "," in hosts:
        rest = f"{slash}{path}{'&' if '?' in path else '?'}"
        rest += "&".join(f"host={host}" for host in hosts.split(","))
    if there.user is None:
        return f"{scheme}://{rest}"
    return f"{scheme}://{quote(there.user, safe='')}:{quote(there.password, safe='')}@{rest}"


def is_away(error: Exception) -> bool:
    """Whether the database itself fails, and not what was asked of it.

    A PostgreSQL that may only be read, as one is after a failover, says so by an internal error
    (PEP 249; SQLSTATE 25006).
    """
    return isinstance(
        error,
        sql.exc.OperationalError
        | sql.exc.InterfaceError
        | sql.exc.InternalError
        | sql.exc.TimeoutError,
    )


def words_of(error: Exception) -> str:
    """What a database says of itself, in one line: without values; its password is masked."""
    return readable(str(getattr(error, "orig", None) or error).strip().partition("\n")[0])


def _hide_secrets(context: sql.ExceptionContext) -> None:
    """Mask the password in an error of the database, which may repeat what it was sent."""
    url = context.engine.url if context.engine is not None else None
    given = (url.password, *(url.query.get(name) for name in _SECRETS)) if url is not None else ()
    secrets_of_it = [value for value in given if isinstance(value, str)]
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and secrets_of_it:
            error.args = tuple(
                without(one, secrets_of_it) if isinstance(one, str) else one for one in error.args
            )


def _end_where_interrupted(context: sql.ExceptionContext) -> None:
    """Let Ctrl-C be no error of the database.

    A connection on which it ends a statement cannot be reset, and that error would take its place
    (psycopg: a connection that is ``ACTIVE``). A database that is away says so by other errors:
    also while somebody writes down how far it came before Ctrl-C.

    Raises
    ------
    KeyboardInterrupt
        The error is what it has left behind.
    """
    error = context.original_exception
    is_left_behind = isinstance(context.sqlalchemy_exception, sql.exc.ProgrammingError)
    if is_left_behind and isinstance(error.__context__, KeyboardInterrupt):
        raise error.__context__.with_traceback(None)


def place(engine: sql.Engine) -> str:
    """Where a database is, without a password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return printable(engine.url.set(drivername="postgresql").render_as_string())


@contextmanager
def writing(engine: sql.Engine) -> Iterator[sql.Connection]:
    """A transaction that sees nobody else's half-done work."""
    if engine.dialect.name != "sqlite":
        with engine.connect() as connection:
            yield connection
            connection.commit()
        return
    with _WRITERS[engine].connection() as connection:
        # Otherwise SQLite would begin at the first write, after what was read before it.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        connection.commit()


@contextmanager
def reading(engine: sql.Engine) -> Iterator[sql.Connection]:
    """A connection that writes nothing."""
    with engine.connect() as connection:
        yield connection


class OneAtATime(IntEnum):
    """What only one of several transactions does at once: the keys of PostgreSQL's locks."""

    UPGRADE = 7401201
    FOLLOW_INDEX = 7401202
    WRITE_DOWN_DESTINATION = 7401203
    REQUEST_COMMITMENT = 7401204
    REQUEST_RETRIEVAL = 7401205


def lock_alone(connection: sql.Connection, key: int | sql.ColumnElement[int]) -> None:
    """Wait until no other transaction has this key, and have it until the end of this one.

    What it reads then is what the others have written. On SQLite one writes after the other anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sql.select(sql.func.pg_advisory_xact_lock(key)))


def execute_many(
    connection: sql.Connection,
    statement: sql.Insert | sql.Update,
    rows: Sequence[Mapping[str, Any]],
) -> int:
    """Execute a statement for each of some rows, which have the same columns; how many it changed.

    SQLAlchemy works out for each row what it is a parameter of, which takes several times as long
    as what SQLite does with it; here that is done once. Only for columns whose values need no
    conversion: numbers, text, yes or no; and for statements without lists (``IN``).
    """
    text, names, constants = _compiled(statement, connection.dialect, tuple(rows[0]))
    values = [{**constants, **row} for row in rows] if constants else rows
    parameters: Any = values if names is None else list(map(itemgetter(*names), values))
    done = connection.exec_driver_sql(
        text, parameters, execution_options={"preserve_rowcount": True}
    )
    return int(done.rowcount)


@lru_cache(maxsize=64)
def _compiled(
    statement: sql.Insert | sql.Update, dialect: sql.Dialect, columns: tuple[str, ...]
) -> tuple[str, tuple[str, ...] | None, Mapping[str, Any]]:
    """Its text, the order of its parameters if they have no names, and those of all rows."""
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    names = tuple(compiled.positiontup or ()) if compiled.positional else None
    constants = {name: one for name, one in compiled.params.items() if name not in columns}
    return str(compiled), names, constants


def find(
    connection: sql.Connection, statement: sql.Select[Any], values: Mapping[str, Any]
) -> Sequence[Any]:
    """The rows that a statement finds, as the driver gives them: yes and no may be 1 and 0.

    SQLAlchemy takes longer to work out how to ask than SQLite to answer. Here that is remembered,
    for a few lengths that lists of values (``IN``) are filled up to.

    Parameters
    ----------
    values
        Of all parameters, by their names; no list is empty.
    """
    lists = {name: _filled(one) for name, one in values.items() if isinstance(one, list)}
    lengths = tuple((name, len(one)) for name, one in lists.items())
    text, names, constants, parts = _expanded(statement, connection.dialect, tuple(values), lengths)
    flat = {**constants, **{name: one for name, one in values.items() if name not in lists}}
    for name, some in lists.items():
        flat.update(zip(parts[name], some, strict=True))
    parameters: Any = flat if names is None else tuple(flat[name] for name in names)
    return connection.exec_driver_sql(text, parameters).all()


def _filled(values: list[Any]) -> list[Any]:
    """The same values; the last one again and again until they are a power of four, or 512."""
    length = min(4 ** (((len(values) - 1).bit_length() + 1) // 2), max(512, len(values)))
    return values + [values[-1]] * (length - len(values))


@lru_cache(maxsize=256)
def _expanded(
    statement: sql.Select[Any],
    dialect: sql.Dialect,
    names: tuple[str, ...],
    lengths: tuple[tuple[str, int], ...],
) -> tuple[str, tuple[str, ...] | None, Mapping[str, Any], Mapping[str, list[str]]]:
    """Its text, the order of its parameters, those that are always the same, and the lists'."""
    compiled = statement.compile(dialect=dialect)
    values = dict.fromkeys(names) | {name: [None] * length for name, length in lengths}
    state = compiled.construct_expanded_state(values)
    parts = {name: state.parameter_expansion[name] for name, _ in lengths}
    given = {*names, *(part for some in parts.values() for part in some)}
    constants = {name: value for name, value in state.parameters.items() if name not in given}
    order = tuple(state.positiontup or ()) if compiled.positional else None
    return state.statement, order, constants, parts


def upsert(dialect: str, table: sql.Table) -> Any:
    """An insert that can say what is done with a row that is there already."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert(table)


def connect(url: str) -> sql.Engine:
    """An engine for all threads of this process; no connection is made yet."""
    if url.startswith("sqlite"):
        engine = _sqlite_engine(url, _CONNECTIONS)
        _WRITERS[engine] = _Writer(engine)
        return engine
    engine = sql.create_engine(
        url,
        hide_parameters=True,
        pool_size=_CONNECTIONS,
        pool_pre_ping=True,
        pool_timeout=_BUSY_SECONDS,
        connect_args={
            "connect_timeout": 10,
            # So that all sessions of a worker that does not answer any more can be ended.
            "application_name": f"orthanc-gcp {os.getpid()} {secrets.token_hex(4)}",
            # A network that swallows everything is noticed within half a minute.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "handle_error", _hide_secrets)
    event.listen(engine, "handle_error", _end_where_interrupted)
    return engine


def _sqlite_engine(url: str | sql.URL, connections: int) -> sql.Engine:
    engine = sql.create_engine(
        url,
        hide_parameters=True,
        pool_size=connections,
        # Each has a cache of its own: those that are not needed are to stay empty.
        pool_use_lifo=True,
        connect_args={"timeout": _BUSY_SECONDS},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # Rows of a worker that stands still in a transaction are waited for, but not for ever.
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{_LOCKED_SECONDS}s'")
    connection.autocommit = False


def make_private(engine: sql.Engine) -> None:
    """Let nobody but owner and group read a ledger in a file; made anew, its owner alone.

    The files that SQLite makes beside it have its mode. What cannot be is left to SQLite to say.
    A file that is there is not opened: to close it again would release the locks that SQLite has.
    """
    if engine.dialect.name != "sqlite":
        return
    path = Path(engine.url.database or "")
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for file in path.parent.glob(f"{path.name}*"):
        with suppress(OSError):
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o007:
                file.chmod(mode & ~0o007)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # Text that is no UTF-8 is a damaged row, and must not stop those beside it.
    connection.text_factory = lambda text: str(text, "utf-8", "replace")
    # Writers queue up at their first statement, not at the first write, where SQLite would fail.
    connection.isolation_level = "IMMEDIATE"
    connection.execute("PRAGMA journal_mode=WAL")
    # After a power cut the last transactions may be gone, never half of one. Each can be lost:
    # changes are read again, and instances sent again, which the store takes as identical.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA journal_size_limit=67108864")
    # What is written again and again is copied into the file once for all.
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    # The upper levels of the indexes of a million instances; SQLite's own 2 MB are too few.
    connection.execute("PRAGMA cache_size=-16384")


def change_mark(engine: sql.Engine) -> Hashable:
    """What is another one after anything was written to the database; None where that is unknown.

    On SQLite these are the times and sizes of its file and of its write-ahead log, to which each
    transaction is appended (SQLite, "Write-Ahead Logging"). PostgreSQL counts the rows that were
    written, and says so some seconds later: too late for whoever has just changed something.
    """
    if engine.dialect.name != "sqlite":
        return None
    main = str(engine.url.database)
    return tuple(_file_mark(Path(f"{main}{suffix}")) for suffix in ("", "-wal"))


def _file_mark(file: Path) -> Hashable:
    try:
        there = file.stat()
    except OSError:
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns
