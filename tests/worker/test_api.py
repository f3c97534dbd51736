"""The worker's REST API on a real socket, over a real ledger."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sql
import urllib3

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.custody.audit.running import RunningAudit
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.custody.reporting.activity import Activity
from orthanc_gcp.custody.reporting.operations import paused_accounts
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.problems import find_problems
from orthanc_gcp.custody.reporting.receipts import receipts
from orthanc_gcp.custody.reporting.standstill import Standstill
from orthanc_gcp.custody.signatures.signature import Verification, verify
from orthanc_gcp.custody.signatures.signing_key import public_key
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.worker.api import Api
from orthanc_gcp.worker.listener import Listener
from orthanc_gcp.worker.retrieval_api import MOST_RESOURCES, RetrievalApi
from orthanc_gcp.worker.samples import of_transfers
from tests.support.keys import STORE
from tests.support.ledgers import arrival
from tests.support.site import ACCOUNT, Site, make_study
from tests.support.transfers import settle

SECRET = "s3cret-needle"
ODD = "übung / 1?".replace("/", "-")
SETTINGS = configuration.read(
    {
        "GoogleCloudPlatform": {
            "Accounts": {"a": {**STORE, "ServiceAccountFile": "key.json"}},
        }
    },
    Path("/etc"),
)


class Desk:
    """The API with a ledger behind it, and a client."""

    def __init__(self, ledger: Ledger, *, is_open: bool = True) -> None:
        self.ledger, self.demanded, self.priors, self.changes = ledger, [], [], 0
        self.source = "orthanc"
        self.standstill = Standstill(
            ledger, SETTINGS, dict, lambda: True, lambda: datetime.now(UTC)
        )
        api = Api(
            ledger,
            Overview(ledger),
            ["a", ODD],
            lambda: {"a": "busy"},
            self.demand,
            self.change,
            lambda: of_transfers(one.as_json() for one in Overview(ledger).accounts(["a"])),
            lambda: find_problems(ledger, ["a", ODD], {}),
            self.standstill,
            RetrievalApi(ledger, ["a", ODD], lambda: self.source, self.change, self.want_priors),
            Activity(ledger, {"a"}, BackfillOptions(), SystemClock()),
        )
        place = socket.create_server(("127.0.0.1", 0))
        self.port = place.getsockname()[1]
        self.listener = Listener(api.application(SECRET), place)
        self.api = api
        if is_open:
            api.open()
        self.listener.start()
        self.http = urllib3.PoolManager(retries=False)

    def demand(self, account, resources):
        if "gone" in resources:
            raise KeyError("gone")
        self.demanded.append((account, list(resources)))
        return 3

    def want_priors(self, source, account, resources):
        if "gone" in resources:
            raise KeyError("gone")
        self.priors.append((source, account, list(resources)))
        return len(resources)

    def change(self):
        self.changes += 1

    def call(self, method, path, body=None, secret=SECRET):
        url = f"http://127.0.0.1:{self.port}{path}"
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
        answer = self.http.request(method, url, body=data, headers=headers)
        return answer.status, answer.json()


@pytest.fixture
def desk(ledger):
    desk = Desk(ledger)
    yield desk
    desk.listener.stop()
    desk.http.clear()


def arrive(desk, count=3, account="a", study="1"):
    desk.ledger.arrivals.record(
        [
            NewTransfer(
                account, "o", f"r{study}{n}", study, "s", f"{study}.{n}", 10, desk.ledger.now()
            )
            for n in range(count)
        ]
    )


@pytest.mark.parametrize("secret", [None, "", "s3cret", SECRET + "x", "é"])
def test_only_who_knows_the_secret_may_ask(desk, secret):
    for method, path in (
        ("GET", "/gcp/transfers"),
        ("POST", "/gcp/accounts/a/pause"),
        ("GET", "/metrics"),
        ("GET", "/none"),
    ):
        assert desk.call(method, path, secret=secret)[0] == 401
    assert paused_accounts(desk.ledger) == set()


def test_the_overview(desk):
    arrive(desk)
    status, told = desk.call("GET", "/gcp/transfers")
    assert status == 200
    assert [(one["Account"], one["Problem"]) for one in told] == [("a", "busy"), (ODD, None)]
    assert told[0]["Waiting"] == {"Instances": 3, "Bytes": 30}
    assert desk.call("GET", "/gcp/accounts/a/transfers") == (200, told[0])
    assert desk.call("GET", f"/gcp/accounts/{quote(ODD)}/transfers")[1]["Account"] == ODD


def test_metrics(desk):
    arrive(desk)
    url = f"http://127.0.0.1:{desk.port}/metrics"
    answer = desk.http.request("GET", url, headers={"Authorization": f"Bearer {SECRET}"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'gcp_transfer_bytes{account="a",state="waiting"} 30.0' in answer.data.decode()


def test_a_receipt(desk):
    desk.ledger.indexes.begin("o", 0, desk.ledger.now())
    arrive(desk, 2, study="1")
    status, receipt = desk.call("GET", "/gcp/accounts/a/receipt?study=1")
    shown = receipts(desk.ledger, "1", "a", desk.standstill)[0].as_json()
    assert status == 200
    assert receipt | shown == receipt
    assert verify(receipt) == Verification(public_key(desk.ledger), fits=True)
    details = {one["Detail"] for one in receipt["Series"][0]["Instances"]}
    assert details == {"it waits for its turn: 2 are to be sent"}
    assert receipt["Account"] == "a"


def test_pages_and_filters(desk):
    arrive(desk, 3, study="1")
    arrive(desk, 2, study="2")
    status, page = desk.call("GET", "/gcp/accounts/a/instances?limit=2&study=1")
    assert status == 200
    assert [one["Instance"] for one in page["Instances"]] == ["1.0", "1.1"]
    _, page = desk.call("GET", f"/gcp/accounts/a/instances?limit=2&study=1&after={page['Next']}")
    assert ([one["Instance"] for one in page["Instances"]], page["Next"]) == (["1.2"], None)
    _, page = desk.call("GET", "/gcp/accounts/a/studies?limit=1")
    _, rest = desk.call("GET", f"/gcp/accounts/a/studies?after={quote(page['Next'])}")
    assert [one["Study"] for one in page["Studies"] + rest["Studies"]] == ["1", "2"]
    for since, count in (("2020-01-01T00:00:00Z", 5), ("2999-01-01T00:00:00%2B01:00", 0)):
        _, page = desk.call("GET", f"/gcp/accounts/a/instances?since={since}")
        assert len(page["Instances"]) == count


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/gcp/accounts/nobody/transfers", None, 404, "there is no account nobody"),
        ("GET", "/gcp/accounts/nobody/studies", None, 404, "there is no account nobody"),
        ("GET", "/gcp/accounts/a/receipt?study=9", None, 404, "nothing of study 9"),
        ("GET", "/gcp/accounts/a/receipt", None, 404, "nothing of study"),
        ("GET", "/gcp/accounts/a/instances?state=gone", None, 400, "state: expected one of held"),
        ("GET", "/gcp/accounts/a/instances?limit=-1", None, 400, "limit"),
        ("GET", "/gcp/accounts/a/instances?after=x", None, 400, "after"),
        ("GET", "/gcp/accounts/a/instances?since=today", None, 400, "since: expected a time"),
        ("GET", "/gcp/accounts/a/instances?stat=held", None, 400, "stat: there is no such"),
        ("GET", "/gcp/transfers?x=1", None, 400, "x: there is no such parameter"),
        ("GET", "/gcp/accounts/a/instances?study=1%00", None, 400, "study: expected text"),
        ("GET", "/gcp/accounts/a/studies?after=1%00/1", None, 400, "after: expected text"),
        ("GET", "/gcp/accounts/a/receipt?study=%00", None, 400, "study: expected text"),
        ("GET", f"/gcp/accounts/a/instances?after={10**30}", None, 400, "after"),
        ("GET", f"/gcp/accounts/a/studies?after=1/{2**63}", None, 400, "after"),
        ("GET", f"/gcp/accounts/a/studies?after=1/{'9' * 5000}", None, 400, "after"),
        ("GET", f"/gcp/accounts/a/instances?limit={'9' * 5000}", None, 400, "limit"),
        ("GET", "/gcp/accounts/%00%1b%5b31m/transfers", None, 404, "no account [31m, and"),
        ("DELETE", "/gcp/accounts/a/transfers", None, 405, "Method Not Allowed"),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("POST", "/gcp/accounts/nobody/pause", None, 404, "there is no account"),
        ("GET", "/gcp/accounts/nobody/quarantine", None, 404, "there is no account"),
        ("GET", "/gcp/accounts/a/quarantine?limit=1", None, 400, "there is no such parameter"),
        ("GET", "/gcp/accounts/a/quarantine?state=waiting", None, 400, "expected one of quarant"),
        ("GET", "/gcp/accounts/a/quarantine?destination=x", None, 400, "destination: expected the"),
        ("POST", "/gcp/accounts/nobody/dismiss", {"All": True}, 404, "there is no account"),
        ("POST", "/gcp/accounts/a/dismiss", None, 400, 'or {"All": true}'),
        ("POST", "/gcp/accounts/a/dismiss", b" " * 65536 + b"{}", 413, "at most"),
        ("GET", "/gcp/accounts/nobody/losses", None, 404, "there is no account"),
        ("GET", "/gcp/accounts/a/losses?limit=1", None, 400, "there is no such parameter"),
        ("GET", "/gcp/accounts/a/losses?all=1", None, 400, "all: expected one of true, false"),
        ("POST", "/gcp/accounts/nobody/losses/acknowledge", None, 404, "there is no account"),
        ("POST", "/gcp/accounts/a/losses/acknowledge", None, 400, "Listed: expected words"),
        ("POST", "/gcp/accounts/a/losses", None, 405, "Method Not Allowed"),
        ("POST", "/gcp/accounts/nobody/retry", None, 404, "there is no account"),
        ("POST", "/gcp/accounts/a/retry", b"[", 400, "expected a JSON object"),
        ("POST", "/gcp/accounts/a/retry", [], 400, "expected a JSON object"),
        ("POST", "/gcp/accounts/a/retry", {"Studies": "1"}, 400, "Studies: expected Study"),
        ("POST", "/gcp/accounts/a/retry", {"Study": 1}, 400, "expected strings"),
        ("POST", "/gcp/accounts/a/retry", {"Study": "1\0"}, 400, "expected strings"),
        ("POST", "/gcp/accounts/a/retry", b'{"Reason": "\\ud800"}', 400, "expected strings"),
        ("POST", "/gcp/accounts/a/retry", b'{"\\ud800": "1"}', 400, "expected Study"),
        ("POST", "/gcp/accounts/a/retry", b"[" * 60_000, 400, "expected a JSON object"),
        ("POST", "/gcp/accounts/a/send", b'{"a":' * 500_000, 400, "expected a JSON object"),
        ("POST", "/gcp/accounts/a/send", b'{"a": [' + b"[]," * 20_000 + b"1]}", 400, "JSON"),
        ("POST", "/gcp/accounts/a/send", b"9" * 5000, 400, "expected a JSON object"),
        ("POST", "/gcp/accounts/a/retry", b" " * (16 << 20) + b"{}", 413, "at most"),
        ("POST", "/gcp/accounts/nobody/send", {"Resources": ["x"]}, 404, "no account nobody"),
        ("POST", "/gcp/accounts/a/send", {"Resources": {"x": "y"}}, 400, 'expected {"Resources"'),
        ("POST", "/gcp/accounts/a/send", {"Resources": ""}, 400, 'expected {"Resources"'),
        ("POST", "/gcp/accounts/a/send", {"Resources": "x/y"}, 404, "no resource x/y"),
        ("GET", "/gcp/accounts/a/series", None, 400, "study: expected"),
        ("GET", "/gcp/accounts/a/series?study=1&after=x", None, 400, "Next of another page"),
        ("POST", "/gcp/backfill/pause", {"Index": "gone"}, 404, "no backfill of gone"),
        ("POST", "/gcp/backfill/resume", {"Index": 1}, 400, 'expected {"Index"'),
        ("POST", "/gcp/backfill/resume", {}, 400, 'expected {"Index"'),
        ("POST", "/gcp/accounts/a/send", {}, 400, 'expected {"Resources"'),
        ("POST", "/gcp/accounts/a/send", {"Resources": [""]}, 400, 'expected {"Resources"'),
        (
            "POST",
            "/gcp/accounts/a/send",
            {"Resources": ["../system"]},
            404,
            "no resource ../system",
        ),
        ("POST", "/gcp/accounts/a/send", {"Resources": ["é"]}, 404, "no resource é"),
        ("POST", "/gcp/accounts/a/send", {"Resources": ["a" * 101]}, 404, "no resource aaa"),
        ("POST", "/gcp/accounts/a/send", b'{"Resources": ["\\ud800"]}', 404, "no resource"),
        ("POST", "/gcp/accounts/a/send", {"Resources": ["ok", "gone"]}, 404, "no resource gone"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(desk, method, path, body, status, words):
    answer, told = desk.call(method, path, body)
    assert answer == status
    assert told["HttpStatus"] == status
    assert words in told["Message"]
    assert (desk.demanded, desk.changes) == ([], 0)


def test_pause_and_resume(desk):
    assert desk.call("POST", "/gcp/accounts/a/pause")[1]["Paused"] is True
    assert paused_accounts(desk.ledger) == {"a"}
    assert desk.call("POST", "/gcp/accounts/a/resume")[1]["Paused"] is False
    assert desk.changes == 2


def test_retry_by_reason(desk):
    arrive(desk)
    rows = desk.ledger.queue.claim(
        "a", "o", "b", "w", most_instances=9, most_bytes=999, most_batches=9
    )
    reasons = ("invalid", "invalid", "conflict")
    desk.ledger.queue.settle(
        "b",
        [
            Outcome(row.id, State.QUARANTINED, reason)
            for row, reason in zip(rows, reasons, strict=True)
        ],
    )
    told = desk.call("POST", "/gcp/accounts/a/retry", {"Reason": "invalid"})
    assert told == (200, {"Account": "a", "Instances": 2})
    assert desk.call("POST", "/gcp/accounts/a/retry") == (200, {"Account": "a", "Instances": 1})
    assert desk.changes == 2


def test_the_quarantine_by_reason_and_a_dismissal(desk):
    arrive(desk)
    rows = desk.ledger.queue.claim(
        "a", "o", "b", "w", most_instances=2, most_bytes=999, most_batches=9
    )
    refused = [Outcome(row.id, State.QUARANTINED, "invalid", "no DICOM") for row in rows]
    desk.ledger.queue.settle("b", refused)
    status, told = desk.call("GET", "/gcp/accounts/a/quarantine?reason=invalid")
    assert (status, [one["Instances"] for one in told["Groups"]]) == (200, [2])
    assert desk.call("GET", "/gcp/accounts/a/quarantine?study=9")[1]["Groups"] == []
    place = told["Groups"][0]["Destination"]
    for number, found in ((place, 3), (place + 1, 0)):
        _, listed = desk.call("GET", f"/gcp/accounts/a/instances?destination={number}")
        assert len(listed["Instances"]) == found
    assert desk.call("GET", "/gcp/accounts/a/transfers")[1]["Quarantined"]["Instances"] == 2
    body = {"Instance": "1.0", "Why": "a phantom", "By": "jane"}
    dismissed = desk.call("POST", "/gcp/accounts/a/dismiss", body)
    assert dismissed == (200, {"Account": "a", "Instances": 1, "By": "jane (as typed)"})
    assert desk.call("GET", "/gcp/accounts/a/transfers")[1]["Dismissed"]["Instances"] == 1
    (group,) = desk.call("GET", "/gcp/accounts/a/quarantine?state=dismissed")[1]["Groups"]
    assert group["Detail"] == "dismissed by jane (as typed): a phantom"
    assert desk.changes == 1
    by_name = {"Instance": "1.0"}
    assert desk.call("POST", "/gcp/accounts/a/retry", by_name)[1]["Instances"] == 1


def test_the_last_day_of_an_account(desk):
    expected = {"Account": "a", "StepSeconds": 600, "Steps": []}
    assert desk.call("GET", "/gcp/accounts/a/history") == (200, expected)
    assert desk.call("GET", "/gcp/accounts/nobody/history")[0] == 404
    assert desk.call("GET", "/gcp/accounts/a/history?x=1")[0] == 400


def test_who_works_on_the_ledger(desk):
    arrive(desk)
    desk.ledger.queue.claim(
        "a", "o", "b", "worker-1", most_instances=2, most_bytes=999, most_batches=9
    )
    RunningAudit(desk.ledger, "machine").note(3, 10)
    told = desk.call("GET", "/gcp/activity")[1]
    (audit,) = told["Audits"]
    assert (audit["Machine"], audit["Studies"]) == ("machine", {"Done": 3, "Total": 10})
    assert [one["Worker"] for one in told["Senders"]] == ["worker-1"]
    (orthanc,) = told["Orthancs"]
    assert (orthanc["Index"], orthanc["OpenInstances"], orthanc["Seen"]) == ("o", 3, None)
    assert told["Backfills"] == []
    assert desk.call("GET", "/gcp/activity?x=1")[0] == 400


def test_what_was_listed_as_lost_is_acknowledged(desk):
    arrive(desk)
    settle(desk.ledger, State.LOST, 1, reason="recycled")
    told = desk.call("GET", "/gcp/accounts/a/losses")[1]
    assert [one["Instances"] for one in told["Studies"]] == [1]
    assert "Acknowledged" not in told
    settle(desk.ledger, State.LOST, 1, reason="recycled")
    body = {"Listed": told["Listed"], "By": "jane"}
    done = desk.call("POST", "/gcp/accounts/a/losses/acknowledge", body)
    expected = {"Account": "a", "Instances": 1, "Changes": 0, "By": "jane (as typed)"}
    assert done == (200, expected)
    assert desk.changes == 1
    figures = desk.call("GET", "/gcp/accounts/a/transfers")[1]
    assert (figures["Lost"]["Instances"], figures["Withdrawn"]["Instances"]) == (1, 1)
    left = desk.call("GET", "/gcp/accounts/a/losses?all=true")[1]
    assert [one["Instances"] for one in left["Studies"]] == [1]
    (former,) = left["Acknowledged"]["Studies"]
    assert (former["Instances"], former["By"]) == (1, "jane (as typed)")
    status, told = desk.call("POST", "/gcp/accounts/a/losses/acknowledge", body)
    assert (status, told["Message"]) == (
        409,
        "what is lost has changed since it was listed: list it again",
    )


def test_send(desk):
    body = {"Resources": ["one-1", "two"], "Synchronous": False, "HttpHeaders": {}}
    assert desk.call("POST", "/gcp/accounts/a/send", body) == (
        200,
        {"Account": "a", "Instances": 3},
    )
    desk.call("POST", "/gcp/accounts/a/send", {"Resources": "three"})
    assert desk.demanded == [("a", ["one-1", "two"]), ("a", ["three"])]


def test_priors_are_asked_for(desk):
    path = "/gcp/accounts/a/prefetch"
    for resources in ("one", ["two", "three"]):
        assert desk.call("POST", path, {"Resources": resources})[0] == 200
    assert desk.priors == [("orthanc", "a", ["one"]), ("orthanc", "a", ["two", "three"])]
    desk.source = ""
    assert desk.call("POST", path, {"Resources": "one"})[0] == 503
    assert len(desk.priors) == 2


def test_as_much_is_retrieved_at_once_as_is_allowed(desk):
    wanted = {"Resources": [{"Study": "1.2", "Series": "1.2.3"}] * MOST_RESOURCES}
    status, told = desk.call("POST", "/gcp/accounts/a/retrieve", wanted)
    assert (status, told["Account"]) == (200, "a"), told


def test_a_ledger_that_is_away_is_told(desk):
    with desk.ledger.writing() as connection:
        connection.execute(sql.text("DROP TABLE gcp_transfers"))
    status, told = desk.call("GET", "/gcp/transfers")
    assert (status, "ledger" in told["Message"]) == (503, True)


def test_a_worker_for_another_machine_answers_and_sends_on_demand(tmp_path):
    """``--listen``: patient, study, series and instance by Orthanc's identifiers."""
    with Site(tmp_path, rules=[], listen=True) as site:
        files = make_study(series=2, instances=2) + make_study(instances=3)
        uploaded = [site.upload(content) for content in files]
        ask = site.orthanc.json
        study = ask("GET", f"/instances/{uploaded[0]}/study")["ID"]
        series = ask("GET", f"/instances/{uploaded[4]}/series")["ID"]
        patient = ask("GET", f"/instances/{uploaded[0]}/patient")["ID"]
        site.wait_for_api()

        def send(*resources):
            return site.api("POST", f"/gcp/accounts/{ACCOUNT}/send", {"Resources": list(resources)})

        status, told = send(uploaded[0], "0-1-2")
        assert (status, "0-1-2" in told["Message"]) == (404, True)
        assert site.rows() == []
        assert send(uploaded[0]) == (200, {"Account": ACCOUNT, "Instances": 1})
        site.wait_for(confirmed=1)
        assert send(study, uploaded[1]) == (200, {"Account": ACCOUNT, "Instances": 4})
        site.wait_for(confirmed=4)
        assert send(series) == (200, {"Account": ACCOUNT, "Instances": 3})
        site.wait_for(confirmed=7)
        assert send(patient)[1]["Instances"] == 7
        site.wait_for(confirmed=7)
        assert len(site.stored()) == 7


