"""What a real Orthanc and the store have under the same UIDs is compared."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydicom.datadict import DicomDictionary

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.verification.conflict import MOST_REFUSALS, Comparison, Conflicts
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.outages import Outage
from orthanc_gcp.transport.authorization import Authorization
from tests.support.ledgers import sqlite_ledger
from tests.support.orthanc import Orthanc, wait_until
from tests.support.sent import changed, dataset, record, rows, send
from tests.support.site import make_instance
from tests.support.threads import without_threads

__all__ = ["sqlite_ledger"]

CONNECTIONS = 4


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as orthanc:
        yield orthanc


class CountedStore(DicomStore):
    """A store whose reading requests are counted."""

    def __init__(self, *of, **more):
        super().__init__(*of, **more)
        self.sizes = self.files = 0

    def stored_size(self, *uids):
        self.sizes += 1
        return super().stored_size(*uids)

    def open(self, *uids):
        self.files += 1
        return super().open(*uids)


class Room:
    """A real Orthanc and a store, whose instances are compared."""

    def __init__(self, ledger, store, stow, orthanc, folder):
        self.ledger, self.store, self._stow, self._orthanc = ledger, store, stow, orthanc
        self.stopping = False
        source = OrthancSource(OrthancRest(orthanc.url), folder)
        self.conflicts = Conflicts(ledger, source, lambda: self.stopping)
        clock = SystemClock()
        outage = Outage(logging.getLogger("s"), "down", "up", clock)
        window = CongestionWindow(clock, CONNECTIONS, outage)
        self.destination = Destination("a", store, store, window, False, "Search")

    def receive(self, ours):
        """Orthanc has a file, which is to be sent; the row."""
        identifier = self._orthanc.json("POST", "/instances", ours)["ID"]
        record(self.ledger, [ours])
        row = rows(self.ledger)[-1]
        with self.ledger.writing() as connection:
            connection.exec_driver_sql(
                f"UPDATE gcp_transfers SET orthanc_id = '{identifier}' WHERE id = {row.id}"
            )
        limits = {"most_instances": 1000, "most_bytes": 10**9, "most_batches": 9}
        claimed = self.ledger.queue.claim("a", "o", f"b{row.id}", "w", **limits)
        return next(one for one in claimed if one.id == row.id)

    def compare_all(self, *pairs):
        """Pairs of what Orthanc has, and what the store has or None."""
        refused = {}
        for ours, theirs in pairs:
            refused[self.receive(ours)] = hashlib.sha256(ours).hexdigest()
            if theirs is not None:
                self._stow(theirs)
        found = self.compared(refused)
        return [found[row.id] for row in refused]

    def compared(self, refused):
        return dict(
            one
            for some in self.conflicts.compare(self.destination, refused)
            for one in some.items()
        )

    def compare(self, ours, theirs=None):
        (found,) = self.compare_all((ours, theirs))
        return found


@pytest.fixture
def store(dicom_store):
    made = CountedStore(dicom_store.dicomweb_url, lambda: Authorization(dicom_store.token()))
    yield made
    made.close()


@pytest.fixture
def room(sqlite_ledger, store, stow, orthanc, tmp_path):
    return Room(sqlite_ledger, store, stow, orthanc, tmp_path)


@pytest.fixture
def compare(room):
    """What differs between two files, the one in Orthanc, the other in the store."""
    return lambda *files: room.compare(*files).difference


def test_the_same_bytes_are_no_difference(compare):
    file = make_instance()
    assert compare(file, file) is None


def test_attributes_are_named_and_their_values_are_not(compare):
    ours = make_instance()
    theirs = changed(ours, PatientName="Needle^Secret", StudyDescription="needle")
    found = compare(ours, theirs)
    assert f"{len(theirs)} bytes with SHA-256 {hashlib.sha256(theirs).hexdigest()}" in found
    assert f"Orthanc has {len(ours)} with {hashlib.sha256(ours).hexdigest()}" in found
    assert found.endswith("different attributes: PatientName, StudyDescription")
    assert "eedle" not in found


def test_only_pixels_differ(compare):
    ours = make_instance()
    theirs = bytearray(ours)
    theirs[-1] ^= 1
    assert compare(ours, bytes(theirs)).endswith("only pixel data or private encoding")


def test_very_many_attributes_are_counted(compare):
    names = [
        keyword
        for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items()
        if (vr, vm, retired) == ("LO", "1", "") and tag >> 16 in (0x0018, 0x0040)
    ][:30]
    ours = make_instance()
    found = compare(ours, changed(ours, **dict.fromkeys(names, "x")))
    assert found.endswith("and 10 more")


def test_what_is_not_there_cannot_be_compared_and_stops_no_other(room):
    file = make_instance()
    gone, same = room.compare_all((make_instance(), None), (file, file))
    assert gone.error.status == 403, "as Google says of what does not exist"
    assert gone.outage is None
    assert (same.error, same.difference, same.read) == (None, None, True)


def test_uids_that_cannot_stand_in_an_address_stop_no_other(room, stow):
    file = make_instance()
    stow(file)
    row, same = replace(room.receive(make_instance()), study_instance_uid=".."), room.receive(file)
    refused = {row: "d", same: hashlib.sha256(file).hexdigest()}
    found = room.compared(refused)
    assert (found[row.id].error.reason, found[row.id].outage) == ("uid", None)
    assert found[same.id].error is None


def test_where_orthanc_cannot_give_its_file_no_attributes_are_named(room, stow):
    ours = make_instance()
    stow(changed(ours, PatientID="other"))
    row = replace(room.receive(ours), orthanc_id="0" * 8)
    found = room.compared({row: hashlib.sha256(ours).hexdigest()})
    assert "different attributes: not known, Orthanc" in found[row.id].difference


def test_another_size_is_seen_without_reading_once_sizes_were_seen_to_count(room):
    for number in range(3):
        ours = make_instance()
        found = room.compare(ours, changed(ours, PatientName=f"Other^{number}" * (number + 1)))
        assert "the store has other bytes under these UIDs" in found.difference
        assert found.read == (number == 0)
    assert (room.store.sizes, room.store.files) == (3, 1)


def test_sizes_that_are_not_those_of_files_prove_nothing(room, monkeypatch):
    monkeypatch.setattr(DicomStore, "stored_size", lambda *_: 7)
    for _ in range(3):
        file = make_instance()
        assert room.compare(file, file).difference is None
    assert (room.store.sizes, room.store.files) == (1, 3)


def test_what_is_known_of_the_store_is_not_read(room):
    file = make_instance()
    (row,) = send(room.ledger, [file])
    room.ledger.confirmations.confirm({row: room.ledger.now() + 1})
    with room.ledger.writing() as connection:
        connection.exec_driver_sql("UPDATE gcp_transfers SET source = 'another'")
    again = make_instance(series=dataset(file).SeriesInstanceUID)
    assert room.compare(file) == Comparison()
    assert room.store.files == 0
    assert room.compare(again).error is not None, "another instance was never there"


def test_a_cap_on_bytes_holds_for_what_is_read(room):
    taken = []

    class Limit:
        def for_one_request(self, *, behind):
            return taken.append

    room.destination = replace(room.destination, byte_limit=Limit())
    file = make_instance()
    room.compare(file, file)
    assert sum(taken) == len(file)


def test_a_permission_that_is_missing_is_not_asked_for_by_each(room, faults):
    files = [make_instance() for _ in range(6)]
    faults(deniedPermissions=["healthcare.dicomStores.dicomWebRead"])
    found = room.compare_all(*((file, file) for file in files))
    assert {one.error.status for one in found} == {403}
    assert {one.outage for one in found} == {None}
    assert room.store.files == MOST_REFUSALS


def test_a_store_that_is_away_is_asked_for_no_more_than_two(room, faults):
    files = [make_instance() for _ in range(3)]
    refused = {}
    for file in files:
        refused[room.receive(file)] = "d"
    faults(faults=[{"method": "GET", "status": 503}])
    found = room.compared(refused).values()
    assert {one.outage.status for one in found} == {503}
    assert [one.asked for one in found] == [True, True, False]
    assert (room.store.sizes, room.store.files) == (2, 0)


@pytest.mark.parametrize("status", [401, 429])
def test_what_is_never_about_one_is_not_asked_for_by_another(room, faults, status):
    files = [make_instance() for _ in range(2)]
    faults(faults=[{"method": "GET", "status": status}])
    found = room.compare_all(*((file, file) for file in files))
    assert [one.asked for one in found] == [True, False]
    assert {one.outage.status for one in found} == {status}


@pytest.mark.parametrize("place", [0, 1, 5])
def test_one_that_the_store_fails_to_give_keeps_no_other_from_being_compared(room, faults, place):
    files = [make_instance() for _ in range(6)]
    odd = str(dataset(files[place]).SOPInstanceUID)
    faults(faults=[{"method": "GET", "path": odd, "status": 504}])
    found = room.compare_all(*((file, file) for file in files))
    assert found.pop(place).outage.status == 504
    assert found == [Comparison(read=True)] * 5


def test_a_worker_that_stops_compares_nothing(room):
    room.stopping = True
    file = make_instance()
    found = room.compare(file, file)
    assert (found.error.reason, found.outage, room.store.files) == ("aborted", None, 0)


def test_one_that_takes_long_keeps_no_other_back(room, monkeypatch):
    file = make_instance()
    room.compare(file, file)  # shows that sizes count
    files = [make_instance() for _ in range(4)]
    refused = {room.receive(one): hashlib.sha256(one).hexdigest() for one in files}
    for one in files:
        room._stow(one)
    slow, goes_on, read_file = next(iter(refused)), threading.Event(), room.store.open

    def gated(*uids):
        assert uids != slow.uids or goes_on.wait(30)
        return read_file(*uids)

    monkeypatch.setattr(room.store, "open", gated)
    found = {}
    try:
        portions = room.conflicts.compare(room.destination, refused)
        while len(found) < 3:
            found |= next(portions)
        assert slow.id not in found
    finally:
        goes_on.set()
    for some in portions:
        found |= some
    assert found == {row.id: Comparison(read=True) for row in refused}


@pytest.mark.parametrize("threads", [0, 1])
def test_where_no_thread_can_be_started_the_sending_one_compares(room, threads):
    """As at a limit of tasks."""
    files = [make_instance() for _ in range(4)]
    with without_threads("ThreadPoolExecutor", but=threads):
        found = room.compare_all(*((file, file) for file in files))
    assert found == [Comparison(read=True)] * 4
    assert room.store.files == 4


def test_no_more_are_read_at_once_than_there_are_connections(room, stow, monkeypatch):
    """Whichever threads compare: each batch is read by several."""
    files = [make_instance() for _ in range(9)]
    refused = {room.receive(one): hashlib.sha256(one).hexdigest() for one in files}
    for one in files:
        stow(one)
    rows = list(refused)
    room.compared({rows[8]: refused[rows[8]]})  # shows that sizes count
    read_file, lock, goes_on = room.store.open, threading.Lock(), threading.Event()
    running, most = 0, 0

    @contextmanager
    def gated(*uids):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert goes_on.wait(30)
        with read_file(*uids) as pieces:
            yield pieces
        with lock:
            running -= 1

    monkeypatch.setattr(room.store, "open", gated)
    with ThreadPoolExecutor(2) as pool:
        batches = [{row: refused[row] for row in rows[number:8:2]} for number in range(2)]
        found = [pool.submit(room.compared, one) for one in batches]
        try:
            wait_until(lambda: running >= CONNECTIONS)
            time.sleep(0.3)  # for more of them
        finally:
            goes_on.set()
        results = {row: one for each in found for row, one in each.result().items()}
    assert most == CONNECTIONS
    assert results == {row.id: Comparison(read=True) for row in rows[:8]}
