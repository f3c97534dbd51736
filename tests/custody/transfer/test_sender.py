"""A batch against a store: what becomes of each instance."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from pydicom.config import disable_value_validation

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.destinations.fault_scope import FaultScope
from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.custody.outcomes import ABSENT_FOR, BISECT_AFTER
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.custody.transfer.refusals import (
    MOST_FAILURES,
    MOST_LONELY_REFUSALS,
    MOST_LONELY_UNREAD,
    MOST_UNCOMPARED,
    MOST_UNKNOWN_REFUSALS,
    MOST_UNREAD,
)
from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.transfer.source_faults import MOST_UNREADABLE
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.dicomweb import (
    DicomStore,
    InstanceResult,
    InstanceStatus,
    Part,
    Stored,
    StoreError,
)
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Series
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import StoreReason
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
from tests.orthanc.orthanc_stub import stub
from tests.support.front import Front
from tests.support.ledgers import Time
from tests.support.orthanc import Orthanc, free_port
from tests.support.sent import changed
from tests.support.simulation import FakeClock
from tests.support.site import make_instance
from tests.support.transfers import events_of

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

    def __init__(
        self, folder, store: DicomStore, url: str = "", steady=None, now=None, storage=None
    ) -> None:
        engine = database.connect(database.url_of("", folder))
        prepare(engine)
        self.later = 0.0  # seconds that the test lets pass
        self.ledger = Ledger(engine, now or (lambda: time.time() + self.later))
        self.storage = storage or folder / "storage"
        self.tokens, self.away, self.stop = Tokens(), [], False
        self.same_index, self.recycles = True, False
        steady = steady or SystemClock()
        outage = Outage(logging.getLogger("store"), "down", "up", steady)
        self.congestion = CongestionWindow(steady, 4, outage)
        self.replaces, self.storing, self.comparing = False, FaultScope(), FaultScope()
        self.store, self.upsert = store, None
        self.orthanc = OrthancSource(OrthancRest(url or WithoutInstances.url), self.storage)
        self.steady = steady

    def receive(self, *files: bytes, stored: bool = True) -> None:
        """Orthanc has received files: they are in its folder, and in the ledger."""
        rows = []
        for content in files:
            name, dataset = str(uuid.uuid4()), read(content)
            place = self.storage / name[:2] / name[2:4] / name
            place.parent.mkdir(parents=True, exist_ok=True)
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

    def sender(self) -> Sender:
        destination = Destination(
            A,
            self.store,
            self.upsert or self.store,
            self.congestion,
            replaces=self.replaces,
            verify="Search",
            storing=self.storing,
            comparing=self.comparing,
        )
        return Sender(
            self.ledger,
            self.orthanc,
            {A: destination},
            self.tokens,
            self.steady,
            lambda: self.stop,
            lambda error, pause: self.away.append(str(error)),
            lambda source: self.same_index,
            lambda: 1.0,
            lambda _row, _since: self.recycles,
        )

    def send(self, *, delayed: bool = True) -> list[Series]:
        with self.ledger.writing() as connection:  # whatever delay an attempt has brought
            those = sql.and_(delayed, transfers.c.state == State.DELAYED)
            connection.execute(transfers.update().where(those).values(state=State.WAITING))
        batch = uuid.uuid4().hex
        limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
        claimed = self.ledger.queue.claim(A, ORTHANC, batch, "w", **limits)
        return self.sender().send(batch, claimed) if claimed else []

    def rows(self):
        with self.ledger.reading() as connection:
            return connection.execute(sql.select(transfers).order_by(transfers.c.id)).all()

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """A real one, which gives no file from its memory."""
    folder = tmp_path_factory.mktemp("orthanc")
    options = {"OverwriteInstances": True, "MaximumStorageCacheSize": 0}
    with Orthanc(folder, options, plugins=()) as running:
        yield running


@pytest.fixture
def real(tmp_path, store, orthanc, client):
    """A room whose Orthanc is a real one, and whose store can replace instances."""
    made = Room(tmp_path, store, orthanc.url, storage=orthanc.folder / "storage")
    url = store.url.replace("/v1/", "/v1beta1/")
    made.upsert = DicomStore(url, lambda: Authorization(client.token))
    yield made
    made.upsert.close()
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
    assert series == [
        Series(row.study_instance_uid, row.series_instance_uid) for row in room.rows()
    ]
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
    ReadBack(room.ledger, {A: destination}, lambda: False).confirm(
        A, [Series(row.study_instance_uid, row.series_instance_uid)]
    )
    assert room.states() == [State.CONFIRMED]


def test_what_takes_long_to_compare_holds_up_no_other_of_its_batch(room):
    """What the store has taken is read back meanwhile."""
    first = make_dicom()
    room.receive(first)
    room.send()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.WAITING, sha256=None))
    room.receive(make_dicom(), make_dicom())
    begun, goes_on, read_file = threading.Event(), threading.Event(), room.store.open

    def slow(*uids):
        begun.set()
        assert goes_on.wait(30)
        return read_file(*uids)

    room.store.open = slow
    sending = threading.Thread(target=room.send)
    sending.start()
    try:
        assert begun.wait(30)
        assert room.states() == [State.SENDING, State.ACKNOWLEDGED, State.ACKNOWLEDGED]
    finally:
        goes_on.set()
        sending.join()
    assert room.states() == [State.ACKNOWLEDGED] * 3


class Coercing:
    """A store that changes an element of what it takes, or does not, and says that it may have."""

    def __init__(self, store: DicomStore, change: Callable[[bytes], bytes]) -> None:
        self._store, self._change = store, change

    def store(self, parts: Sequence[Part], **more: Any) -> Stored:
        stored = self._store.store([self._changed(part) for part in parts], **more)
        return replace(
            stored, results={uid: replace(of, warned=True) for uid, of in stored.results.items()}
        )

    def _changed(self, part: Part) -> Part:
        @contextmanager
        def read() -> Iterator[Iterator[bytes]]:
            with part.read() as pieces:
                yield iter([self._change(b"".join(pieces))])

        return replace(part, read=read)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (lambda content: content, (State.CONFIRMED, None)),
        (lambda content: content.replace(b"Doe^", b"DOE^"), (State.DELAYED, "different")),
    ],
    ids=["the same", "another"],
)
def test_what_is_stored_with_a_warning_is_confirmed_only_by_its_bytes(room, change, outcome):
    room.receive(make_dicom(PatientName="Doe^Jane"))
    store, room.store = room.store, Coercing(room.store, change)
    series = room.send()
    assert room.states() == [State.ACKNOWLEDGED]
    destination = Destination(A, store, store, room.congestion, replaces=False, verify="Metadata")
    ReadBack(room.ledger, {A: destination}, lambda: False).confirm(A, series)
    (row,) = room.rows()
    assert (row.state, row.reason) == outcome


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
        last = attempt + 1 == MOST_UNCOMPARED
        assert row.state == (State.QUARANTINED if last else State.DELAYED)
        assert (row.reason, row.max_batch_instances) == ("uncompared", None)
        if last:
            return
    pytest.fail("it is delayed without end")


def test_what_the_store_is_in_trouble_with_is_compared_again_for_longer(room, settings):
    """An error of the server may be the store's, and nothing else is compared meanwhile."""
    room.receive(make_dicom())
    room.send()
    with room.ledger.writing() as connection:
        again = {"state": State.WAITING, "sha256": None, "attempts": 7}  # they ended otherwise
        connection.execute(transfers.update().values(again))
    settings.change(faults=[{"method": "GET", "status": 500}])
    for _ in range(MOST_LONELY_REFUSALS - 1):
        room.send()
        assert room.states() == [State.DELAYED]
    room.send()
    (row,) = room.rows()
    assert (row.state, row.reason) == (State.QUARANTINED, "uncompared")


