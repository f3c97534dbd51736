"""What the routes answer: tests/integration/test_routes.py asks them of Orthanc."""

from __future__ import annotations

import json
import re
import threading

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.connector.connector import Connector
from orthanc_gcp.connector.demand_limit import AT_ONCE
from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.plugin.background_checks import AT_ONCE as CHECKS_AT_ONCE
from orthanc_gcp.plugin.background_checks import BackgroundChecks
from orthanc_gcp.plugin.routes import (
    CONNECTOR_ROUTES,
    WORKER_ROUTES,
    Answer,
    from_connector,
    from_worker,
    refusal_of,
)
from tests.support import token_server as answers
from tests.support.keys import user_account
from tests.support.orthanc import wait_until


class NoDicomWeb:
    """An Orthanc without the DICOMweb plugin: nothing is published."""

    def version(self):
        return None

    def shown(self):
        return None


@pytest.fixture
def connector(token_server):
    accounts = {"a": user_account(token_server.url), "wrong": {"Project": 5}}
    settings = configuration.read({"GoogleCloudPlatform": {"Accounts": accounts, "Timeout": 1}})
    connector = Connector(settings, NoDicomWeb())
    connector.start()
    # A refresh that is asked for meanwhile would be the first one.
    wait_until(lambda: from_connector(connector, "GET", ("a",)).body["State"] == "fresh")
    yield connector
    connector.stop()


def test_google_is_not_asked_as_often_as_somebody_likes(connector, token_server):
    before = len(token_server.requests)
    answers = [from_connector(connector, "POST", ("a", "refresh")) for _ in range(40)]
    assert [one.status for one in answers].count(200) == AT_ONCE
    assert answers[-1].status == 429
    assert "try again in" in answers[-1].body["Message"]
    assert len(token_server.requests) - before == AT_ONCE
    assert from_connector(connector, "POST", ("a", "check")).status == 429
    assert from_connector(connector, "GET", ("a",)).status == 200


def test_pages_of_other_origins_change_nothing():
    foreign = {"host": "localhost", "origin": "https://attacker.example"}
    assert refusal_of("GET", foreign) is None
    assert refusal_of("POST", {"host": "localhost"}) is None
    for method in ("POST", "PUT", "DELETE"):
        refused = refusal_of(method, foreign)
        assert refused.status == 403
        assert "another origin" in refused.body["Message"]


class Worker:
    """What a client of the worker gives, or raises."""

    def __init__(self, answer=(200, {"Account": "a"})) -> None:
        self.answer, self.asked = answer, []

    def call(self, *asked):
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def groups_of(path, routes):
    """The groups that Orthanc hands over: each path belongs to exactly one route."""
    (found,) = (match for match in (re.fullmatch(route, path) for route in routes) if match)
    return found.groups()


def test_no_path_belongs_to_two_callbacks():
    for path in ("/gcp/accounts", "/gcp/accounts/a", "/gcp/accounts/a/refresh", "/gcp/transfers"):
        assert sum(
            re.fullmatch(one, path) is not None for one in (*CONNECTOR_ROUTES, *WORKER_ROUTES)
        ) == (1)
    assert groups_of("/gcp/accounts/my google/send", WORKER_ROUTES) == (
        "accounts",
        "my google",
        "send",
    )
    assert groups_of("/gcp/transfers", WORKER_ROUTES) == ("transfers",)


def test_accounts(connector):
    everyone = from_connector(connector, "GET", ())
    assert (everyone.status, [one["Name"] for one in everyone.body]) == (200, ["a", "wrong"])
    assert from_connector(connector, "GET", ("a",)).body["Name"] == "a"
    assert from_connector(connector, "GET", ("b",)).status == 404
    assert from_connector(None, "GET", ()).status == 503


def test_what_fails_has_a_remedy_while_it_does(connector, token_server):
    def error():
        return from_connector(connector, "GET", ("a",)).body["LastError"]

    assert error() is None
    token_server.answer = answers.error("invalid_grant", "Token has been revoked.")
    from_connector(connector, "POST", ("a", "refresh"))
    assert "gcloud auth application-default login" in error()["Remedy"]
    token_server.answer = answers.token("ya29.second")
    from_connector(connector, "POST", ("a", "refresh"))
    assert "Remedy" not in error()
    everyone = {one["Name"]: one for one in from_connector(connector, "GET", ()).body}
    assert everyone["wrong"]["LastError"]["Remedy"].startswith("correct the option")


