"""A worker of parts that are whole; nothing is asked, and nothing written, before it runs."""

from __future__ import annotations

import json
import random
import socket
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import pytest
import sqlalchemy as sql

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.intake import changes
from orthanc_gcp.custody.reporting.problems import ProblemKind
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.ledger import workers
from orthanc_gcp.ledger.workers import ALIVE, note_served, served
from orthanc_gcp.orthanc.first_start import FILE_NAME
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.worker import assembly, progress
from orthanc_gcp.worker.assembly import assemble
from orthanc_gcp.worker.progress import Progress
from tests.support.front import Front
from tests.support.keys import STORE, user_account
from tests.support.orthanc import free_port, wait_until
from tests.support.orthanc_life import file_of
from tests.support.raw_server import RawServer, answer, read_body
from tests.support.simulated_orthanc import Index, SimulatedOrthanc
from tests.worker.test_worker import Run

ORTHANC = "http://127.0.0.1:1"


def read(folder, **section):
    account = {**STORE, "ServiceAccountFile": "missing.json"}
    whole = {"Accounts": {"google": account}, "Send": [{"To": "google"}], **section}
    return configuration.read({"GoogleCloudPlatform": whole}, folder)


def test_nothing_happens_before_it_runs(tmp_path):
    database = f"sqlite:///{tmp_path}/ledger.sqlite"
    assemble(read(tmp_path, Database=database), OrthancRest(ORTHANC), "w")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "since", "address"),
    [
        ("http://me:hush@pacs:8042/", None, "http://pacs:8042"),
        ("http://me:hush@localhost:8042/", None, "http://localhost:8042 of w"),
        ("http://pacs:8042/", 5.0, ""),
    ],
)
def test_where_orthanc_is_asked_tells_it_from_others(tmp_path, url, since, address):
    """Not for a worker that Orthanc has started: its folder says since when it is followed."""
    settings = read(tmp_path, Database=f"sqlite:///{tmp_path}/ledger.sqlite")
    worker = assemble(settings, OrthancRest(url), "w", since)
    assert worker._parts.follower._recognition.address == address


def test_a_database_that_cannot_be_meant_keeps_it_from_starting(tmp_path):
    settings = read(tmp_path, Database="mysql://me:hush@host/db")
    with pytest.raises(ConfigurationError) as refused:
        assemble(settings, OrthancRest(ORTHANC), "w")
    assert "hush" not in str(refused.value)


def test_its_parts_know_of_each_other(tmp_path):
    """What the API is asked goes through the ledger that the worker has made."""
    run = Run(tmp_path, google={**STORE, "ServiceAccountFile": "missing.json"})
    port = free_port()
    run.worker.listen("secret", socket.create_server(("127.0.0.1", port)))

    def ask(path):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", headers={"Authorization": "Bearer secret"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def answers():
        try:
            return [one["Account"] for one in json.loads(ask("/gcp/transfers"))] == ["google"]
        except OSError:
            return False

    with run:
        wait_until(answers, 20)
        assert b'account="google"' in ask("/metrics")


@pytest.fixture
def orthanc():
    made = SimulatedOrthanc(Index(SystemClock(), random.Random(1)))
    yield made
    made.close()


def test_up_to_when_all_was_read_is_noted_in_the_folder(tmp_path, orthanc, monkeypatch, caplog):
    """What cannot be written is said once, and tried again."""
    monkeypatch.setattr(changes, "NOTE_READ_EVERY", 0.0)
    noted = tmp_path / "OrthancStorage" / FILE_NAME
    noted.mkdir(parents=True)
    orthanc.index.receive(file_of(0, 0, 0, 0, 0))
    settings = read(tmp_path, Database=f"sqlite:///{tmp_path}/ledger.sqlite")
    worker = assemble(settings, OrthancRest(orthanc.url), "w", 5.5)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: "cannot be written" in caplog.text, 20)
        noted.rmdir()
        wait_until(noted.is_file, 20)
    finally:
        worker.stop()
        thread.join(20)
    assert json.loads(noted.read_bytes()) > 5.5
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.parametrize("sends", [True, False])
def test_a_worker_says_what_it_sends(tmp_path, orthanc, ledger, sends):
    """Other configurations do not have its accounts; of what it has sent before nothing is left."""
    orthanc.index.receive(file_of(0, 0, 0, 0, 0))
    address = ledger.engine.url.render_as_string(hide_password=False)
    settings = read(tmp_path, Database=address)
    note_served(ledger.engine, "w", "another index", [7])
    worker = assemble(settings, OrthancRest(orthanc.url), "w", 5.5, sends=sends)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: worker._parts.follower._is_noted, 20)
        place = ledger.destinations.find("google"), worker._parts.follower.source
        assert served(ledger.engine) == ({place} if sends else set())
    finally:
        worker.stop()
        thread.join(20)
    assert served(ledger.engine) == set()


@pytest.mark.parametrize("sends", [True, False])
def test_where_nothing_is_sent_no_moment_is_noted(tmp_path, orthanc, sends):
    noted = tmp_path / "OrthancStorage" / FILE_NAME
    noted.parent.mkdir()
    noted.write_text("5.5")
    orthanc.index.receive(file_of(0, 0, 0, 0, 0))
    settings = read(tmp_path, Database=f"sqlite:///{tmp_path}/ledger.sqlite")
    worker = assemble(settings, OrthancRest(orthanc.url), "w", sends=sends)
    thread = threading.Thread(target=worker.run)
    thread.start()
    ledger = noted.with_name("orthanc-gcp-ledger.json")
    try:
        wait_until(ledger.is_file, 20)
        wait_until(lambda: sends == (noted.is_file() and noted.read_text() != "5.5"), 20)
    finally:
        worker.stop()
        thread.join(20)
    assert noted.is_file() == sends


