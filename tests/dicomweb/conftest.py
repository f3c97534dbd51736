"""The emulator's fixtures, and a client under test of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.transport.authorization import Authorization
from tests.emulator.client import Client
from tests.emulator.conftest import (
    client,
    clock,
    credentials,
    emulator,
    identities,
    own_client,
    shared_client,
    shared_emulator,
    shared_folder,
)

__all__ = [
    "client",
    "clock",
    "credentials",
    "emulator",
    "identities",
    "own_client",
    "shared_client",
    "shared_emulator",
    "shared_folder",
]


@pytest.fixture
def store(client: Client) -> Iterator[DicomStore]:
    """The store that ``client`` has for itself."""
    made = DicomStore(client.web, lambda: Authorization(client.token))
    yield made
    made.close()
