"""Ledgers of both databases."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from sqlalchemy import event

from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome, Series
from orthanc_gcp.ledger.schema import State, metadata, schema_version, transfers
from orthanc_gcp.ledger.upgrade import LATEST, prepare

BEGIN = 1_800_000_000.0


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


def empty(url: str, folder: Path) -> Iterator[sql.Engine]:
    """A database without tables of ours."""
    engine = database.connect(database.url_of(url, folder))
    metadata.drop_all(engine)
    yield engine
    engine.dispose()


def prepared(url: str, folder: Path) -> Iterator[sql.Engine]:
    """A database with our tables, and nothing in them.

    To make them takes PostgreSQL a tenth of a second, which most tests would spend on nothing
    else: they are emptied, as long as no test has changed anything but rows.
    """
    if not url:
        file = folder / database.FILE_NAME
        file.touch(0o600)
        file.write_bytes(_new_file())
    engine = database.connect(database.url_of(url, folder))
    if url and not _emptied(engine):
        metadata.drop_all(engine)
        prepare(engine)
        with engine.connect() as connection:
            _AS_MADE[engine.url] = connection.scalar(_DEFINITIONS)
    yield engine
    engine.dispose()


@cache
def _new_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        for engine in empty("", Path(folder)):
            prepare(engine)
        return (Path(folder) / database.FILE_NAME).read_bytes()


_AS_MADE: dict[sql.URL, str] = {}
_DEFINITIONS = sql.text("""
    WITH own AS (
        SELECT oid, xmin FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    SELECT string_agg(entry, ' ' ORDER BY entry) FROM (
        SELECT concat_ws('.', oid, xmin) FROM own
        UNION ALL SELECT concat_ws('.', attrelid, attnum, xmin) FROM pg_attribute
            WHERE attrelid IN (SELECT oid FROM own) AND attnum > 0
        UNION ALL SELECT concat_ws('.', oid, xmin) FROM pg_constraint
            WHERE conrelid IN (SELECT oid FROM own)
        UNION ALL SELECT concat_ws('.', oid, xmin) FROM pg_trigger
            WHERE tgrelid IN (SELECT oid FROM own)
    ) AS entries (entry)
""")
"""Which rows of PostgreSQL's catalogue describe the tables: each DDL writes one anew."""
_SIZE = sql.text("""
    SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace
""")
_EMPTY = f"""
    {";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))};
    INSERT INTO {schema_version.name} VALUES ({LATEST});
    SELECT setval(oid::regclass, 1, false) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
"""
_LARGE = 4_000_000
"""Bytes of the tables: what was deleted from them stays there for a while."""


def _emptied(engine: sql.Engine) -> bool:
    """Whether the tables are as they were made; they have no rows any more then."""
    as_made = _AS_MADE.get(engine.url)
    if as_made is None:
        return False
    with engine.begin() as connection:
        if connection.scalar(_DEFINITIONS) != as_made or connection.scalar(_SIZE) > _LARGE:
            return False
        connection.exec_driver_sql(_EMPTY)
    return True


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def engine(request: Any, tmp_path: Path) -> Iterator[sql.Engine]:
    """A database of each kind: empty, or that of the ledger of the same test."""
    url = "" if request.param == "SQLite" else request.getfixturevalue("postgresql")
    make = prepared if "ledger" in request.fixturenames else empty
    yield from make(url, tmp_path)


@pytest.fixture
def ledger(engine: sql.Engine, clock: Time) -> Ledger:
    return Ledger(engine, clock)


@pytest.fixture
def sqlite_ledger(tmp_path: Path, clock: Time) -> Iterator[Ledger]:
    for engine in prepared("", tmp_path):
        yield Ledger(engine, clock)


@pytest.fixture
def postgresql_ledger(postgresql: str, tmp_path: Path, clock: Time) -> Iterator[Ledger]:
    for engine in prepared(postgresql, tmp_path):
        yield Ledger(engine, clock)


# -- Steps on the way of an instance --------------------------------------------------------------

A, ORTHANC = "account", "orthanc"
SERIES = Series("study", "series")
"""That of :func:`arrival`."""


def arrival(name: str, **more: object) -> NewTransfer:
    usual = NewTransfer(A, ORTHANC, name, "study", "series", f"1.{name}", 100, 5000.0, change_seq=1)
    return replace(usual, **more)


def claim(ledger: Ledger, batch: str = "b", **more: int) -> list[str]:
    limits = {"most_instances": 100, "most_bytes": 10**9, "most_batches": 10, **more}
    return [row.orthanc_id for row in ledger.queue.claim(A, ORTHANC, batch, "w", **limits)]


def states(ledger: Ledger) -> dict[str, str]:
    with ledger.reading() as connection:
        rows = connection.execute(sql.select(transfers.c.orthanc_id, transfers.c.state))
        return {row.orthanc_id: row.state for row in rows}


def claimed_rows(ledger: Ledger, batch: str) -> list[Any]:
    """The rows that a batch has claimed."""
    query = sql.select(transfers).where(
        transfers.c.batch == batch, transfers.c.state == State.SENDING
    )
    with ledger.reading() as connection:
        return list(connection.execute(query))


def settle_batch(ledger: Ledger, state: State, batch: str = "b", **more: object) -> None:
    rows = claimed_rows(ledger, batch)
    ledger.queue.settle(batch, [Outcome(row.id, state, **more) for row in rows])


# -- Two transactions at once, on PostgreSQL -----------------------------------------------------


def meanwhile(
    ledger: Ledger, first: Callable[[sql.Connection], object], then: Callable[[], object]
) -> None:
    """The second begins after the first has written, and before that is committed."""
    with ThreadPoolExecutor(1) as pool:
        with ledger.writing() as connection:
            first(connection)
            second = pool.submit(then)
            _wait_until_it_waits(ledger, second)
        second.result(30)


def before_it_commits(
    ledger: Ledger, first: Callable[[], object], then: Callable[[], object]
) -> tuple[Any, Any]:
    """The second begins after the first has written all, and before that is committed."""
    written, may_commit = threading.Event(), threading.Event()

    def hold(_connection: sql.Connection) -> None:
        if threading.current_thread().name.startswith("first"):
            written.set()
            assert may_commit.wait(60)

    event.listen(ledger.engine, "commit", hold)
    try:
        with ThreadPoolExecutor(1, "first") as one, ThreadPoolExecutor(1, "then") as two:
            before = one.submit(first)
            assert written.wait(30)
            after = two.submit(then)
            try:
                _wait_until_it_waits(ledger, after)
            finally:
                may_commit.set()
            return before.result(30), after.result(30)
    finally:
        event.remove(ledger.engine, "commit", hold)


def _wait_until_it_waits(ledger: Ledger, done: Future[object]) -> None:
    waits = sql.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
    )
    for _ in range(3000):
        with ledger.reading() as connection:
            if done.done() or connection.scalar(waits):
                return
        time.sleep(0.01)
    raise AssertionError("it neither ends nor waits")
