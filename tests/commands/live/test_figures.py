"""The figures of a ledger, with and without a worker."""

from __future__ import annotations

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.commands.ledger_access import standstill_of
from orthanc_gcp.commands.live.figures import LedgerFigures
from orthanc_gcp.commands.live.status import console, page
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.workers import worker_registry
from orthanc_gcp.reasons import CredentialReason, StoreReason, TransferReason
from tests.support.command_ledger import config, own_ledger
from tests.support.transfers import arrive, settle

__all__ = ["config", "own_ledger"]


def test_what_waits_for_a_worker(own_ledger, config):
    settings = configuration.read(read_files([config]), folder_of([config]))
    figures = LedgerFigures(own_ledger, settings)
    own_ledger.indexes.begin("o", 0, own_ledger.now())
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


def test_an_index_that_is_away_is_said_though_the_command_has_just_begun(own_ledger, config):
    settings = configuration.read(read_files([config]), folder_of([config]))
    arrive(own_ledger, 2, account="my-google")
    registry = worker_registry(own_ledger.engine, "w", SystemClock())
    registry.reserve()
    registry.join()
    try:
        (account,) = LedgerFigures(own_ledger, settings).read()["Accounts"]
    finally:
        registry.leave()
    assert [one["Kind"] for one in account["Problems"]] == ["index"]
    assert account["Problem"] == account["Problems"][0]["Message"]


def test_what_is_lost_is_said_also_of_a_store_that_the_account_was(own_ledger, config):
    settings = configuration.read(read_files([config]), folder_of([config]))
    former = Ledger(own_ledger.engine, stores={"my-google": StoreName("former")})
    former.destinations.register()
    arrive(former, 2, account="my-google")
    settle(former, State.LOST, account="my-google")
    own_ledger.destinations.register()
    found = LedgerFigures(own_ledger, settings).read()
    assert found["Accounts"][0]["Lost"]["Instances"] == 0
    there = console()
    with there.capture() as shown:
        there.print(page(found, bars=False))
    assert "orthanc-gcp losses" in shown.get()


@pytest.mark.parametrize(
    ("reason", "is_of_all"),
    [
        (TransferReason.ABSENT, False),
        (TransferReason.ORTHANC, False),
        (TransferReason.UNCOMPARED, False),
        (TransferReason.MISSING, False),
        (StoreReason.BAD_REQUEST, False),
        (StoreReason.FORBIDDEN, False),
        (StoreReason.UNAVAILABLE, True),
        (StoreReason.NO_TOKEN, True),
        (CredentialReason.MISSING_FILE, True),
    ],
)
def test_what_one_instance_waits_for_is_not_said_of_its_account(
    own_ledger, config, reason, is_of_all
):
    settings = configuration.read(read_files([config]), folder_of([config]))
    own_ledger.indexes.begin("o", 0, own_ledger.now())
    arrive(own_ledger, account="my-google", study="1")
    later = own_ledger.now() + 99
    words = "what the last try came to"
    settle(
        own_ledger,
        State.DELAYED,
        account="my-google",
        reason=reason,
        detail=words,
        next_attempt_at=later,
        max_batch_instances=1 if reason in (TransferReason.ORTHANC, StoreReason.FORBIDDEN) else 50,
    )
    arrive(own_ledger, account="my-google", study="2")
    registry = worker_registry(own_ledger.engine, "w", SystemClock())
    registry.reserve()
    registry.join()
    try:
        (account,) = LedgerFigures(own_ledger, settings).read()["Accounts"]
        why = standstill_of(own_ledger, settings)
        listed = instances(own_ledger, Selection(), standstill=why)
    finally:
        registry.leave()
    delayed, waiting = (one.detail for one in listed.items)
    assert delayed == words
    assert account["Problem"] == (words if is_of_all else None)
    assert (words in waiting) is is_of_all
    assert ("its turn" in waiting) is not is_of_all