def test_what_all_cannot_be_compared_for_ends_with_the_fault(room, settings):
    room.receive(*(make_dicom() for _ in range(3)))
    room.send()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.WAITING, sha256=None))
    settings.change(faults=[{"method": "GET", "status": 400}])
    for _ in range(MOST_LONELY_REFUSALS + 1):
        room.send()
    assert room.states() == [State.DELAYED] * 3
    settings.reset()
    room.send()
    assert room.states() == [State.ACKNOWLEDGED] * 3


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


def come_again(room: Room, *numbers: int) -> None:
    """They are to be sent again, and the ledger has lost what it knew of them."""
    with room.ledger.writing() as connection:
        fresh = {"state": State.WAITING, "sha256": None, "stored_sha256": None}
        connection.execute(transfers.update().where(transfers.c.id.in_(numbers)).values(fresh))


def test_one_that_can_never_be_compared_ends_in_quarantine(behind, front):
    """It holds up nothing meanwhile."""
    behind.receive(make_dicom(), make_dicom())
    behind.step()
    come_again(behind, 1)
    front.hides = {behind.rows()[0].sop_instance_uid: 504}
    for attempts in range(1, MOST_UNREAD):
        behind.step()
        (row, *_) = behind.rows()
        assert (row.state, row.reason, row.attempts) == (State.DELAYED, "uncompared", attempts)
        assert behind.congestion.delay == 0
        come_again(behind, 2)
        behind.step()
        assert behind.rows()[1].state == State.ACKNOWLEDGED
        assert behind.congestion.problem is None
    behind.step()
    (row, *_) = behind.rows()
    assert (row.state, row.reason) == (State.QUARANTINED, "uncompared")


def test_one_that_can_never_be_compared_ends_in_quarantine_where_there_are_no_others(behind, front):
    """An hour later: the store may be in trouble."""
    behind.receive(make_dicom())
    behind.step()
    come_again(behind, 1)
    front.hides = {behind.rows()[0].sop_instance_uid: 504}
    begun = behind.fake.time
    steps = behind.step_until(lambda: behind.states() == [State.QUARANTINED])
    assert steps == MOST_LONELY_UNREAD
    assert behind.fake.time - begun > 1800


def test_while_none_can_be_compared_the_account_pauses_and_none_is_in_quarantine(behind, front):
    behind.receive(*(make_dicom() for _ in range(9)))
    behind.step()
    come_again(behind, *range(1, 10))
    front.hides = {row.sop_instance_uid: 504 for row in behind.rows()}
    paused = 0
    for _ in range(200):
        behind.step()
        paused += behind.congestion.delay > 0
    assert set(behind.states()) == {State.DELAYED}
    assert paused > 100
    front.hides = {}
    behind.step_until(lambda: set(behind.states()) == {State.ACKNOWLEDGED})


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


def test_what_orthanc_does_not_have_waits_and_the_others_go(deleted):
    deleted.receive(make_dicom(), make_dicom())
    deleted.receive(make_dicom(), stored=False)
    deleted.send()
    assert deleted.states() == [State.WAITING, State.WAITING, State.DELAYED]
    assert deleted.rows()[-1].reason == "absent"
    assert deleted.away == []


