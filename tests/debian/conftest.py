"""Fixtures for what is tried on a Debian host of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.debian import VENV, DebianHost, kept_logs
from tests.support.public_installation import public_folder, public_installation


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip("only root may make a host of its own"))


@pytest.fixture(scope="session")
def virtual_environment() -> Iterator[Path]:
    """What the README's commands make at ``/opt/orthanc-gcp``."""
    with public_folder() as folder:
        public_installation(folder, ["gateway", "worker"], VENV)
        yield folder


@contextmanager
def new_host(
    folder: Path, virtual_environment: Path | None, root: Path | None = None
) -> Iterator[DebianHost]:
    """A host of its own, which ends with the block."""
    made = DebianHost(folder, virtual_environment, root)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def host(
    virtual_environment: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[DebianHost]:
    """A Debian host with Orthanc and this package, as its documentation says; nothing runs."""
    with new_host(tmp_path, virtual_environment) as made, kept_logs(made, request):
        yield made
