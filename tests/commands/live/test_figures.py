"""The figures of a ledger, with and without a worker."""

from __future__ import annotations

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.live.figures import LedgerFigures
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.ledger.workers import worker_registry
from tests.support.command_ledger import config, own_ledger
from tests.support.transfers import arrive

__all__ = ["config", "own_ledger"]


def test_what_waits_for_a_worker(own_ledger, config):
    settings = configuration.read(read_files([config]), folder_of([config]))
    figures = LedgerFigures(own_ledger, settings)
    arrive(own_ledger, 2, account="my-google")
    found = figures.read()
    (account,) = found["Accounts"]
    assert found["Worker"] is False
    assert account["Waiting"]["Instances"] == 2
    assert [one["Kind"] for one in account["Problems"]] == ["worker"]
    registry = worker_registry(own_ledger.engine, "w", SystemClock())
    registry.reserve()
    registry.join()
    try:
        found = figures.read()
        assert found["Worker"] is True
        assert found["Accounts"][0]["Problems"] == []
    finally:
        registry.leave()