def test_all_that_orthanc_has_deleted_breaks_one_request(real, orthanc):
    """The good bytes beside it are not sent in vain once for each of them."""
    names = [orthanc.json("POST", "/instances", make_instance())["ID"] for _ in range(9)]
    real.follow(*names)
    for name in names[1::2]:
        orthanc.json("DELETE", f"/instances/{name}")
    for state in State.WAITING, State.ACKNOWLEDGED:
        real.send(delayed=False)
        found = {row.orthanc_id: (row.state, row.reason) for row in real.rows()}
        assert {found[name] for name in names[::2]} == {(state, None)}
        assert {found[name] for name in names[1::2]} == {(State.DELAYED, "absent")}


def test_what_can_be_read_still_is_not_absent_beside_what_was_deleted(deleted):
    for number in range(8):
        deleted.receive(make_dicom(), stored=number % 2 == 0)
    for state in State.WAITING, State.ACKNOWLEDGED:
        deleted.send(delayed=False)
        assert deleted.states() == [state, State.DELAYED] * 4


def absent(room: Room):
    """The state of the only instance after one more attempt."""
    room.send()
    (row,) = room.rows()
    return row.state, row.reason


def test_what_stays_absent_is_deleted(deleted):
    deleted.receive(make_dicom(), stored=False)
    for later in (0, ABSENT_FOR - 5):
        deleted.later = later
        assert absent(deleted) == (State.DELAYED, "absent")
    deleted.later += 10
    assert absent(deleted) == (State.WITHDRAWN, "deleted")


def test_what_orthanc_may_have_recycled_is_lost(deleted, caplog):
    deleted.receive(make_dicom(), stored=False)
    assert absent(deleted) == (State.DELAYED, "absent")
    deleted.recycles, deleted.later = True, ABSENT_FOR + 5
    assert absent(deleted) == (State.LOST, "recycled")
    (row,) = deleted.rows()
    assert row.batch is None
    assert f"1 instances of study {row.study_instance_uid} are lost" in caplog.text
    assert len(events_of(deleted.ledger, "lost")) == 1


def test_nothing_is_deleted_by_another_index(deleted):
    """The time that another index was there does not count either."""
    deleted.receive(make_dicom(), stored=False)
    assert absent(deleted) == (State.DELAYED, "absent")
    deleted.same_index, deleted.later = False, 2 * ABSENT_FOR
    assert absent(deleted) == (State.DELAYED, "absent")
    deleted.same_index = True
    assert absent(deleted) == (State.DELAYED, "absent")


def test_what_the_store_has_lost_and_orthanc_deleted_needs_a_person(deleted):
    deleted.receive(make_dicom(), stored=False)
    with deleted.ledger.writing() as connection:
        connection.execute(transfers.update().values(sha256="d" * 64))
    assert absent(deleted) == (State.DELAYED, "absent")
    deleted.later = 2 * ABSENT_FOR
    deleted.send()
    (row,) = deleted.rows()
    assert (row.state, row.reason) == (State.QUARANTINED, "lost")


@pytest.mark.parametrize("status", [400, 500])
def test_what_was_read_is_not_absent_any_more_though_the_store_does_not_take_it(
    behind, front, status
):
    """One later absence is the first again."""
    behind.receive(make_dicom(), make_dicom())
    with behind.ledger.writing() as connection:
        connection.execute(transfers.update().values(absent_since=behind.wall.now - ABSENT_FOR))
    front.dislikes[b"DICM"] = status
    behind.step()
    assert [row.absent_since for row in behind.rows()] == [None] * 2


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


# -- Whose fault a refusal is ---------------------------------------------------------------------


@pytest.fixture
def front():
    """What stands between, and may dislike what it sees."""
    made = Front()
    yield made
    made.shutdown()
    made.server_close()


class Hours(Room):
    """A room whose hours pass as fast as they are needed: delays and pauses are waited for."""

    def __init__(self, folder, store: DicomStore) -> None:
        self.wall, self.fake = Time(), FakeClock()
        super().__init__(folder, store, steady=self.fake, now=self.wall)

    def step(self, most: int = 9) -> None:
        """Send the next batch, whenever that may be."""
        self._pass(max(self.congestion.delay, 0.01))
        self.ledger.queue.requeue_due(A)
        if State.WAITING not in self.states():
            due = [row.next_attempt_at for row in self.rows() if row.state == State.DELAYED]
            self._pass(max(0.0, min(due, default=0.0) - self.wall.now))
            self.ledger.queue.requeue_due(A)
        limits = {"most_instances": most, "most_bytes": 10**9, "most_batches": 9}
        batch = uuid.uuid4().hex
        claimed = self.ledger.queue.claim(A, ORTHANC, batch, "w", **limits)
        if claimed:
            self.sender().send(batch, claimed)

    def step_until(self, reached, most: int = 200) -> int:
        """How many steps it took."""
        for count in range(most):
            if reached():
                return count
            self.step()
        raise AssertionError([(row.state, row.attempts, row.detail) for row in self.rows()])

    def _pass(self, seconds: float) -> None:
        self.wall.now += seconds
        self.fake.time += seconds


@pytest.fixture
def behind(tmp_path, client, front):
    """Hours in which the store is behind what may dislike something."""
    front.target, _, path = client.web.partition("/v1/")
    store = DicomStore(f"{front.url}/v1/{path}", lambda: Authorization(client.token))
    made = Hours(tmp_path, store)
    yield made
    store.close()
    made.ledger.engine.dispose()