def test_a_demand_goes_before_a_backfill(desk):
    backfilled = NewTransfer("a", "o", "r", "1", "s", "1.1", 10, 5.0, priority=Priority.BACKFILL)
    assert desk.ledger.arrivals.record([backfilled]) == 1
    demanded = NewTransfer("a", "o", "r", "1", "s", "1.1", 10, 9.0, priority=Priority.DEMANDED)
    assert desk.ledger.arrivals.record([demanded]) == 1
    assert desk.ledger.arrivals.record([demanded]) == 0
    more = [replace(demanded, account=account) for account in "bc"]
    assert desk.ledger.arrivals.record([demanded, *more]) == 2
    with desk.ledger.reading() as connection:
        (row,) = connection.execute(sql.select(transfers).where(transfers.c.account == "a"))
    assert (row.priority, row.state, row.received_at) == (Priority.DEMANDED, State.WAITING, 9.0)


def test_what_belongs_to_no_account_has_a_problem_with_a_remedy(desk, ledger):
    ledger.indexes.begin("orthanc", 0, ledger.now())
    ledger.arrivals.record([arrival("1", account="former")])
    status, told = desk.call("GET", "/gcp/transfers")
    assert status == 200
    own = {one["Account"]: one for one in told}["former"]
    assert own["Problem"] == "1 instance waits: the configuration has no account former"
    (problem,) = own["Problems"]
    assert (problem["Kind"], problem["Instances"]) == ("account", 1)
    assert "put the account back" in problem["Remedy"]
    assert desk.call("GET", "/gcp/accounts/former/transfers")[1]["Problems"] == [problem]


def test_before_there_is_a_ledger_only_its_health_is_answered(ledger):
    desk = Desk(ledger, is_open=False)
    try:
        assert desk.call("GET", "/health") == (200, {"Healthy": True})
        assert desk.call("GET", "/health", secret="wrong")[0] == 401
        for path in ("/gcp/transfers", "/metrics", "/healthy", "/health/"):
            status, told = desk.call("GET", path)
            assert (status, "still starting" in told["Message"]) == (503, True)
        desk.api.open()
        assert desk.call("GET", "/gcp/transfers")[0] == 200
    finally:
        desk.listener.stop()
        desk.http.clear()


def test_a_backfill_is_steered(desk):
    desk.ledger.indexes.begin("o", 0, desk.ledger.now())
    BackfillStudies(desk.ledger, "o", ["a"]).restart()
    for action, paused in (("pause", True), ("resume", False)):
        told = desk.call("POST", f"/gcp/backfill/{action}", {"Index": "o"})
        assert told == (200, {"Index": "o", "Paused": paused})
        (one,) = desk.call("GET", "/gcp/activity")[1]["Backfills"]
        assert one["Paused"] is paused
