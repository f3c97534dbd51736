"""Ledgers of both databases, and a site whose custody the commands show and steer."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

from orthanc_gcp import stop_signals
from tests.support.command_ledger import config
from tests.support.emulator import STORE_PATH
from tests.support.keys import STORE
from tests.support.ledgers import clock, engine, ledger
from tests.support.site import Site
from tests.support.studies import SECOND

__all__ = ["clock", "config", "engine", "ledger", "site"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    key = {"ServiceAccountFile": str(folder / "emulator/credentials/service-account.json")}
    accounts = {
        "google": {**STORE, **key},
        SECOND: {**STORE, **key, "DicomStore": "second"},
    }
    stores = (STORE_PATH, STORE_PATH.removesuffix("dicom") + "second")
    arguments = ("--admin", *(word for store in stores for word in ("--store", store)))
    rules = [
        {"To": "google", "Modalities": ["OT"]},
        {"To": SECOND, "Modalities": ["MR"], "Tags": {"PatientName": "Secret*"}},
    ]
    with Site(
        folder, rules=rules, section={"Accounts": accounts}, emulator_arguments=arguments
    ) as site:
        site.wait_for_following()
        yield site


@pytest.fixture
def process(monkeypatch) -> Iterator[None]:
    """This process, for commands that run until a signal: handlers and logging are restored.

    It does not have to end within the time that such a command has.
    """
    monkeypatch.setattr(stop_signals, "end_within", lambda _seconds: None)
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    log = logging.getLogger("orthanc_gcp")
    level = log.level
    yield
    log.setLevel(level)
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)