def test_a_large_one_that_a_proxy_takes_at_once_and_sends_on_slowly(
    tmp_path, client, front, monkeypatch
):
    """All that is smaller was answered within the time limit; that may take as long as it does."""
    front.target, _, path = client.web.partition("/v1/")
    store = DicomStore(f"{front.url}/v1/{path}", lambda: Authorization(client.token), timeout=2)
    room = Hours(tmp_path, store)

    @contextmanager
    def slowly(body: bytes) -> Iterator[None]:
        time.sleep(3.5 if len(body) > 1_000_000 else 0)
        yield

    monkeypatch.setattr(front, "passing", slowly)
    room.receive(make_dicom(bytes(1_000_000)))
    room.step()
    (row,) = room.rows()
    assert (row.state, row.reason) == (State.DELAYED, "timeout")
    room.step()
    assert room.states() == [State.ACKNOWLEDGED]
    store.close()
    room.ledger.engine.dispose()


@pytest.mark.parametrize(("status", "place"), [(400, 0), (400, 3), (400, 6), (409, 3), (415, 3)])
def test_one_that_is_refused_while_others_are_taken_ends_in_quarantine(
    behind, front, status, place
):
    files = [make_dicom() for _ in range(7)]
    front.dislikes[files[place][-300:]] = status
    behind.receive(*files)
    took = behind.step_until(lambda: State.QUARANTINED in behind.states())
    states = behind.states()
    assert states.pop(place) == State.QUARANTINED
    assert set(states) == {State.ACKNOWLEDGED}
    row = behind.rows()[place]
    assert str(status) in row.detail
    assert row.attempts == MOST_UNKNOWN_REFUSALS
    assert took < 12
    assert behind.fake.time - FakeClock().time < 10, "it has held up nobody"


@pytest.mark.parametrize("trouble", [500, 503, "reset"])
def test_one_that_the_store_always_fails_at_while_others_are_taken_ends_in_quarantine(
    behind, front, trouble
):
    front.dislikes[b"poison"] = trouble
    behind.receive(make_dicom(b"poison" * 10))
    for number in range(MOST_FAILURES + 9):
        behind.receive(make_dicom())
        behind.step_until(
            lambda wanted=number: behind.rows()[1 + wanted].state == State.ACKNOWLEDGED
        )
        if behind.states()[0] == State.QUARANTINED:
            break
        behind.step()
    row = behind.rows()[0]
    assert row.state == State.QUARANTINED
    assert row.attempts >= MOST_FAILURES


class Gateway:
    """In front of a store: it answers so whenever an odd instance is in a request."""

    def __init__(self, store: DicomStore, odd: str, status: int) -> None:
        self._store, self._odd, self._status = store, odd, status

    def store(self, parts: Sequence[Part], **more: Any) -> Stored:
        if any(part.sop_instance_uid == self._odd for part in parts):
            raise StoreError(
                f"answered {self._status}",
                reason=StoreReason.UNAVAILABLE,
                retryable=True,
                status=self._status,
                retry_after=5.0,
            )
        return self._store.store(parts, **more)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_one_for_which_a_gateway_always_says_when_to_come_again_holds_up_no_other(behind, status):
    behind.receive(*(make_dicom() for _ in range(6)))
    behind.store = Gateway(behind.store, behind.rows()[0].sop_instance_uid, status)
    behind.step_until(lambda: behind.states()[1:] == [State.ACKNOWLEDGED] * 5, 30)
    for _ in range(2 * MOST_FAILURES):
        behind.receive(make_dicom())
        behind.step()
        behind.step()
    assert set(behind.states()[1:]) == {State.ACKNOWLEDGED}
    row = behind.rows()[0]
    assert (row.state, row.reason) == (State.QUARANTINED, "unavailable")
    assert row.attempts >= MOST_FAILURES


NO_ROOM = InstanceResult(InstanceStatus.BUSY, "out of resources", 0xA700)
INTERNAL_ERROR = InstanceResult(InstanceStatus.OTHER, "internal error", 0x0110)
NO_DICOM = InstanceResult(InstanceStatus.INVALID, "cannot understand", 0xC000)


class Refusing:
    """A store that does not take some instances, and answers why for each of them."""

    def __init__(self, store: DicomStore, odd: Container[str], result: InstanceResult) -> None:
        self._store, self.odd, self._result = store, odd, result

    def store(self, parts: Sequence[Part], **more: Any) -> Stored:
        good = [part for part in parts if part.sop_instance_uid not in self.odd]
        stored = self._store.store(good, **more).results if good else {}
        refused = {part.sop_instance_uid: self._result for part in parts}
        return Stored(refused | dict(stored), 0)


@pytest.mark.parametrize(
    ("result", "reason", "most"),
    [
        (NO_ROOM, "busy", MOST_LONELY_REFUSALS),
        (INTERNAL_ERROR, "refused", MOST_LONELY_REFUSALS),
    ],
)
def test_one_that_the_store_alone_never_takes_ends_in_quarantine(behind, result, reason, most):
    behind.receive(make_dicom())
    behind.store = Refusing(behind.store, {behind.rows()[0].sop_instance_uid}, result)
    for _ in range(MOST_LONELY_REFUSALS + 3):
        behind.receive(make_dicom())
        behind.step()
        behind.step()
    row = behind.rows()[0]
    assert (row.state, row.reason) == (State.QUARANTINED, reason)
    assert row.attempts == most


class All:
    def __contains__(self, _: object) -> bool:
        return True