@pytest.mark.parametrize(
    ("method", "groups", "allowed"),
    [
        ("POST", (), "GET"),
        ("DELETE", ("a",), "GET"),
        ("GET", ("a", "refresh"), "POST"),
        ("PUT", ("a", "check"), "POST,GET"),
    ],
)
def test_a_method_that_is_not_allowed(connector, method, groups, allowed):
    assert from_connector(connector, method, groups) == Answer(405, allow=allowed)


def test_a_refresh(connector, token_server):
    token_server.answer = answers.token("ya29.second")
    assert from_connector(connector, "POST", ("a", "refresh")).body["State"] == "fresh"
    token_server.answer = answers.error("invalid_grant", "revoked")
    refused = from_connector(connector, "POST", ("a", "refresh"))
    assert (refused.status, refused.body["LastError"]["Reason"]) == (502, "invalid_grant")
    assert from_connector(connector, "POST", ("wrong", "refresh")).status == 502


def test_a_check(connector):
    answer = from_connector(connector, "POST", ("wrong", "check"))
    assert (answer.status, answer.body["Account"], answer.body["Passed"]) == (200, "wrong", False)
    assert json.loads(answer.text) == answer.body


def test_what_the_worker_answers():
    worker = Worker()
    groups = ("accounts", "a", "retry")
    answer = from_worker(worker, "POST", groups, {"x": "1"}, b"{}")
    assert answer == Answer(200, {"Account": "a"})
    assert worker.asked == [("POST", groups, {"x": "1"}, b"{}")]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-31T18%3A00%3A00%2b01:00", "2026-01-31T18:00:00+01:00"),
        ("2026-01-31T18:00:00+01:00", "2026-01-31T18:00:00+01:00"),
        ("1.2.3%2F1", "1.2.3/1"),
        ("%C3%BC", "ü"),
        ("%FF%zz", "\ufffd%zz"),
    ],
)
def test_what_is_percent_encoded_means_the_same(written, meant):
    worker = Worker()
    from_worker(worker, "GET", ("accounts", "a", "studies"), {"since": written}, b"")
    assert worker.asked[0][2] == {"since": meant}


@pytest.mark.parametrize(
    ("method", "groups", "allowed"),
    [
        ("POST", ("transfers",), "GET"),
        ("POST", ("accounts", "a", "studies"), "GET"),
        ("GET", ("accounts", "a", "send"), "POST"),
        ("GET", ("accounts", "a", "pause"), "POST"),
    ],
)
def test_the_worker_is_not_asked_what_is_not_allowed(method, groups, allowed):
    worker = Worker()
    assert from_worker(worker, method, groups, {}, b"") == Answer(405, allow=allowed)
    assert worker.asked == []


def test_there_is_no_worker_or_it_is_away():
    nobody = from_worker(None, "GET", ("transfers",), {}, b"")
    assert (nobody.status, nobody.body["HttpStatus"]) == (503, 503)
    assert "no rule in Send" in nobody.body["Message"]
    away = from_worker(Worker(WorkerUnavailableError("it is away")), "GET", ("transfers",), {}, b"")
    assert (away.status, away.body["Message"]) == (503, "it is away")


def test_a_check_for_which_nobody_waits(connector):
    checks = BackgroundChecks()

    def ask(method, body=b""):
        return from_connector(connector, method, ("wrong", "check"), body, checks)

    assert ask("GET").status == 404
    assert ask("POST", b'{"Asynchronous": 1}').status == 400
    begun = ask("POST", b'{"Asynchronous": true}')
    assert (begun.status, begun.body["Account"]) == (200, "wrong")
    assert ask("POST", b'{"Asynchronous": true}').status == 200, "the same one"
    wait_until(lambda: not ask("GET").body["Running"])
    told = ask("GET").body
    assert told["Checks"]
    assert told["Passed"] is not any(one["Result"] == "failed" for one in told["Checks"])
    go_on = threading.Event()
    for number in range(CHECKS_AT_ONCE):
        checks.begin(f"{number}", lambda: filter(None, [go_on.wait(10) and None]))
    refused = ask("POST", b'{"Asynchronous": true}')
    go_on.set()
    assert (refused.status, "checks run already" in refused.body["Message"]) == (429, True)


@pytest.mark.parametrize("body", [b"", b"x", b"[" * 100_000, b"[]", b'{"Asynchronous": false}'])
def test_a_check_that_is_waited_for(connector, body):
    answer = from_connector(connector, "POST", ("wrong", "check"), body, BackgroundChecks())
    assert answer.body["Checks"]
    assert "Running" not in answer.body
