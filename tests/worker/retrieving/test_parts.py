"""What brings instances back, as a configuration wants it."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.worker.retrieving.parts import retrieving_parts
from tests.support.keys import STORE
from tests.support.ledgers import ORTHANC, clock, sqlite_ledger
from tests.support.simulation import FakeClock

__all__ = ["clock", "sqlite_ledger"]


class Limits:
    """What of a destination counts here."""

    def wait_for_request(self) -> None:
        """No limit."""

    def byte_throttles(self, _priority: Any) -> tuple[()]:
        return ()


@pytest.fixture
def make(sqlite_ledger, tmp_path):
    def made(**section):
        accounts = {"a": {**STORE, "ServiceAccountFile": "missing.json"}}
        whole = {"GoogleCloudPlatform": {"Accounts": accounts, **section}}
        settings = configuration.read(whole, tmp_path)
        rest = OrthancRest("http://127.0.0.1:1")
        return retrieving_parts(
            settings,
            sqlite_ledger,
            rest,
            OrthancSource(rest, tmp_path),
            {"a": Limits()},
            TokenSource(settings, FakeClock()),
            FakeClock(),
            Conditions(lambda: ORTHANC, lambda _: True, lambda: False),
        )

    return made


def test_without_rules_only_what_is_asked_for_is_retrieved(make, sqlite_ledger):
    parts = make()
    assert parts.receivers == ()
    parts.noticed(ORTHANC, ["study"])
    assert sqlite_ledger.prefetches.found("study") == []
    parts.stop()


def test_one_receiver_for_each_subscription(make):
    entries = [{"Account": "a", "Subscription": name} for name in ("one", "two")]
    parts = make(Receive=entries)
    names = [one.rule.subscription.rpartition("/")[2] for one in parts.receivers]
    assert names == ["one", "two"]
    parts.stop()


def test_studies_are_noted_for_their_priors(make, sqlite_ledger):
    parts = make(Prefetch=[{"Account": "a"}])
    parts.noticed(ORTHANC, ["study"])
    (row,) = sqlite_ledger.prefetches.found("study")
    assert (row.account, row.source) == ("a", ORTHANC)
    parts.stop()