@pytest.mark.parametrize("result", [NO_ROOM, INTERNAL_ERROR, NO_DICOM])
def test_a_store_that_takes_none_puts_none_into_quarantine(behind, result):
    behind.receive(*(make_dicom() for _ in range(4)))
    store, behind.store = behind.store, Refusing(behind.store, All(), result)
    for _ in range(2 * MOST_LONELY_REFUSALS):
        behind.step()
    assert set(behind.states()) <= {State.WAITING, State.DELAYED}
    assert result.detail in behind.congestion.problem
    behind.store = store
    behind.step_until(lambda: set(behind.states()) == {State.ACKNOWLEDGED})


def test_what_is_invalid_among_others_is_in_quarantine_at_once(behind):
    behind.receive(*(make_dicom() for _ in range(5)))
    odd = {row.sop_instance_uid for row in behind.rows()[1:]}
    behind.store = Refusing(behind.store, odd, NO_DICOM)
    behind.step()
    assert behind.states() == [State.ACKNOWLEDGED, *[State.QUARANTINED] * 4]
    assert {(row.reason, row.attempts) for row in behind.rows()[1:]} == {("invalid", 1)}


def test_what_is_invalid_alone_is_in_quarantine_when_another_was_taken(behind):
    behind.receive(make_dicom())
    behind.store = Refusing(behind.store, {behind.rows()[0].sop_instance_uid}, NO_DICOM)
    for _ in range(5):
        behind.step()
    (row,) = behind.rows()
    assert (row.state, row.reason, row.detail) == (State.DELAYED, "invalid", NO_DICOM.detail)
    behind.receive(make_dicom())
    behind.step_until(lambda: behind.states() == [State.QUARANTINED, State.ACKNOWLEDGED], 3)


def test_two_bad_minutes_of_a_proxy_that_alters_all_put_none_into_quarantine(behind):
    behind.receive(*(make_dicom() for _ in range(12)))
    store, altering = behind.store, Refusing(behind.store, All(), NO_DICOM)
    for _ in range(2):
        behind.store = altering
        for _ in range(12):
            behind.step()
        behind.store = store
        behind.step(most=1)
    assert State.QUARANTINED not in behind.states()
    behind.step_until(lambda: set(behind.states()) == {State.ACKNOWLEDGED})


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_what_is_altered_by_chance_is_not_in_quarantine(behind, seed):
    """A proxy alters half of all requests, and one instance always."""
    behind.receive(*(make_dicom() for _ in range(30)))
    odd = {behind.rows()[5].sop_instance_uid}
    store, chance = behind.store, random.Random(seed)
    wanted = [State.ACKNOWLEDGED] * 30
    wanted[5] = State.QUARANTINED

    def is_reached() -> bool:
        behind.store = Refusing(store, All() if chance.random() < 0.5 else odd, NO_DICOM)
        return behind.states() == wanted

    for _ in range(600):
        if is_reached():
            break
        behind.step(most=1)
    assert behind.states() == wanted


def test_the_account_is_sound_again_when_the_only_one_is_in_quarantine(behind, front):
    """The store was away, and is back; what waits for it is invalid."""
    behind.receive(make_dicom())
    front.dislikes[b"DICM"] = 503
    behind.step_until(lambda: behind.congestion.is_away)
    behind.store = Refusing(behind.store, All(), NO_DICOM)
    behind.step_until(lambda: behind.states() == [State.QUARANTINED], 2 * MOST_LONELY_REFUSALS)
    assert behind.congestion.problem is None
    assert not behind.congestion.is_away


def test_what_is_invalid_and_the_only_one_ends_in_quarantine(behind):
    behind.receive(make_dicom())
    behind.store = Refusing(behind.store, All(), NO_DICOM)
    behind.step_until(lambda: behind.states() == [State.QUARANTINED], MOST_LONELY_REFUSALS + 1)
    (row,) = behind.rows()
    assert (row.reason, row.attempts) == ("invalid", MOST_LONELY_REFUSALS)


def test_a_bad_minute_of_a_proxy_that_alters_all_is_the_fault_of_no_instance(behind):
    """Also what comes meanwhile; and what is invalid all the same is found when it is over."""
    behind.receive(*(make_dicom() for _ in range(12)))
    store, behind.store = behind.store, Refusing(behind.store, All(), NO_DICOM)
    for number in range(64):
        behind.step()
        if number == 40:
            behind.receive(*(make_dicom() for _ in range(6)))
    assert behind.fake.time - FakeClock().time > 300
    assert set(behind.states()) <= {State.WAITING, State.DELAYED}
    assert NO_DICOM.detail in behind.congestion.problem
    behind.store = Refusing(store, {behind.rows()[3].sop_instance_uid}, NO_DICOM)
    over = behind.fake.time + behind.congestion.delay
    behind.step_until(lambda: behind.states().count(State.ACKNOWLEDGED) == 17)
    assert behind.fake.time - over < 200, "the odd one may ask first"
    assert behind.congestion.problem is None
    behind.step_until(lambda: behind.states()[3] == State.QUARANTINED, MOST_UNKNOWN_REFUSALS)


def test_a_store_that_fails_at_all_puts_none_into_quarantine(behind, front):
    behind.receive(*(make_dicom() for _ in range(4)))
    front.dislikes[b"DICM"] = 500
    with behind.ledger.writing() as connection:  # for a long time already
        connection.execute(transfers.update().values(attempts=MOST_FAILURES, max_batch_instances=1))
    for _ in range(2 * MOST_FAILURES):
        behind.step()
    assert set(behind.states()) <= {State.WAITING, State.DELAYED}
    front.dislikes.clear()
    behind.step_until(lambda: set(behind.states()) == {State.ACKNOWLEDGED})


