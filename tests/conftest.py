"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import gc
import logging
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.orthanc import Orthanc
from tests.support.postgres import Postgres
from tests.support.token_server import TokenServer

KEPT_LOGS = Path("test-logs")

# A machine that has much else to do is no fault of what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell that starts the tests in the background has them ignore these, and so would every process
# that a test starts and wants to stop by them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Any:
    """What stands for thousands of tests is no garbage, and is not looked through for any."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A command that runs in this process sets them, and hooks, for the whole of it."""
    loggers = [logging.getLogger(name) for name in ("", "orthanc_gcp", "orthanc_gcp.auth")]
    levels = [logger.level for logger in loggers]
    hooks = threading.excepthook, sys.excepthook
    yield
    threading.excepthook, sys.excepthook = hooks
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def orthanc(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A maker of Orthancs, which stops them and keeps their logs when the test failed."""
    made: list[Orthanc] = []

    def make(configuration: dict[str, Any], start: bool = True, **options: Any) -> Orthanc:
        orthanc = Orthanc(tmp_path / f"orthanc{len(made)}", configuration, **options)
        made.append(orthanc)
        if start:
            orthanc.start()
        return orthanc

    yield make
    for instance in made:
        if instance.running:
            instance.stop()
    if request.node.stash.get(FAILED, False):
        KEPT_LOGS.mkdir(exist_ok=True)
        for number, instance in enumerate(made):
            shutil.copy(instance.log_file, KEPT_LOGS / f"{request.node.name}-{number}.log")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a database for all tests that make their own tables."""
    server = Postgres()
    yield server.url
    server.remove()


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    with TokenServer() as server:
        yield server
