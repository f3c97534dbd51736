"""An emulator with its routes for administrators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client


@pytest.fixture
def admin_client(tmp_path: Path) -> Iterator[Client]:
    options = Options(tmp_path / "data", write_credentials=tmp_path, admin=True)
    with Emulator(options) as running:
        client = Client(running.url, tmp_path)
        yield client
        client.pool.clear()


@pytest.fixture(scope="session")
def shared_admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client for tests that care only for what they store."""
    folder = tmp_path_factory.mktemp("admin")
    with Emulator(Options(folder / "data", write_credentials=folder, admin=True)) as running:
        client = Client(running.url, folder)
        yield client
        client.pool.clear()
