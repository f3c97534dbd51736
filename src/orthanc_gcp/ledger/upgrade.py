"""The version of a ledger: made anew, brought up to date, or refused.

The steps between versions are the numbered files in ``migrations/``: ``NNNN_title.sql`` for both
databases, ``NNNN_title.DIALECT.sql`` after it for one. There are a handful of them, which only
rename, add and drop; a second tool with a command, an environment and a history of its own (such
as Alembic) would be more than what it does here.

All steps and the new version are one transaction, for DDL is transactional in PostgreSQL ("DROP
TABLE", "ALTER TABLE") and in SQLite ("Transactions"): a worker that is killed meanwhile leaves the
ledger as it was.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql

from orthanc_gcp.errors import LedgerError
from orthanc_gcp.ledger.database import OneAtATime, lock_alone, place, reading, writing
from orthanc_gcp.ledger.schema import change_cursors, metadata, schema_version, transfers
from orthanc_gcp.ledger.workers import any_alive
from orthanc_gcp.reasons import LedgerReason

__all__ = ["LATEST", "MIGRATIONS", "migrate", "prepare", "require_current"]

_log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
LATEST = max(int(file.name[:4]) for file in MIGRATIONS.glob("*.sql"))
"""The version that this program reads and writes."""
_WITHOUT_VERSION = 1
"""Release 0.1.0 wrote down none."""
_TRIES = (0.0, 0.1, 0.3, 1.0)
"""Seconds before each look for other workers: PostgreSQL needs a moment to release the lock of one
that has ended."""
_HELP = "see orthanc-gcp/docs/operations.md"


def prepare(engine: sql.Engine) -> None:
    """Make the tables, or bring those of an older version up to date; for workers only.

    Raises
    ------
    LedgerError
        The ledger is newer than this program, or damaged, or workers of an older version use it.
    SQLAlchemyError
        The database is away.
    """
    with _damage_named(engine):
        _check_pages(engine)
        with writing(engine) as connection:
            lock_alone(connection, OneAtATime.UPGRADE)  # several workers start at once
            version = _version(engine, connection)
            if version is None:
                metadata.create_all(connection)
                connection.execute(schema_version.insert().values(version=LATEST))
            elif version < LATEST:
                _refuse_in_use(engine, version)
                migrate(connection, version)
                _log.warning("the ledger was migrated from version %d to %d", version, LATEST)
            _require_tables(engine, connection)
            _require_cursors(engine, connection)


def require_current(engine: sql.Engine) -> None:
    """See that a ledger is one that this program can read; nothing is written.

    Raises
    ------
    LedgerError
        There is none, it is of another version, or damaged.
    SQLAlchemyError
        The database is away.
    """
    file = Path(engine.url.database or "")
    missing = LedgerError(
        f"there is no ledger at {place(engine)}: the worker makes it when it first starts",
        reason=LedgerReason.NO_LEDGER,
    )
    if engine.dialect.name == "sqlite" and not file.exists():
        raise missing
    with _damage_named(engine), reading(engine) as connection:
        version = _version(engine, connection)
        if version is None:
            raise missing
        if version < LATEST:
            raise LedgerError(
                f"the ledger at {place(engine)} has version {version}, and this program reads "
                f"version {LATEST}: the worker migrates it when it starts ({_HELP})",
                reason=LedgerReason.OLD_LEDGER,
            )
        _require_tables(engine, connection)


def migrate(connection: sql.Connection, version: int, to: int = LATEST) -> None:
    """Take the steps after a version, in a transaction that is open."""
    for number in range(version + 1, to + 1):
        for statement in _statements(number, connection.dialect.name):
            # As they stand: a per cent sign is no parameter.
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    connection.execute(schema_version.delete())
    connection.execute(schema_version.insert().values(version=to))


def _statements(number: int, dialect: str) -> Iterator[str]:
    """The statements of one step; each ends with a semicolon before an empty line."""
    files = {tuple(file.name.split(".")[1:-1]): file for file in MIGRATIONS.glob(f"{number:04}_*")}
    for key in ((), (dialect,)):
        if key in files:
            yield from re.split(r"(?<=;)\n\n", files[key].read_text("utf-8").strip())


def _version(engine: sql.Engine, connection: sql.Connection) -> int | None:
    """The version of the tables; None without tables."""
    inspector = sql.inspect(connection)
    if not inspector.has_table(schema_version.name):
        return _WITHOUT_VERSION if inspector.has_table(transfers.name) else None
    version = connection.scalar(sql.select(schema_version.c.version))
    if not isinstance(version, int):
        raise _damaged(engine, f"{schema_version.name} has no version")
    if version > LATEST:
        raise LedgerError(
            f"the ledger at {place(engine)} has version {version}, and this program knows up to "
            f"{LATEST}: upgrade orthanc-gcp ({_HELP})",
            reason=LedgerReason.NEW_LEDGER,
        )
    return version


def _is_used_after(pause: float, engine: sql.Engine) -> bool:
    threading.Event().wait(pause)
    return any_alive(engine)


def _refuse_in_use(engine: sql.Engine, version: int) -> None:
    """Another worker would find its columns gone."""
    if all(_is_used_after(pause, engine) for pause in _TRIES):
        raise LedgerError(
            f"the ledger at {place(engine)} has version {version}, which a running worker uses: "
            f"stop all workers before this one migrates it ({_HELP})",
            reason=LedgerReason.IN_USE,
        )


def _require_tables(engine: sql.Engine, connection: sql.Connection) -> None:
    inspector = sql.inspect(connection)
    for table in metadata.sorted_tables:
        if not inspector.has_table(table.name):
            raise _damaged(engine, f"the table {table.name} is missing")
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                raise _damaged(engine, f"the column {table.name}.{column.name} is missing")


def _require_cursors(engine: sql.Engine, connection: sql.Connection) -> None:
    """Where following an Orthanc goes on, and since when it is followed, is nothing to guess."""
    of = change_cursors.c
    for source, seq, since in connection.execute(sql.select(of.source, of.seq, of.since)):
        if not (isinstance(seq, int) and isinstance(since, float)):
            raise _damaged(engine, f"the row {source!r} of {change_cursors.name}")


def _check_pages(engine: sql.Engine) -> None:
    """SQLite finds a page that is broken only when it is read; PostgreSQL checks its own."""
    if engine.dialect.name == "sqlite":
        with reading(engine) as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise _damaged(engine, str(found).partition("\n")[0])


@contextmanager
def _damage_named(engine: sql.Engine) -> Iterator[None]:
    """Raise LedgerError for a file that is no database, or a broken one."""
    try:
        yield
    except sql.exc.DatabaseError as error:
        name = getattr(error.orig, "sqlite_errorname", "")
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise _damaged(engine, str(error.orig)) from None
        raise


def _damaged(engine: sql.Engine, what: str) -> LedgerError:
    return LedgerError(
        f"the ledger at {place(engine)} is damaged ({what}): restore a backup, or move it away "
        f"to begin a new one ({_HELP})",
        reason=LedgerReason.DAMAGED_LEDGER,
    )
