"""The life of one Orthanc with its worker: fixtures for the tests that import them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sql

from orthanc_gcp.emulator.server import Emulator
from tests.custody.test_kept_versions import Life, emulator

__all__ = ["emulator", "life"]


@pytest.fixture
def life(engine: sql.Engine, emulator: Emulator) -> Iterator[Life]:
    made = Life(engine.url.render_as_string(hide_password=False), emulator)
    made.add_orthanc()
    yield made
    made.close()
