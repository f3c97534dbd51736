"""A raw connection, and rules for the test's own emulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import Client
from tests.emulator.faults.connections import (
    Raw,
)


@pytest.fixture
def raw(own_client: Client) -> Iterator[Raw]:
    connection = Raw(own_client)
    with closing(connection.socket):
        yield connection


@pytest.fixture
def fail(emulator: Emulator) -> Any:
    """Sets the rules of the test's own emulator."""

    def set_rules(*rules: dict[str, Any], seed: int = 0) -> None:
        emulator.fault_settings.change(faults=list(rules), seed=seed)

    return set_rules
