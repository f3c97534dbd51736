"""A batch against a store: what becomes of each instance."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sql

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.custody.transfer.outcomes import BISECT_AFTER
from orthanc_gcp.custody.transfer.sender import MOST_UNCOMPARED, Sender
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.transport.authorization import Authorization
from tests.dicomweb.conftest import (
    client,
    clock,
    identities,
    shared_client,
    shared_emulator,
    shared_folder,
    store,
)
from tests.emulator.client import make_dicom, read
from tests.support.orthanc import Orthanc, free_port
from tests.support.site import make_instance

__all__ = [
    "client",
    "clock",
    "identities",
    "shared_client",
    "shared_emulator",
    "shared_folder",
    "store",
]

A, ORTHANC = "a", "o"


class Tokens:
    """In whose name is sent, and whether another token was asked for."""

    renewed = 0

    def identity(self, account: str) -> str:
        return f"sender of {account}"

    def renew(self, account: str) -> None:
        self.renewed += 1


class Room:
    """A sender, the ledger that it claims from, and the folder of an Orthanc that it reads."""

    def __init__(self, folder, store: DicomStore, url: str = "", storage=None) -> None:
        engine = database.connect(database.url_of("", folder))
        prepare(engine)
        self.ledger, self.storage = Ledger(engine), storage or folder / "storage"
        self.tokens, self.away, self.stop = Tokens(), [], False
        steady = SystemClock()
        outage = Outage(logging.getLogger("store"), "down", "up", steady)
        self.congestion = CongestionWindow(steady, 4, outage)
        self.replaces = False
        self.store = store
        self.orthanc = OrthancSource(OrthancRest(url or WithoutInstances.url), self.storage)
        self.steady = steady

    def receive(self, *files: bytes, stored: bool = True) -> None:
        """Orthanc has received files: they are in its folder, and in the ledger."""
        rows = []
        for content in files:
            name, dataset = str(uuid.uuid4()), read(content)
            place = self.storage / name[:2] / name[2:4] / name
            place.parent.mkdir(parents=True)
            if stored:
                place.write_bytes(content)
            rows.append(
                NewTransfer(
                    account=A,
                    source=ORTHANC,
                    orthanc_id=name,
                    study_instance_uid=dataset.StudyInstanceUID,
                    series_instance_uid=dataset.SeriesInstanceUID,
                    sop_instance_uid=dataset.SOPInstanceUID,
                    size_bytes=len(content),
                    received_at=1.0,
                    attachment_uuid=name,
                )
            )
        self.ledger.arrivals.record(rows)

    def follow(self, *identifiers: str) -> None:
        """A real Orthanc has received instances."""
        rows = [
            arrival_of(described, ORTHANC, A, 1, Priority.LIVE)
            for described in self.orthanc.describe(identifiers)
        ]
        self.ledger.arrivals.record(rows)

    def file_of(self, identifier: str) -> Path:
        """Where a real Orthanc has the file of an instance."""
        uuid = self.orthanc.checksums.attachment(identifier).uuid
        return self.storage / uuid[:2] / uuid[2:4] / uuid

    def send(self) -> list[str]:
        destination = Destination(
            A, self.store, self.store, self.congestion, replaces=self.replaces, verify="Search"
        )
        sender = Sender(
            self.ledger,
            self.orthanc,
            {A: destination},
            self.tokens,
            self.steady,
            lambda: self.stop,
            lambda error, pause: self.away.append(str(error)),
            lambda: 1.0,
        )
        with self.ledger.writing() as connection:  # whatever delay an attempt has brought
            delayed = transfers.c.state == State.DELAYED
            connection.execute(transfers.update().where(delayed).values(state=State.WAITING))
        batch = uuid.uuid4().hex
        limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
        claimed = self.ledger.queue.claim(A, ORTHANC, batch, "w", **limits)
        return sender.send(batch, claimed)

    def rows(self):
        with self.ledger.reading() as connection:
            return connection.execute(sql.select(transfers).order_by(transfers.c.id)).all()

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """A real one."""
    folder = tmp_path_factory.mktemp("orthanc")
    with Orthanc(folder, {"OverwriteInstances": True}, plugins=()) as running:
        yield running


@pytest.fixture
def real(tmp_path, store, orthanc):
    """A room whose Orthanc is a real one."""
    made = Room(tmp_path, store, orthanc.url, orthanc.folder / "storage")
    yield made
    made.ledger.engine.dispose()


@pytest.fixture
def room(tmp_path, store):
    made = Room(tmp_path, store)
    yield made
    made.ledger.engine.dispose()


@pytest.fixture
def settings(shared_emulator):
    """The emulator's fault settings, put back afterwards."""
    made = shared_emulator.fault_settings
    yield made
    made.change(deniedPermissions=[], faults=[])


