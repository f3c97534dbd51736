"""An emulator in a thread, and a client of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.adjustable import Adjustable
from tests.emulator.client import Client


@dataclass
class Clock:
    """The time, plus what a test adds."""

    offset: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of identities, made once: keys take their time."""
    path = tmp_path_factory.mktemp("identities") / "identities.json"
    Identities(path, "osimis-test")
    return path


@pytest.fixture
def emulator(
    tmp_path: Path, credentials: Path, clock: Clock, identities: Path
) -> Iterator[Emulator]:
    """An emulator of the test's own."""
    (tmp_path / "data").mkdir()
    shutil.copy(identities, tmp_path / "data")
    options = Options(tmp_path / "data", write_credentials=credentials)
    with Emulator(options, clock) as running:
        yield running


@pytest.fixture
def own_client(emulator: Emulator, credentials: Path) -> Iterator[Client]:
    """A client of the test's own emulator."""
    client = Client(emulator.url, credentials)
    yield client
    client.pool.clear()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def shared_emulator(shared_folder: Path, identities: Path) -> Iterator[Emulator]:
    """An emulator for tests that leave it as they found it."""
    shutil.copy(identities, shared_folder)
    options = Options(
        shared_folder,
        write_credentials=shared_folder,
        allowed_hosts=("healthcare.googleapis.com", "healthcare.example"),
    )
    with Emulator(options) as running:
        yield running


@pytest.fixture(scope="session")
def shared_client(shared_emulator: Emulator, shared_folder: Path) -> Iterator[Client]:
    client = Client(shared_emulator.url, shared_folder)
    yield client
    client.pool.clear()


@pytest.fixture
def client(shared_client: Client) -> Client:
    """A client of an emulator that tests share, with a store of its own."""
    return shared_client.of_new_store()


@pytest.fixture
def adjustable(emulator: Emulator, own_client: Client) -> Adjustable:
    """A client of the test's own emulator, whose fault settings it changes."""
    return Adjustable(emulator, own_client)
