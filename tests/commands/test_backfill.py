"""A backfill is steered in the ledger, for the Orthanc that answers."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import astuple, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orthanc_gcp.commands import backfill as module
from orthanc_gcp.commands.live import progress
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Stage
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Mark, NewTransfer, Outcome
from orthanc_gcp.ledger.schema import Priority, State
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.terminal import invoke, write_config

MARK = Mark(1, "NewInstance", "here", "20261121T221844")


class Named(BaseHTTPRequestHandler):
    """An Orthanc that says its name, and its only change."""

    def do_GET(self):
        body = b'{"Name": "test", "DicomAet": "ORTHANC"}'
        if self.path.startswith("/changes"):
            change = dict(zip(("Seq", "ChangeType", "ID", "Date"), astuple(MARK), strict=True))
            page = {"Changes": [{**change, "ResourceType": "Instance"}], "Last": 1, "Done": True}
            body = json.dumps(page).encode()
        elif self.path.startswith("/instances?"):
            body = b"[]"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def studies(tmp_path, config) -> Iterator[BackfillStudies]:
    """What the ledger knows of the backfill of an Orthanc that answers."""
    engine = database.connect(database.url_of("", tmp_path))
    ledger = Ledger(engine)
    prepare(engine)
    with ThreadingHTTPServer(("127.0.0.1", 0), Named) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        write_config(config, StorageDirectory=str(tmp_path), HttpPort=server.server_port)
        yield BackfillStudies(ledger, "test/ORTHANC", ["google"])
        server.shutdown()
        thread.join()
    engine.dispose()


def end(studies) -> None:
    assert studies.run is not None
    studies.finish(studies.run)


def told(config, *options, **more):
    return json.loads(invoke("backfill", config, "--json", *options, **more).stdout)


def test_how_far_it_is_and_what_a_person_has_it_do(studies, config):
    assert told(config) is None
    assert invoke("backfill", config).stdout == "no backfill has begun\n"
    begun = told(config, "--restart")
    assert (begun["State"], begun["Paused"]) == (Stage.LISTING.value, False)
    assert told(config, "--pause")["Paused"] is True
    assert studies.paused
    assert told(config, "--status")["Paused"] is True
    said = invoke("backfill", config).stdout.splitlines()
    assert said[0].startswith("backfill: listing, paused, began 20")
    assert said[1:] == ["  0 of 0 studies written down", "  0 instances confirmed"]
    assert told(config, "--resume")["Paused"] is False
    assert not studies.paused
    first = studies.run
    invoke("backfill", config, "--restart")
    assert first is not None
    assert studies.run is not None
    assert studies.run != first


def test_while_no_worker_runs_that_is_said(studies, config, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.1)
    invoke("backfill", config, "--restart")
    threading.Timer(0.6, end, [studies]).start()
    said = invoke("backfill", config, "--wait").stderr
    assert "studies written down, 0 instances confirmed, and no worker runs" in said


def test_it_is_followed_to_its_end(studies, config, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)
    invoke("backfill", config, "--restart")
    threading.Timer(0.4, end, [studies]).start()
    said = invoke("backfill", config, "--wait").stdout
    assert "backfill: finished, began 20" in said
    assert ", ended 20" in said


def test_what_has_ended_and_is_not_confirmed(studies, config, tmp_path):
    engine = database.connect(database.url_of("", tmp_path))
    ledger, index = Ledger(engine), studies.source
    uids = ("r", "1.2", "1.2.3", "1.2.3.4")
    row = NewTransfer("my-google", index, *uids, 5, ledger.now(), priority=Priority.BACKFILL)
    ledger.arrivals.record([row])
    invoke("backfill", config, "--restart")
    most = {"most_instances": 1, "most_bytes": 9, "most_batches": 1}
    (claimed,) = ledger.queue.claim("my-google", index, "b", "w", **most)
    ledger.queue.settle("b", [Outcome(claimed.id, State.QUARANTINED, reason="invalid")])
    engine.dispose()
    end(studies)
    assert "1 in quarantine" in invoke("backfill", config, "--wait", code=1).stdout


def test_one_that_has_not_begun_is_not_done(studies, config):
    """A worker begins it only some time after Orthanc was started."""
    assert invoke("backfill", config, "--wait", code=1).stdout == "no backfill has begun\n"
    assert told(config, "--wait", code=1) is None


def test_what_orthanc_cannot_read_is_not_done(studies, config, tmp_path):
    invoke("backfill", config, "--restart")
    end(studies)
    assert told(config, "--wait")["Unreadable"] == 0
    engine = database.connect(database.url_of("", tmp_path))
    Ledger(engine).arrivals.change_unreadable(studies.source, ["a", "b"])
    engine.dispose()
    assert "2 that Orthanc cannot read" in invoke("backfill", config, "--wait", code=1).stdout
    assert told(config, "--wait", code=1)["Unreadable"] == 2


@pytest.mark.parametrize("recycled", [0, 2])
def test_what_orthanc_may_have_recycled_is_not_done(studies, config, recycled):
    invoke("backfill", config, "--restart")
    assert studies.run is not None
    studies.drop(studies.run, [], 0, gone=3, recycled=recycled)
    end(studies)
    said = invoke("backfill", config, "--wait", code=int(recycled > 0)).stdout
    assert "3 studies gone before they were written down" in said
    assert (", 2 maybe recycled" in said) == (recycled == 2)


def test_broken_off(studies, config, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)
    invoke("backfill", config, "--restart")
    threading.Timer(0.4, signal.raise_signal, [signal.SIGINT]).start()
    said = invoke("backfill", config, "--wait", code=130).stderr
    assert said.startswith("broken off: backfill: listing, 0 of 0 studies written down")
    assert "; no worker goes on" in said


def test_one_thing_at_a_time(studies, config):
    done = invoke("backfill", config, "--pause", "--restart", code=2)
    assert done.stderr == "expected one of --pause, --resume, --restart and --status\n"
    assert studies.run is None


@pytest.mark.parametrize("is_here", [True, False])
def test_that_of_another_orthanc_of_the_same_name_is_left(studies, config, is_here, tmp_path):
    """The ledger does not know yet what this one has: no worker has followed it."""
    engine = database.connect(database.url_of("", tmp_path))
    mark = MARK if is_here else replace(MARK, orthanc_id="elsewhere")
    assert Ledger(engine).indexes.begin("test/ORTHANC", 1, 5000.0, [mark]).source == studies.source
    engine.dispose()
    if is_here:
        invoke("backfill", config, "--pause")
        assert studies.paused
        return
    for option in "--pause", "--restart", "--wait":
        said = invoke("backfill", config, option, code=2).stderr
        assert "the ledger does not know the index of this Orthanc: start its worker first" in said
    assert not studies.paused
    assert studies.run is None


def test_orthanc_is_away(studies, config):
    done = invoke("backfill", config, "--orthanc", "http://127.0.0.1:1/", code=2)
    assert "http://127.0.0.1:1 does not answer" in done.stderr