@pytest.mark.parametrize("status", [400, 409, 413])
def test_a_bad_minute_of_a_proxy_is_the_fault_of_no_instance(behind, front, status):
    """However long it lasts, and also what comes meanwhile: nothing is in quarantine."""
    behind.receive(*(make_dicom() for _ in range(12)))
    front.dislikes[b"DICM"] = status
    for number in range(64):
        behind.step()
        if number == 40:
            behind.receive(*(make_dicom() for _ in range(6)))
    assert behind.fake.time - FakeClock().time > 300
    assert set(behind.states()) <= {State.WAITING, State.DELAYED}
    assert max(row.attempts for row in behind.rows()) < MOST_UNKNOWN_REFUSALS
    refused = [row for row in behind.rows() if row.reason is not None]
    assert all(str(status) in row.detail for row in refused)
    assert str(status) in behind.congestion.problem
    front.dislikes.clear()
    over = behind.fake.time + behind.congestion.delay
    behind.step_until(lambda: set(behind.states()) == {State.ACKNOWLEDGED})
    assert behind.fake.time - over < 5, "nothing waits for the delays of the bad minute"
    assert behind.congestion.problem is None


def restart(room: Room) -> None:
    """What a worker has in its memory is gone."""
    room.storing = FaultScope()
    outage = Outage(logging.getLogger("store"), "down", "up", room.steady)
    room.congestion = CongestionWindow(room.steady, 4, outage, jitter=lambda: 1.0)


def test_a_bad_hour_of_a_proxy_is_no_fault_of_instances_however_often_the_worker_is_restarted(
    behind, front
):
    behind.receive(*(make_dicom() for _ in range(4)))
    with behind.ledger.writing() as connection:  # it has lasted for many lives
        attempts = MOST_LONELY_REFUSALS - 1
        connection.execute(transfers.update().values(attempts=attempts, max_batch_instances=1))
    front.dislikes[b"DICM"] = 400
    for _ in range(5):
        for _ in range(4):
            behind.step()
        restart(behind)
    assert set(behind.states()) <= {State.WAITING, State.DELAYED}
    front.dislikes.clear()
    behind.step_until(lambda: set(behind.states()) == {State.ACKNOWLEDGED})


def test_one_that_is_refused_ends_in_quarantine_however_often_the_worker_is_restarted(
    behind, front
):
    front.dislikes[b"poison"] = 400
    behind.receive(make_dicom(b"poison" * 10))
    for _ in range(3):
        behind.receive(make_dicom())
        for _ in range(6):
            behind.step()
        restart(behind)
    states = behind.states()
    assert states.pop(0) == State.QUARANTINED
    assert set(states) == {State.ACKNOWLEDGED}


def test_many_that_are_refused_are_in_the_way_of_no_good_one(behind, front):
    """More than it takes to suspect the destination, and before the good ones in the queue."""
    front.dislikes[b"poison"] = 400
    behind.receive(*(make_dicom(b"poison" * 10) for _ in range(5)))
    for _ in range(16):
        behind.step()
    assert State.QUARANTINED not in behind.states()
    behind.receive(make_dicom(), make_dicom(), make_dicom())
    behind.step_until(lambda: behind.states().count(State.ACKNOWLEDGED) == 3, 20)
    for number in range(16):  # the day goes on
        behind.receive(make_dicom())
        began = behind.fake.time
        behind.step_until(lambda wanted=number: behind.rows()[8 + wanted].state == "acknowledged")
        assert behind.fake.time - began < 1
        behind.step()
        behind.step()
    behind.step_until(lambda: behind.states()[:5] == [State.QUARANTINED] * 5, 9)


def test_good_ones_beside_one_that_is_refused_go_apart_where_all_seems_refused(behind, front):
    """Nothing else comes that would be taken and show that it is not the destination."""
    front.dislikes[b"poison"] = 400
    for _ in range(4):
        behind.receive(make_dicom(b"poison" * 10))
        behind.step()
    behind.receive(make_dicom(b"poison" * 10), make_dicom(), make_dicom())
    behind.step_until(lambda: behind.states().count(State.ACKNOWLEDGED) == 2, 40)


def test_who_answers_200_to_everything_and_names_nothing_is_no_store(behind, front):
    """A captive portal: the account pauses, and no instance is at fault."""
    behind.receive(*(make_dicom() for _ in range(5)))
    front.dislikes[b"DICM"] = 200
    for _ in range(24):
        behind.step()
    assert set(behind.states()) <= {State.WAITING, State.DELAYED}
    assert {row.reason for row in behind.rows()} == {"unacknowledged"}
    assert "names no instances" in behind.congestion.problem
    front.dislikes.clear()
    behind.step_until(lambda: set(behind.states()) == {State.ACKNOWLEDGED})


def test_one_that_the_store_never_names_ends_in_quarantine(behind, front):
    files = [make_dicom() for _ in range(4)]
    front.dislikes[files[1][-300:]] = 200
    behind.receive(*files)
    behind.step_until(lambda: behind.states().count(State.ACKNOWLEDGED) == 3)
    behind.step_until(lambda: State.QUARANTINED in behind.states())
    assert behind.rows()[1].reason == "unacknowledged"


@pytest.mark.parametrize("status", [400, 413])
def test_one_alone_that_is_refused_ends_in_quarantine_too(failing, status):
    room = failing(status)
    room.receive(make_dicom())
    for number in range(MOST_LONELY_REFUSALS):
        assert room.states() != [State.QUARANTINED], number
        room.send()
    assert room.states() == [State.QUARANTINED]


