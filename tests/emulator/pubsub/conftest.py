"""Projects of Pub/Sub in the shared emulator, and in one of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emulator.client import Client
from tests.emulator.pubsub.project import Project, with_scope


@pytest.fixture
def project(client: Client, shared_folder: Path) -> Project:
    return Project(with_scope(client, shared_folder))


@pytest.fixture
def own_project(own_client: Client, credentials: Path) -> Project:
    return Project(with_scope(own_client, credentials))
