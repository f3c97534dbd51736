"""Fault rules: which there can be, and which requests they are for."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.client import Client, make_dicom, path_of, read
from tests.emulator.faults.connections import (
    statuses,
    stored,
)


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("x", "object of path"),
        ({}, "does nothing"),
        ({"explode": 1}, "object of path"),
        ({"status": 399}, "status that cannot be: it is a whole number between 400 and 599"),
        ({"status": 600}, "status"),
        ({"status": True}, "status"),
        ({"status": 500, "path": "("}, "path that cannot be: it is a regular expression, but"),
        ({"status": 500, "path": 1}, "path that cannot be: it is a text"),
        ({"status": 500, "method": "BREW"}, "method that cannot be: it is one of GET, POST"),
        ({"status": 500, "probability": 1.1}, "probability that cannot be"),
        ({"status": 500, "count": -1}, "count that cannot be"),
        ({"status": 500, "skip": 0.5}, "skip that cannot be"),
        ({"delay": -1}, "delay that cannot be"),
        ({"delay": float("nan")}, "delay that cannot be"),
        ({"cut": "explode"}, "cut that cannot be: it is one of reset, resetRequest"),
        ({"cut": "reset", "afterBytes": 1}, "afterBytes, but no cut"),
        ({"cut": "reset", "status": 500}, "two ways at once"),
        ({"tokenDies": True, "lose": 1}, "two ways at once"),
        ({"lose": 0.6, "refuse": 0.5}, "more than there is"),
        ({"lose": "some"}, "lose that cannot be"),
        ({"storeThenFail": True, "lose": 1}, "both stores and does not"),
        ({"storeThenFail": True, "cut": "truncate"}, "storeThenFail, whose cut"),
        ({"storeThenFail": True, "readBody": False}, "readBody, but the request is handled"),
        ({"cut": "reset", "body": ""}, "body without a status"),
        ({"cut": "reset", "retryAfter": 1}, "retry after without a status"),
        ({"status": 500, "html": True, "body": ""}, "both html and a body"),
    ],
)
def test_rules_that_cannot_be(rule: Any, complaint: str) -> None:
    settings = FaultSettings()
    settings.change(faults=[{"status": 503}])
    before = settings.as_json()
    with pytest.raises(ValueError, match=rf"^faults has a rule 1 that .*{complaint}"):
        settings.change(latency=1, faults=[{"status": 500}, rule])
    assert settings.as_json() == before
    assert settings.current.latency == 0


def test_rules_are_a_list() -> None:
    for rules in ({"status": 500}, [{"status": 500}] * 1001):
        with pytest.raises(ValueError, match="is a list of rules, 1000 at most"):
            FaultSettings().change(faults=rules)


def test_what_a_rule_is_for(own_client: Client, fail: Any) -> None:
    fail(
        {"status": 503, "path": r"/dicomWeb/series$"},
        {"status": 500, "method": "DELETE"},
        {"status": 502, "path": "series"},
    )
    assert own_client.get("/series").status == 503
    assert own_client.request("DELETE", "/studies/1/series/2").status == 500
    assert own_client.get("/studies/1/series").status == 502
    assert own_client.get("/studies").status == 204
    assert own_client.request("GET", f"{own_client.url}/nowhere/series").status == 404


def test_counts_end(emulator: Emulator, own_client: Client, fail: Any) -> None:
    fail({"status": 503, "skip": 2, "count": 2}, {"status": 500, "count": 1})
    assert statuses(own_client, 6) == [500, 204, 503, 503, 204, 204]
    first, second = emulator.fault_settings.as_json()["faults"]
    assert (first["matched"], first["used"]) == (6, 2)
    assert (second["matched"], second["used"]) == (4, 1)
    emulator.fault_settings.change(latency=0)
    assert own_client.get("/studies").status == 204
    # What is shown can be set; it begins anew.
    emulator.fault_settings.change(faults=emulator.fault_settings.as_json()["faults"])
    assert statuses(own_client, 3) == [500, 204, 503]


def test_a_seed_makes_runs_repeat(own_client: Client, fail: Any) -> None:
    rule = {"status": 503, "probability": 0.5}
    runs = []
    for seed in (1, 1, 2):
        fail(rule, seed=seed)
        runs.append(statuses(own_client, 40))
    assert runs[0] == runs[1] != runs[2]
    assert {204, 503} == set(runs[0])


def test_instances_that_are_lost(own_client: Client, fail: Any) -> None:
    files = [make_dicom() for _ in range(3)]
    fail({"lose": "all", "count": 1})
    answer = own_client.store(*files)
    references = answer.json()["00081199"]["Value"]
    assert answer.status == 200
    assert [item["00081155"]["Value"] for item in references] == [
        [read(file).SOPInstanceUID] for file in files
    ]
    assert stored(own_client) == []
    assert own_client.get(path_of(read(files[0]))).status == 403
    truth = own_client.store(*files)
    assert truth.json() == answer.json()
    assert len(stored(own_client)) == 3


def test_some_instances_are_lost_and_some_refused(own_client: Client, fail: Any) -> None:
    runs = []
    for _ in range(2):
        store = own_client.of_new_store()
        files = [make_dicom() for _ in range(40)]
        fail({"lose": 0.3, "refuse": 0.3, "method": "POST"}, seed=5)
        answer = store.store(*files)
        assert answer.status == 409
        told = answer.json()
        failed = {item["00081155"]["Value"][0] for item in told["00081198"]["Value"]}
        reasons = {item["00081197"]["Value"][0] for item in told["00081198"]["Value"]}
        acknowledged = {item["00081155"]["Value"][0] for item in told["00081199"]["Value"]}
        there = {match["00080018"]["Value"][0] for match in stored(store)}
        uids = [read(file).SOPInstanceUID for file in files]
        assert failed | acknowledged == set(uids)
        assert reasons == {272}
        details = {item["00091097"]["Value"][0] for item in told["00081198"]["Value"]}
        assert details == {"internal error"}
        assert there < acknowledged
        runs.append([(uid in failed, uid in there) for uid in uids])
    assert runs[0] == runs[1]
