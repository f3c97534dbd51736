"""The ledger of a configuration, for commands that need neither an Orthanc nor a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.destinations import stores_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.terminal import write_config

__all__ = ["config", "own_ledger"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Orthanc's configuration, with an account and a rule."""
    file = tmp_path / "orthanc.json"
    write_config(file)
    return file


@pytest.fixture
def own_ledger(config: Path) -> Iterator[Ledger]:
    """The ledger that it names, empty."""
    settings = configuration.read(read_files([config]), folder_of([config]))
    settings.storage_folder.mkdir()
    engine = database.connect(database.url_for(settings))
    prepare(engine)
    yield Ledger(engine, stores=stores_of(settings))
    engine.dispose()
