"""Ledgers of both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import metadata
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


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def engine(request: Any, tmp_path: Path) -> Iterator[sql.Engine]:
    """An empty database of each kind."""
    url = "" if request.param == "SQLite" else request.getfixturevalue("postgresql")
    engine = database.connect(database.url_of(url, tmp_path))
    metadata.drop_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: sql.Engine, clock: Time) -> Ledger:
    ledger = Ledger(engine, clock)
    prepare(engine)
    return ledger
