"""What the plugin asks a worker: a process of its own that answers over HTTP at a socket."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.plugin import worker_client, worker_process
from orthanc_gcp.plugin.worker_client import WorkerClient
from orthanc_gcp.plugin.worker_process import WorkerProcess
from orthanc_gcp.worker.handshake import WorkerInput
from tests.support.orthanc import wait_until

GIVEN = WorkerInput({}, Path("/etc/orthanc"), "http://h/", "", "Bearer x", "w", 0.0, "s3cret")
WORKER = """
import json, socketserver, sys, tempfile
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

COUNTS = {"Instances": 3, "Bytes": 30}
STATES = (
    "Waiting Sending Acknowledged Confirmed Quarantined Superseded Withdrawn Lost Dismissed"
).split()
FIGURES = {"OldestUnsentSeconds": 7.5, "LostChanges": 2, "UnprotectedPatients": 1}
FIGURES |= {"OldestAcknowledgedSeconds": None, "Paused": True, "FormerStores": []}
PROBLEMS = {"Problems": [{"Kind": "index", "Instances": 4}]}
OVERVIEW = [{"Account": "a", **dict.fromkeys(STATES, COUNTS), **FIGURES, **PROBLEMS}]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    has_answered = False

    def answer(self):
        if self.has_answered:  # it was idle, and is ended in this moment
            self.close_connection = True
            return
        self.has_answered = True
        path, body = urlsplit(self.path), self.rfile.read(int(self.headers["Content-Length"] or 0))
        seen = [self.command, path.path, path.query, body.decode(), self.headers["Authorization"]]
        if path.path == "/gcp/gone":
            OVERVIEW.clear()
        if path.path == "/gcp/odd":
            OVERVIEW[:] = [{}]
        content = json.dumps(OVERVIEW if path.path == "/gcp/transfers" else seen)
        if path.path.endswith("/studies"):
            content = "no JSON"
        self.send_response(404 if path.path.endswith("/receipt") else 200)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())
    do_GET = do_POST = answer

class Server(socketserver.UnixStreamServer):
    def get_request(self):
        return self.socket.accept()[0], ("", 0)

place = tempfile.mkdtemp(prefix="orthanc-gcp-") + "/worker.sock"
server = Server(place, Handler)
sys.stdin.readline()
print(json.dumps({"Socket": place}), flush=True)
server.serve_forever()
"""


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(worker_client, "REFRESH_EVERY", 0.1)
    process = WorkerProcess([sys.executable, "-c", WORKER], GIVEN)
    shown = {}

    def show(samples):
        for one in samples:
            shown[one.metric.name, *one.labels.values()] = one.value

    client = WorkerClient(process, GIVEN.secret, show)
    client.shown, client.process = shown, process
    client.start()
    wait_until(lambda: process.socket)
    yield client
    client.stop()


def test_what_is_asked(client):
    parts = ("accounts", "übung / 1", "retry")
    assert client.call("POST", parts, {"a b": "c&d"}, b'{"Study": "1"}') == (
        200,
        [
            "POST",
            "/gcp/accounts/%C3%BCbung%20%2F%201/retry",
            "a+b=c%26d",
            '{"Study": "1"}',
            "Bearer s3cret",
        ],
    )
    assert client.call("GET", ("accounts", "a", "receipt"))[0] == 404


def test_what_is_no_answer(client):
    with pytest.raises(WorkerUnavailableError, match="does not answer just now"):
        client.call("GET", ("accounts", "a", "studies"))


def test_a_worker_that_does_not_run(client):
    client.stop()
    with pytest.raises(WorkerUnavailableError, match="does not run just now"):
        client.call("GET", ("transfers",))


def test_its_figures_are_shown_as_metrics(client):
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 1)
    assert client.shown["gcp_transfer_instances", "a", "confirmed"] == 3
    assert client.shown["gcp_transfer_bytes", "a", "waiting"] == 30
    assert client.shown["gcp_problem_instances", "a", "index"] == 4
    assert client.shown["gcp_problem_instances", "a", "ledger"] == 0
    assert client.shown["gcp_problems", "a", "index"] == 1
    assert client.shown["gcp_transfer_oldest_unsent_age_seconds", "a"] == 7.5


def test_the_figures_of_an_account_that_is_there_no_more_end(client):
    """Orthanc keeps what was written last: an alert would never be over."""
    problems = "gcp_problem_instances", "a", "index"
    wait_until(lambda: client.shown.get(problems) == 4)
    client.call("POST", ("gone",))
    wait_until(lambda: client.shown[problems] == 0)
    wait_until(lambda: not any(one for name, one in client.shown.items() if len(name) > 1))


def test_a_worker_that_is_away_is_shown(client, monkeypatch):
    monkeypatch.setattr(worker_process, "BACKOFF", Backoff(60, 60, jitter=0))
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 1)
    client.process._process.kill()
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 0)
    assert client.shown["gcp_transfer_instances", "a", "confirmed"] == 3, "the last that is known"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(worker_client, "HEALTH_TIMEOUT", 0.2)
    monkeypatch.setattr(worker_client, "FROZEN_AFTER", 0.5)
    monkeypatch.setattr(worker_process, "BACKOFF", Backoff(0.05, 0.05, jitter=0))


def test_a_worker_that_only_stopped_answering_is_replaced(impatient, client, caplog):
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 1)
    frozen, place = client.process._process, client.process.socket
    frozen.send_signal(signal.SIGSTOP)
    wait_until(lambda: client.process.socket not in (None, place), 20)
    assert frozen.wait(10) == -signal.SIGKILL
    wait_until(lambda: not place.parent.exists())
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 1)
    assert "it is killed" in caplog.text
    assert "signal 9" in caplog.text


def test_one_that_answers_oddly_is_watched_on(impatient, client, caplog):
    """As a worker that was started from a package of another version."""
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 1)
    client.call("POST", ("odd",))
    wait_until(lambda: "how the worker is cannot be shown: unexpected KeyError" in caplog.text)
    place = client.process.socket
    client.process._process.send_signal(signal.SIGSTOP)
    wait_until(lambda: client.process.socket not in (None, place), 20)
    assert caplog.text.count("cannot be shown") == 1


def test_one_that_was_slow_for_a_moment_is_not(impatient, client, monkeypatch, caplog):
    monkeypatch.setattr(worker_client, "FROZEN_AFTER", 60)
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 1)
    process = client.process._process
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 0, 20)
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: client.shown.get(("gcp_worker_up",)) == 1, 20)
    assert client.process._process is process
    assert "killed" not in caplog.text


def test_time_alone_does_not_show_that_a_worker_is_frozen():
    """A call that holds Orthanc's interpreter for a minute, and one answer that is late by it."""
    health = worker_client._Health()
    place = Path("/a/worker.sock")
    health.answered(place, 100.0)
    assert health.failed(place, 170.0) is None
    assert not health.is_good
    assert health.failed(place, 171.0) is None
    assert health.failed(place, 172.0) == 72.0
    assert health.failed(place, 180.0) is None, "another has this place"
    assert health.failed(None, 190.0) is None
    assert health.is_good


def test_one_for_which_no_thread_is_left(monkeypatch):
    """Nothing of it runs beside the next."""
    process = WorkerProcess([sys.executable, "-c", WORKER], GIVEN)
    unstarted = WorkerClient(process, GIVEN.secret, lambda _: None)

    def refuse():
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process, "start", refuse)
    with pytest.raises(RuntimeError):
        unstarted.start()
    wait_until(lambda: not unstarted._metrics.is_alive())
    unstarted.stop()