def test_a_batch_that_is_refused_is_sent_in_halves(failing):
    room = failing(400)
    room.receive(make_dicom(), make_dicom(), make_dicom())
    room.send()
    assert {row.max_batch_instances for row in room.rows()} == {2}
    assert set(room.states()) == {State.WAITING}
    assert {row.attempts for row in room.rows()} == {0}


def test_one_that_is_too_large_is_so_at_once_where_another_is_taken(behind, front):
    front.largest = 100_000
    behind.receive(make_dicom(b"x" * 200_000), make_dicom())
    behind.step_until(lambda: behind.states() == [State.QUARANTINED, State.ACKNOWLEDGED])
    row = behind.rows()[0]
    assert row.reason == "too_large"
    assert row.attempts <= 2


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
    assert len(retry(real.ledger, A, reason="damaged_file")) == 1
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


def lose(real: Room, name: str, kind: str) -> Callable[[], object]:
    """Take the file of an instance away from Orthanc; what restores it."""
    place = real.file_of(name)
    content = place.read_bytes()
    place.unlink()
    if kind == "folder":
        place.mkdir()
    elif kind == "truncated":
        place.write_bytes(content[:1000])
    return lambda: (place.rmdir() if kind == "folder" else None, place.write_bytes(content))


@pytest.mark.parametrize("outside", [False, True], ids=["direct", "outside"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("kind", ["missing", "folder", "truncated"])
def test_one_whose_file_orthanc_cannot_give_ends_in_quarantine(
    real, orthanc, tmp_path, kind, compressed, outside
):
    """The others go meanwhile; when somebody has restored the file, it goes as well."""
    names = [orthanc.json("POST", "/instances", make_instance())["ID"] for _ in range(4)]
    if compressed:
        orthanc.request("POST", f"/instances/{names[1]}/attachments/dicom/compress", b"")
    real.follow(*names)
    restore = lose(real, names[1], kind)
    if outside:
        real.orthanc = OrthancSource(OrthancRest(orthanc.url), tmp_path / "not there")
    for _ in range(MOST_UNREADABLE + 2):
        real.send()
    rows = {row.orthanc_id: row for row in real.rows()}
    odd = rows.pop(names[1])
    assert [row.state for row in rows.values()] == [State.ACKNOWLEDGED] * 3
    assert odd.state == State.QUARANTINED
    if kind == "truncated" and not compressed:
        assert (odd.reason, odd.attempts) == ("damaged_file", 1)
    else:
        assert (odd.reason, odd.attempts) == ("unreadable_file", MOST_UNREADABLE)
        assert "cannot give its file: " in odd.detail
        assert "answered 500" in odd.detail
    assert list(real.store.instances(odd.study_instance_uid)) == []
    restore()
    assert len(retry(real.ledger, A, reason=odd.reason)) == 1
    real.send()
    assert set(real.states()) == {State.ACKNOWLEDGED}


@pytest.mark.parametrize("outside", [False, True], ids=["direct", "outside"])
def test_a_storage_that_is_not_mounted_is_the_fault_of_no_instance(
    real, orthanc, tmp_path, outside
):
    names = [orthanc.json("POST", "/instances", make_instance())["ID"] for _ in range(4)]
    real.follow(*names)
    if outside:
        real.orthanc = OrthancSource(OrthancRest(orthanc.url), tmp_path / "not there")
    folders = [one for one in real.storage.iterdir() if one.is_dir() and len(one.name) == 2]
    for one in folders:
        one.rename(tmp_path / one.name)
    try:
        for _ in range(2 * MOST_UNREADABLE):
            real.send()
            assert set(real.states()) == {State.DELAYED}
        row = real.rows()[0]
        assert (row.reason, row.attempts, row.max_batch_instances) == ("orthanc", 0, None)
        assert "is its storage mounted?" in row.detail
    finally:
        for one in folders:
            (tmp_path / one.name).rename(one)
    real.send()
    assert set(real.states()) == {State.ACKNOWLEDGED}


def test_a_file_of_another_length_is_damaged_though_orthanc_has_no_md5(tmp_path, store):
    room = Room(tmp_path, store)
    with stub({}) as server:
        room.orthanc = OrthancSource(OrthancRest(server.url), room.storage)
        room.receive(make_dicom(b"x" * 400_000), make_dicom(), stored=False)
        first = room.rows()[0]
        server.answers |= {
            f"GET /instances/{first.orthanc_id}/file": b"x" * (first.size_bytes + 1),
            f"GET /instances/{first.orthanc_id}/attachments/dicom/size": b"%d" % first.size_bytes,
            f"GET /instances/{first.orthanc_id}/attachments/dicom/info": {
                "Uuid": first.attachment_uuid
            },
            "POST /tools/bulk-content": [],
        }
        room.send()
    row = room.rows()[0]
    assert (row.state, row.reason) == (State.QUARANTINED, "damaged_file")
    assert f"more than the {first.size_bytes} bytes" in row.detail
    assert room.rows()[1].state == State.WAITING
    room.ledger.engine.dispose()


def test_one_that_orthanc_answers_nonsense_about_holds_up_no_other(tmp_path, store, caplog):
    room = Room(tmp_path, store)
    with stub({"POST /tools/find": []}) as server:
        room.orthanc = OrthancSource(OrthancRest(server.url), room.storage)
        room.receive(make_dicom(), make_dicom())
        room.receive(make_dicom(), stored=False)
        odd = room.rows()[2].orthanc_id
        server.answers |= {
            f"GET /instances/{odd}/file": b"x",
            f"GET /instances/{odd}/attachments/dicom/size": ["private"],
        }
        for _ in range(MOST_LONELY_REFUSALS + 2):
            room.send()
    assert room.states() == [State.ACKNOWLEDGED, State.ACKNOWLEDGED, State.QUARANTINED]
    row = room.rows()[2]
    assert (row.reason, row.detail) == ("unexpected", "unexpected TypeError, the log says where")
    assert "private" not in caplog.text
    room.ledger.engine.dispose()


def test_a_study_that_orthanc_knows_by_another_uid_is_not_taken_for_a_fault_of_the_store(room):
    """Orthanc drops a blank within; all of it has the same, and nothing else is sent."""
    with disable_value_validation():
        room.receive(*(make_dicom(SeriesInstanceUID="1.2 3") for _ in range(5)))
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(series_instance_uid="1.23"))
    room.send()
    assert {(row.state, row.reason) for row in room.rows()} == {(State.QUARANTINED, "uid")}
    assert "'1.2 3', which Orthanc knows as '1.23'" in room.rows()[0].detail
    assert room.congestion.problem is None


def test_while_no_file_can_be_read_none_is_asked_for(tmp_path, store):
    room = Room(tmp_path, store)
    with stub({"GET /statistics": {"CountInstances": 1}}) as server:
        room.orthanc = OrthancSource(OrthancRest(server.url), tmp_path / "not there")
        page = [{"ID": "other", "FileSize": 4}]
        server.answers["GET /instances?since=0&limit=5&expand"] = page
        server.answers["GET /instances/other/file"] = 500
        room.receive(make_dicom(), make_dicom(), stored=False)
        for row in room.rows():
            path = f"GET /instances/{row.orthanc_id}"
            size = {f"{path}/attachments/dicom/size": b"%d" % row.size_bytes}
            server.answers |= {f"{path}/file": 500, **size}
        sender = room.sender()
        room.sender = lambda: sender
        room.send()
        assert room.states() == [State.DELAYED] * 2
        asked = len(server.requests)
        room.send()
        assert (room.states(), len(server.requests)) == ([State.DELAYED] * 2, asked)
    room.ledger.engine.dispose()


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


@pytest.mark.parametrize("asked", ["attachments", "instances"])
def test_an_instance_that_orthanc_never_answers_about_holds_up_no_other(real, orthanc, asked):
    """A proxy before it hangs up whenever it is asked for this one."""

    class HangingUp(Front):
        @property
        def dislikes(self):
            path = self.heads[-1][1]
            return {b"": "reset"} if bad in path and asked in path else {}

        @dislikes.setter
        def dislikes(self, _):
            """It is asked for with each request."""

    good, bad = (orthanc.json("POST", "/instances", make_instance())["ID"] for _ in range(2))
    with HangingUp() as front:
        front.target = orthanc.url
        real.follow(good, bad)
        real.orthanc = OrthancSource(OrthancRest(front.url), Path("/nowhere"))
        sender = real.sender()
        real.sender = lambda: sender
        for _ in range(3):
            real.send()
        found = {row.orthanc_id: (row.state, row.reason) for row in real.rows()}
        assert found == {good: (State.ACKNOWLEDGED, None), bad: (State.DELAYED, "orthanc")}
        for _ in range(MOST_UNREADABLE):
            real.send()
        assert sorted(real.states()) == [State.ACKNOWLEDGED, State.QUARANTINED]
        front.shutdown()


def test_an_instance_that_no_search_in_orthanc_is_answered_for_is_sent(real, orthanc):
    """A proxy before it hangs up when its MD5 is searched for together with others."""
    with Front() as front:
        front.target = orthanc.url
        good, bad = (orthanc.json("POST", "/instances", make_instance())["ID"] for _ in range(2))
        real.follow(good, bad)
        front.dislikes = {real.rows()[1].sop_instance_uid.encode(): "reset"}
        real.orthanc = OrthancSource(OrthancRest(front.url), Path("/nowhere"))
        real.send()
        assert set(real.states()) == {State.ACKNOWLEDGED}
        front.shutdown()


@pytest.mark.parametrize("replaces", [True, False])
def test_an_old_version_is_never_sent_over_the_newer(real, orthanc, replaces):
    real.replaces = replaces
    old = make_instance()
    new = changed(old, PatientID="corrected")
    names = [orthanc.json("POST", "/instances", one)["ID"] for one in (old, new)]
    real.follow(names[0])
    if replaces:  # the older is in the store already
        real.send()
        assert real.states() == [State.ACKNOWLEDGED]
    real.follow(names[1])
    for _ in range(3):
        real.send()
    for _ in range(2):
        assert real.states() == [State.SUPERSEDED, State.ACKNOWLEDGED]
        row = real.rows()[1]
        with real.store.open(
            row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
        ) as pieces:
            assert b"".join(pieces) == new
        (described,) = real.orthanc.describe(names[:1])
        demanded = arrival_of(described, ORTHANC, A, 1, Priority.DEMANDED)
        assert real.ledger.arrivals.record([demanded]) == 1
        real.send()


def test_of_two_orthancs_the_older_version_is_superseded_when_the_store_has_the_newer(room):
    first = make_dicom()
    room.receive(first)
    room.send()
    with room.ledger.writing() as connection:
        connection.execute(transfers.update().values(source="another", received_at=9.0))
    room.receive(changed(first, PatientID="older"))
    room.send()
    assert room.states() == [State.ACKNOWLEDGED, State.SUPERSEDED]
    (row,) = (row for row in room.rows() if row.state == State.SUPERSEDED)
    assert (row.reason, "PatientID" in row.detail) == ("superseded", True)
