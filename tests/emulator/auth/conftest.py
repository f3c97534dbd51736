"""The token endpoints of an emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.auth.token_endpoint import Endpoint
from tests.emulator.auth.token_exchange import Service
from tests.emulator.conftest import Clock


@pytest.fixture(scope="module")
def module_clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def module_emulator(
    tmp_path_factory: pytest.TempPathFactory, module_clock: Clock
) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("token")
    with Emulator(Options(folder, write_credentials=folder), module_clock) as running:
        yield running


@pytest.fixture
def endpoint(module_emulator: Emulator, module_clock: Clock) -> Endpoint:
    module_clock.offset = 0
    return Endpoint(module_emulator)


@pytest.fixture(scope="module")
def service(shared_emulator: Emulator) -> Iterator[Service]:
    service = Service(shared_emulator)
    yield service
    service.pool.clear()