def test_what_the_store_takes_is_acknowledged_with_its_digest(room):
    files = [make_dicom(), make_dicom(b"more" * 1000)]
    room.receive(*files)
    series = room.send()
    assert series == [row.series_instance_uid for row in room.rows()]
    for row, content in zip(room.rows(), files, strict=True):
        assert row.state == State.ACKNOWLEDGED
        assert row.sha256 == hashlib.sha256(content).hexdigest()
        assert (row.sent_as, row.attempts) == ("sender of a", 1)


def test_sending_again_what_is_there_is_harmless(room):
    content = make_dicom()
    room.receive(content)
    room.send()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.WAITING))
    room.send()
    assert room.states() == [State.ACKNOWLEDGED]


def test_other_bytes_under_the_same_uids_need_a_person(room):
    first = make_dicom()
    uids = {
        name: read(first)[name].value
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    room.receive(first)
    room.send()
    room.receive(make_dicom(b"other", PatientName="Roe^Jane", **uids))
    room.send()
    row = room.rows()[-1]
    assert (row.state, row.reason) == (State.QUARANTINED, "conflict")
    assert "PatientName" in row.detail
    assert "Jane" not in row.detail


def test_what_was_compared_with_the_store_is_not_read_a_second_time(room):
    content = make_dicom()
    room.receive(content)
    room.send()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.WAITING, sha256=None))
    room.send()
    (row,) = room.rows()
    assert (row.state, row.reason) == (State.ACKNOWLEDGED, "compared")
    destination = Destination(
        A, room.store, room.store, room.congestion, replaces=False, verify="Bytes"
    )
    room.store.open = lambda *_: pytest.fail("it was read again")
    ReadBack(room.ledger, {A: destination}, lambda: False).confirm(A, [row.series_instance_uid])
    assert room.states() == [State.CONFIRMED]


def test_what_may_not_be_compared_names_the_permission_and_ends_in_quarantine(room, settings):
    content = make_dicom()
    room.receive(content)
    room.send()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.WAITING, sha256=None))
    settings.change(deniedPermissions=["healthcare.dicomStores.dicomWebRead"])
    for attempt in range(MOST_UNCOMPARED):
        room.send()
        (row,) = room.rows()
        assert "needs the permission healthcare.dicomStores.dicomWebRead" in row.detail
        last = attempt + 2 == MOST_UNCOMPARED  # one was the first sending
        assert row.state == (State.QUARANTINED if last else State.DELAYED)
        assert (row.reason, row.max_batch_instances) == ("uncompared", None)
        if last:
            return
    pytest.fail("it is delayed without end")


def test_while_the_store_cannot_be_read_it_is_delayed_and_the_account_says_why(room, settings):
    content = make_dicom()
    room.receive(content)
    room.send()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.WAITING, sha256=None))
    settings.change(faults=[{"method": "GET", "status": 503}])
    for _ in range(MOST_UNCOMPARED + 1):
        room.send()
    (row,) = room.rows()
    assert (row.state, row.reason) == (State.DELAYED, "uncompared")
    assert "503" in room.congestion.problem


