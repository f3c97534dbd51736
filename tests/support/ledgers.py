"""Ledgers of both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome, Series
from orthanc_gcp.ledger.schema import State, metadata, transfers
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.postgres import Postgres

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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a database for all tests that make their own tables."""
    server = Postgres()
    yield server.url
    server.remove()


def empty(url: str, folder: Path) -> Iterator[sql.Engine]:
    """A database without tables of ours."""
    engine = database.connect(database.url_of(url, folder))
    metadata.drop_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def engine(request: Any, tmp_path: Path) -> Iterator[sql.Engine]:
    """An empty database of each kind."""
    url = "" if request.param == "SQLite" else request.getfixturevalue("postgresql")
    yield from empty(url, tmp_path)


@pytest.fixture
def ledger(engine: sql.Engine, clock: Time) -> Ledger:
    prepare(engine)
    return Ledger(engine, clock)


@pytest.fixture
def sqlite_ledger(tmp_path: Path, clock: Time) -> Iterator[Ledger]:
    for engine in empty("", tmp_path):
        prepare(engine)
        yield Ledger(engine, clock)


@pytest.fixture
def postgresql_ledger(postgresql: str, tmp_path: Path, clock: Time) -> Iterator[Ledger]:
    for engine in empty(postgresql, tmp_path):
        prepare(engine)
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
