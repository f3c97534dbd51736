"""Fixtures of the storage tests: a database, and the directory of an emulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orthanc_gcp.emulator.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "index.sqlite")) as opened:
        yield opened
