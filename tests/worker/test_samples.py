"""What is measured of tokens and transfers, by name and labels."""

from __future__ import annotations

from types import SimpleNamespace

from orthanc_gcp.auth.account_state import Figures
from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.custody.destinations.congestion import Totals
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.problems import ProblemKind
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.retrieval.receive.receiver import Result
from orthanc_gcp.worker.samples import (
    OF_ORTHANC,
    OF_WORKER,
    PROBLEMS,
    RECEIVE_RESULTS,
    STATES,
    of_backfill,
    of_gateway,
    of_quarantine,
    of_receivers,
    of_requests,
    of_retrievals,
    of_tokens,
    of_transfers,
)
from tests.support.transfers import arrive, settle


def by_name(samples):
    return {(one.metric.name, *one.labels.values()): one.value for one in samples}


def test_a_token_and_none():
    figures = [("a", Figures(600.0, 3, 1)), ("b", Figures())]
    assert by_name(of_tokens(figures, 1_800_000_000.0)) == {
        ("gcp_token_up", "a"): 1,
        ("gcp_token_expiry_timestamp_seconds", "a"): 1_800_000_600,
        ("gcp_token_refreshes_total", "a"): 3,
        ("gcp_token_refresh_failures_total", "a"): 1,
        ("gcp_token_up", "b"): 0,
        ("gcp_token_expiry_timestamp_seconds", "b"): 0,
        ("gcp_token_refreshes_total", "b"): 0,
        ("gcp_token_refresh_failures_total", "b"): 0,
    }


def test_transfers_by_state(ledger, clock):
    ledger.arrivals.record([NewTransfer("a", "o", "r", "1", "s", "1.1", 10, clock.now)])
    clock.now += 7
    found = by_name(of_transfers(one.as_json() for one in Overview(ledger).accounts(["a", "b"])))
    assert found["gcp_transfer_instances", "a", "waiting"] == 1
    assert found["gcp_transfer_bytes", "a", "waiting"] == 10
    assert found["gcp_transfer_oldest_unsent_age_seconds", "a"] == 7
    assert found["gcp_transfer_oldest_unsent_age_seconds", "b"] == 0
    assert sum(value for name, value in found.items() if name[1] == "b") == 0
    assert {name[2] for name in found if len(name) == 3} == {*STATES, *PROBLEMS}
    assert set(PROBLEMS) == set(ProblemKind)


def test_what_is_lost_stays_said_when_the_account_is_another_store(ledger, clock):
    first = Ledger(ledger.engine, clock, {"a": StoreName("first")})
    arrive(first, 3)
    settle(first, State.LOST, 2)
    second = Ledger(ledger.engine, clock, {"a": StoreName("second")})
    second.destinations.register()
    found = by_name(of_transfers(one.as_json() for one in Overview(second).accounts(["a"])))
    assert found["gcp_transfer_instances", "a", "lost"] == 2
    assert found["gcp_transfer_instances", "a", "waiting"] == 0


def test_requests_by_result():
    reasons = {"quota": 2, "forbidden": 1}
    totals = Totals(succeeded=3, throttled=2, failed=1, instances=9, reasons=reasons)
    found = by_name(of_requests({"a": totals}))
    requests = "gcp_transfer_requests_total"
    results = {name[2]: value for name, value in found.items() if name[0] == requests}
    assert results == {"succeeded": 3, "throttled": 2, "failed": 1}
    assert found["gcp_transfer_failed_requests_total", "a", "quota"] == 2
    assert found["gcp_transfer_failed_requests_total", "a", "forbidden"] == 1
    assert found["gcp_transfer_sent_instances_total", "a"] == 9
    assert found["gcp_transfer_sent_bytes_total", "a"] == 0


def test_what_is_measured_of_the_ledger_beside():
    assert by_name(of_quarantine({("a", "conflict"): 3})) == {
        ("gcp_quarantined_instances", "a", "conflict"): 3
    }
    assert by_name(of_retrievals({("a", "running"): 2})) == {("gcp_retrievals", "a", "running"): 2}
    assert by_name(of_backfill("o", 5, 7)) == {
        ("gcp_backfill_studies", "o", "done"): 5,
        ("gcp_backfill_studies", "o", "left"): 7,
    }


def test_messages_by_result():
    rule = ReceiveRule(account="a", subscription="projects/p/subscriptions/s")
    one = SimpleNamespace(rule=rule, held=3, most_attempts=4, error=None, total=len)
    found = by_name(of_receivers([one]))
    named = "a", "projects/p/subscriptions/s"
    assert found["gcp_receive_messages_total", *named, "given_up"] == 8
    assert found["gcp_receive_up", *named] == 1
    assert found["gcp_receive_held_messages", *named] == 3
    assert found["gcp_receive_most_delivery_attempts", *named] == 4
    assert set(RECEIVE_RESULTS) == set(Result)


def test_a_gateway():
    status = {
        "Associations": 3,
        "StorageCommitment": {"Open": 2},
        "Requests": [{"Service": "C-FIND", "Seconds": 1.5, "ByStatus": {"0000": 7, "A700": 1}}],
    }
    assert by_name(of_gateway(status)) == {
        ("gcp_gateway_associations",): 3,
        ("gcp_gateway_open_commitments",): 2,
        ("gcp_gateway_request_seconds_total", "C-FIND"): 1.5,
        ("gcp_gateway_requests_total", "C-FIND", "0000"): 7,
        ("gcp_gateway_requests_total", "C-FIND", "A700"): 1,
    }
    assert not list(of_gateway({**status, "StorageCommitment": None, "Requests": []}))[1:]


_UNITS = ("_instances", "_bytes", "_seconds", "_changes", "_patients", "_messages", "_attempts")
_UNITS += ("_associations", "_commitments", "_total", "_up", "_studies", "_retrievals", "_paused")
_UNITS += ("_problems",)


def test_names_have_their_unit_and_counters_say_so():
    for metric in {*OF_ORTHANC, *OF_WORKER}:
        assert metric.name.endswith(_UNITS)
        assert metric.is_counter == metric.name.endswith("_total")
