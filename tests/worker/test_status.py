"""What a worker shows of itself."""

from __future__ import annotations

import logging

import pytest

from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.problems import Problems, unsent
from orthanc_gcp.errors import StoreError
from orthanc_gcp.outages import Outage
from orthanc_gcp.worker.samples import of_backfill
from orthanc_gcp.worker.status import WorkerStatus
from tests.support.ledgers import arrival
from tests.support.simulation import FakeClock
from tests.support.transfers import arrive


class NoTokens:
    """An account whose token nobody has asked for."""

    def figures(self):
        return iter(())


@pytest.fixture
def congestion():
    steady = FakeClock()
    return CongestionWindow(steady, 4, Outage(logging.getLogger("s"), "down", "up", steady))


@pytest.fixture
def status(ledger, congestion):
    destination = Destination("a", None, None, congestion, replaces=False, verify="Search")
    rejections = {"wrong": "its BaseUrl is wrong"}
    found = Problems(ledger, ["a"], rejections).found
    return WorkerStatus(
        Overview(ledger), {"a": destination}, rejections, NoTokens(), FakeClock(), found
    )


def test_problems_of_stores_and_of_the_configuration(status, congestion):
    assert status.problems() == {"a": None, "wrong": "its BaseUrl is wrong"}
    congestion.failed(StoreError("a store answered 500", reason="server_error", status=500))
    assert "answered 500" in status.problems()["a"]


def test_what_keeps_orthanc_from_reading_keeps_every_account_from_being_sent_to(ledger, congestion):
    destination = Destination("a", None, None, congestion, replaces=False, verify="Search")
    problems = iter(["Orthanc cannot read its files", None])
    status = WorkerStatus(
        *(Overview(ledger), {"a": destination}, {}, NoTokens(), FakeClock()),
        *(list, lambda: next(problems)),
    )
    assert status.problems() == {"a": "Orthanc cannot read its files"}
    assert status.problems() == {"a": None}


def test_every_account_is_shown(status, ledger):
    arrive(ledger, 3)
    shown = {one.account: one for one in status.accounts()}
    assert shown["a"].counts.waiting.instances == 3
    assert shown["wrong"].problem == "its BaseUrl is wrong"


def test_what_belongs_to_no_account_is_shown(status, ledger):
    ledger.arrivals.record([arrival("1", account="former")])
    shown = {one.account: one for one in status.accounts()}
    assert shown["former"].problem == ("1 instance waits: the configuration has no account former")
    assert [one.kind for one in shown["former"].problems] == ["account"]
    assert shown["a"].problems == ()
    values = {
        tuple(sample.labels.values()): sample.value
        for sample in status.samples()
        if sample.metric.name == "gcp_problem_instances"
    }
    assert values["former", "account"] == 1
    assert values["a", "account"] == 0


def test_a_problem_of_which_nobody_knows_the_instances_is_measured(ledger, congestion):
    destination = Destination("a", None, None, congestion, replaces=False, verify="Search")
    status = WorkerStatus(
        *(Overview(ledger), {"a": destination}, {}, NoTokens(), FakeClock()),
        lambda: [unsent(1000.0, "the ledger may only be read")],
    )
    values = {(one.metric.name, one.labels.get("kind")): one.value for one in status.samples()}
    assert values["gcp_problems", "worker"] == 1
    assert values["gcp_problem_instances", "worker"] == 0
    assert values["gcp_problems", "index"] == 0


def test_samples_of_the_ledger_are_among_them(ledger, congestion):
    destination = Destination("a", None, None, congestion, replaces=False, verify="Search")
    status = WorkerStatus(
        *(Overview(ledger), {"a": destination}, {}, NoTokens(), FakeClock(), list),
        of_ledger=lambda: of_backfill("o", 1, 2),
    )
    found = {one.labels["state"]: one.value for one in status.samples() if "index" in one.labels}
    assert found == {"done": 1, "left": 2}


def test_samples_are_of_transfers_and_requests(status, ledger):
    arrive(ledger, 3)
    names = {sample.metric.name for sample in status.samples()}
    assert any("transfer" in name for name in names)
    assert any("request" in name for name in names)