def test_an_index_that_is_there_and_cannot_be_read_needs_a_person(tmp_path, orthanc, monkeypatch):
    """Though the ledger has it as seen: no other worker follows it."""
    monkeypatch.setattr(assembly, "SEEN_WITHIN", 1.0)
    settings = read(tmp_path, Database=f"sqlite:///{tmp_path}/ledger.sqlite")
    with Front() as front:
        front.target = orthanc.url
        worker = assemble(settings, OrthancRest(front.url), "w", 5.5)
        needs_person = worker._parts.problems._find
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            wait_until(lambda: worker._parts.follower.known, 20)
            front.hides = {"/tools/bulk-content": 403}
            orthanc.index.receive(file_of(0, 0, 0, 0, 0))
            wait_until(needs_person, 20)
            (problem,) = needs_person()
            assert "not read, and not sent" in problem.message
            assert "403" in problem.message
            front.hides = {}
            wait_until(lambda: needs_person() == [], 20)
        finally:
            worker.stop()
            thread.join(20)
            front.shutdown()


@pytest.fixture
def another(postgresql_ledger):
    """Another worker of the name "w": it has the lock as soon as the first one has lost it."""
    engine = postgresql_ledger.engine
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.execution_options(isolation_level="AUTOCOMMIT")

        def take():
            waits = pool.submit(connection.execute, LOCK_W)
            wait_until(lambda: _locks(engine, granted=False) == 1, 20)
            with engine.begin() as first:
                first.execute(END_W)
            waits.result(20)

        yield SimpleNamespace(take=take, end=lambda: connection.execute(UNLOCK_W))


LOCK_W = sql.text(f"SELECT pg_advisory_lock({ALIVE}, hashtext('w'))")
UNLOCK_W = sql.text(f"SELECT pg_advisory_unlock({ALIVE}, hashtext('w'))")
LOCKS = f"FROM pg_locks WHERE locktype = 'advisory' AND classid = {ALIVE} AND database IN"
LOCKS = f"{LOCKS} (SELECT oid FROM pg_database WHERE datname = current_database())"
END_W = sql.text(f"SELECT pg_terminate_backend(pid) {LOCKS} AND granted")


def _locks(engine, *, granted):
    with engine.connect() as connection:
        query = sql.text(f"SELECT count(*) {LOCKS} AND granted = :granted")
        return connection.scalar(query, {"granted": granted})


def test_a_worker_whose_lock_another_has_needs_a_person(
    tmp_path, orthanc, postgresql_ledger, another, monkeypatch
):
    """It fails at nothing: it is refused its name, and does nothing."""
    monkeypatch.setattr(assembly, "SEEN_WITHIN", 2.0)
    monkeypatch.setattr(workers, "REFRESH_EVERY", 0.2)
    orthanc.index.receive(file_of(0, 0, 0, 0, 0))
    address = postgresql_ledger.engine.url.render_as_string(hide_password=False)
    worker = assemble(read(tmp_path, Database=address), OrthancRest(orthanc.url), "w", 5.5)
    needs_person, follower = worker._parts.problems._find, worker._parts.follower
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: worker._parts.registry.follows(follower.source), 20)
        assert needs_person() == []
        another.take()
        because = "and what waits is not sent by this one: another worker is called w"
        wait_until(lambda: any(because in one.message for one in needs_person()), 20)
        (problem,) = needs_person()
        assert (problem.kind, problem.account, problem.index) == (ProblemKind.WORKER, "", "")
        another.end()
        wait_until(lambda: needs_person() == [], 20)
        assert worker._parts.registry.follows(follower.source)
    finally:
        worker.stop()
        thread.join(20)


def test_a_subscription_that_does_not_answer_ends_no_worker(tmp_path, orthanc, monkeypatch):
    """Each wait for Google ends by itself, however long all of them together take."""
    monkeypatch.setattr(progress, "ROUND", 0.02)
    monkeypatch.setattr(progress, "HUNG_AFTER", 100)
    ended, released = [], threading.Event()
    monkeypatch.setattr(assembly, "Progress", partial(Progress, ended.append))
    token = json.dumps({"access_token": "t", "expires_in": 3600}).encode()

    def behave(connection, head):
        read_body(connection, head)
        if b":pull " in head:
            released.wait(60)
        connection.sendall(answer(token))

    orthanc.index.receive(file_of(0, 0, 0, 0, 0))
    with RawServer(behave) as server:
        address = f"http://127.0.0.1:{server.port}"
        settings = configuration.read(
            {
                "GoogleCloudPlatform": {
                    "Accounts": {"google": user_account(f"{address}/token")},
                    "BaseUrl": f"{address}/v1",
                    "Database": f"sqlite:///{tmp_path}/ledger.sqlite",
                    "Receive": [{"Account": "google", "Subscription": "arrivals"}],
                }
            },
            tmp_path,
        )
        worker = assemble(settings, OrthancRest(orthanc.url), "w", 5.5)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            wait_until(lambda: any(b":pull " in head for head in server.heads), 20)
            watch = worker._parts.progress
            began = watch._round
            wait_until(lambda: ended or watch._round > began + 150, 30)
        finally:
            released.set()
            worker.stop()
            thread.join(20)
    assert ended == []