def test_an_instance_that_is_to_be_replaced_waits_for_that(room):
    first = make_dicom()
    uids = {
        name: read(first)[name].value
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    room.replaces = True
    room.receive(first)
    room.send()
    room.receive(make_dicom(b"other", **uids))
    room.send()
    row = room.rows()[-1]
    assert (row.state, row.reason, row.replace) == (State.WAITING, "replacing", True)


def test_while_orthanc_is_away_all_of_a_batch_waits(tmp_path, store):
    room = Room(tmp_path, store, f"http://127.0.0.1:{free_port()}")
    room.receive(make_dicom())
    room.receive(make_dicom(), stored=False)
    assert room.send() == []
    assert room.states() == [State.DELAYED, State.DELAYED]
    assert len(room.away) == 1


class WithoutInstances(BaseHTTPRequestHandler):
    """An Orthanc that does not have what it is asked for: no MD5 either."""

    protocol_version = "HTTP/1.1"
    url = ""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps([]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def without_instances():
    with ThreadingHTTPServer(("127.0.0.1", 0), WithoutInstances) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        WithoutInstances.url = f"http://127.0.0.1:{server.server_port}"
        yield
        server.shutdown()


@pytest.fixture
def deleted(tmp_path, store):
    """A room whose Orthanc has deleted everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WithoutInstances) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Room(tmp_path, store, f"http://127.0.0.1:{server.server_port}")
        yield made
        made.ledger.engine.dispose()
        server.shutdown()


def test_what_orthanc_has_deleted_is_withdrawn_and_the_others_go(deleted):
    deleted.receive(make_dicom(), make_dicom())
    deleted.receive(make_dicom(), stored=False)
    deleted.send()
    assert deleted.states() == [State.WAITING, State.WAITING, State.WITHDRAWN]
    assert deleted.away == []
    deleted.send()
    assert deleted.states() == [State.ACKNOWLEDGED, State.ACKNOWLEDGED, State.WITHDRAWN]


def test_what_the_store_has_lost_and_orthanc_deleted_needs_a_person(deleted):
    deleted.receive(make_dicom(), stored=False)
    with deleted.ledger.writing() as connection:
        connection.execute(transfers.update().values(sha256="d" * 64))
    deleted.send()
    (row,) = deleted.rows()
    assert (row.state, row.reason) == (State.QUARANTINED, "lost")


def test_a_worker_that_stops_leaves_its_batch_as_it_was(room):
    room.receive(make_dicom())
    room.stop = True
    room.send()
    (row,) = room.rows()
    assert (row.state, row.attempts, row.reason) == (State.WAITING, 0, None)


def test_a_token_that_is_refused_is_renewed_and_no_fault_of_the_instances(tmp_path, client):
    room = Room(tmp_path, DicomStore(client.web, lambda: Authorization("ya29.refused")))
    room.receive(make_dicom())
    room.send()
    (row,) = room.rows()
    assert (row.state, row.attempts) == (State.DELAYED, 0)
    assert room.tokens.renewed == 1


def answering(status: int, **headers: str) -> type[BaseHTTPRequestHandler]:
    """A store that answers every request so."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Answer


@pytest.fixture
def failing(tmp_path):
    """Makes a room whose store always gives one answer."""
    ends = []

    def make(status: int, **headers: str) -> Room:
        server = ThreadingHTTPServer(("127.0.0.1", 0), answering(status, **headers))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/dicomWeb"
        store = DicomStore(url, lambda: Authorization("token"))
        room = Room(tmp_path, store)
        ends.extend([server.shutdown, server.server_close, store.close])
        ends.append(room.ledger.engine.dispose)
        return room

    yield make
    for end in ends:
        end()


def test_a_store_that_fails_is_tried_again_later(failing):
    room = failing(500)
    room.receive(make_dicom(), make_dicom())
    room.send()
    assert room.states() == [State.DELAYED] * 2
    assert {row.attempts for row in room.rows()} == {1}
    assert all(row.next_attempt_at > room.ledger.now() for row in room.rows())


def test_what_fails_together_again_and_again_is_sent_apart(failing):
    room = failing(500)
    room.receive(*(make_dicom() for _ in range(4)))
    for _ in range(BISECT_AFTER):
        room.send()
    assert {row.max_batch_instances for row in room.rows()} == {2}


def test_a_store_that_asks_for_less_is_not_held_against_the_instances(failing):
    room = failing(429, Retry_After="7")
    room.receive(make_dicom())
    room.send()
    (row,) = room.rows()
    assert (row.state, row.attempts) == (State.DELAYED, 0)
    assert row.next_attempt_at - room.ledger.now() == pytest.approx(7, abs=1.5)


def test_a_batch_that_is_refused_is_sent_in_halves_until_one_is_at_fault(failing):
    room = failing(400)
    room.receive(make_dicom(), make_dicom(), make_dicom())
    room.send()
    assert {row.max_batch_instances for row in room.rows()} == {2}
    assert set(room.states()) == {State.WAITING}
    room.send()
    room.send()
    assert room.states().count(State.QUARANTINED) == 1


def flip(file: Path, place: int) -> bytes:
    """Change one bit of a file; what it was before."""
    before = file.read_bytes()
    after = bytearray(before)
    after[place] ^= 1
    file.write_bytes(after)
    return before


@pytest.mark.parametrize("place", [-1, 400], ids=["pixels", "header"])
def test_a_file_that_is_damaged_is_not_stored_and_the_others_are(real, orthanc, place):
    content = [make_instance() for _ in range(3)]
    names = [orthanc.json("POST", "/instances", one)["ID"] for one in content]
    damaged = flip(real.file_of(names[1]), place)
    real.follow(*names)
    real.send()
    states = {row.orthanc_id: row.state for row in real.rows()}
    assert states.pop(names[1]) == State.QUARANTINED
    assert set(states.values()) == {State.WAITING}
    real.send()
    (row,) = (row for row in real.rows() if row.state != State.ACKNOWLEDGED)
    assert (row.orthanc_id, row.reason) == (names[1], "damaged_file")
    assert f"was {hashlib.md5(damaged).hexdigest()} when it was received" in row.detail
    assert list(real.store.instances(row.study_instance_uid)) == []
    real.file_of(names[1]).write_bytes(damaged)
    assert retry(real.ledger, A, reason="damaged_file") == 1
    real.send()
    assert set(real.states()) == {State.ACKNOWLEDGED}


def test_what_orthanc_has_received_anew_is_not_called_damaged(real, orthanc):
    content = make_instance()
    name = orthanc.json("POST", "/instances", content)["ID"]
    real.follow(name)
    old = real.file_of(name)
    orthanc.json("POST", "/instances", content[:-2] + b"zz")
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_bytes(content)  # it is not deleted yet
    real.send()
    (row,) = real.rows()
    assert (row.state, row.reason) == (State.DELAYED, "orthanc")
    assert row.detail == "Orthanc has received it anew"
    old.unlink()
    real.send()
    (row,) = real.rows()
    assert (row.state, row.sha256) == (
        State.ACKNOWLEDGED,
        hashlib.sha256(content[:-2] + b"zz").hexdigest(),
    )


def test_an_instance_whose_md5_orthanc_refuses_holds_up_no_other(tmp_path, store):
    class Refusing(WithoutInstances):
        def do_GET(self) -> None:
            self.send_response(500 if refused in self.path else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        room = Room(tmp_path, store, f"http://127.0.0.1:{server.server_port}")
        room.receive(make_dicom(), make_dicom())
        refused = room.rows()[0].orthanc_id
        room.send()
        assert room.states() == [State.DELAYED, State.ACKNOWLEDGED]
        assert "answered 500" in room.rows()[0].detail
        room.ledger.engine.dispose()
        server.shutdown()
