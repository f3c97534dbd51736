"""What comes from a store ahead of those who send it, and a store that fails meanwhile."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
from pydicom.uid import generate_uid

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.gateway.retrieve import requests, staging
from orthanc_gcp.gateway.retrieve.limits import Limits
from tests.emulator.client import make_dicom, read
from tests.gateway.retrieve.scp import EXPLICIT, IMPLICIT, SECONDARY, data_set_of, receiving
from tests.gateway.scu import MOVE, STUDY_ROOT, associate, keys, move

STUDY, SERIES = generate_uid(), generate_uid()
WANTED = keys("STUDY", StudyInstanceUID=STUDY)
PLAIN = {SECONDARY: [EXPLICIT, IMPLICIT]}


@pytest.fixture
def files(client):
    made = [
        make_dicom(bytes([number, 0]) * 5000, StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)
        for number in range(8)
    ]
    client.store(*made)
    return made


def assert_all_came(received, found, files):
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, len(files))
    assert set(received.data_sets.values()) == set(map(data_set_of, files))
    assert len(received.requests) == len(files)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("large", [True, False])
def test_by_any_way(gateway, files, monkeypatch, together, large):
    """Together or one by one, whole or streaming, and with room for two at a time."""
    if not together:
        monkeypatch.setattr(requests, "SMALL", 10)
    if large:
        monkeypatch.setattr(staging, "LARGE", 5000)
    monkeypatch.setattr(staging, "MOST_STAGED", 2)
    limits = Limits(requests=Counted(), bytes=Counted())
    with receiving(PLAIN) as received:
        running = gateway(received.port, limits=lambda *_: limits)
        found, _, _ = move(running.port, WANTED)
        assert_all_came(received, found, files)
    # All of it is held back by the account's caps; a large one that came with others comes anew.
    requests_made = (1 if together else 0) + (8 if large or not together else 0)
    assert limits.requests.units == requests_made
    assert limits.bytes.units >= sum(map(len, files))


class Counted:
    """A limit that holds nothing back."""

    def __init__(self):
        self.units, self.lock = 0, threading.Lock()

    def acquire(self, units=1):
        with self.lock:
            self.units += units

    def for_one_request(self):
        return self.acquire


def test_what_waits_for_its_turn_ends_with_the_retrieval(gateway, files):
    """A C-CANCEL, or the end of the association, ends the wait of a cap."""
    ended = threading.Event()

    class Slow(Counted):
        def __init__(self, wait):
            super().__init__()
            self.wait = wait

        def acquire(self, units=1):
            if self.wait(60):
                ended.set()

    with receiving(PLAIN) as received:
        running = gateway(received.port, limits=lambda _, wait: Limits(bytes=Slow(wait)))
        association = associate(running.port)
        answers = association.send_c_move(WANTED, "DEST", MOVE[STUDY_ROOT])
        assert next(answers)[0].Status == 0xFF00
        association.abort()
        assert ended.wait(20)
        assert not received.requests


@pytest.mark.parametrize(
    ("way", "fault"),
    [
        ("together", {"status": 503}),
        ("together", {"cut": "truncate"}),
        ("alone", {"status": 429, "retryAfter": 0}),
        ("alone", {"status": 500}),
        ("alone", {"status": 401}),
        ("alone", {"cut": "reset"}),
        ("alone", {"cut": "truncate"}),
        ("streaming", {"cut": "resetAnswer"}),
        ("streaming", {"cut": "truncate"}),
        ("streaming", {"status": 503}),
    ],
    ids=str,
)
def test_a_store_that_fails_for_a_while(gateway, files, faults, quick, monkeypatch, fault, way):
    if way != "together":
        monkeypatch.setattr(requests, "SMALL", 10)
    if way == "streaming":
        monkeypatch.setattr(staging, "LARGE", 5000)
    path = f"/series/{SERIES}" + ("$" if way == "together" else "/instances/")
    with receiving(PLAIN) as received:
        port = gateway(received.port).port
        faults({"method": "GET", "path": path, "count": 3, **fault})
        found, _, _ = move(port, WANTED)
        assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 8)
        assert set(received.data_sets.values()) == set(map(data_set_of, files))


def test_a_store_that_does_not_come_back(gateway, files, faults, quick, monkeypatch, caplog):
    monkeypatch.setattr(staging, "GIVE_UP_AFTER", 0.3)
    with receiving(PLAIN) as received:
        port = gateway(received.port).port
        faults({"method": "GET", "path": f"/series/{SERIES}", "status": 503})
        found, identifier, _ = move(port, WANTED)
    assert (found.Status, found.NumberOfFailedSuboperations) == (0xA702, 8)
    assert found.ErrorComment == "the store: unavailable"
    assert len(identifier.FailedSOPInstanceUIDList) == 8
    assert "8 instances are not sent" in caplog.text


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("status", [401, 503])
def test_a_moment_of_a_store_of_which_nothing_was_wanted_for_long(
    gateway, files, faults, quick, monkeypatch, large, status
):
    """As the destination is slow: that is no outage of the store."""
    monkeypatch.setattr(staging, "GIVE_UP_AFTER", 0.3)
    monkeypatch.setattr(staging, "MOST_STAGED", 1)
    monkeypatch.setattr(staging, "REQUESTS", 1)
    monkeypatch.setattr(requests, "SMALL", 10)
    if large:
        monkeypatch.setattr(staging, "LARGE", 5000)
    asked = f"/series/{SERIES}/instances/"

    def answer(received, _event):
        if len(received.requests) == 1:
            time.sleep(1)
            faults({"method": "GET", "path": asked, "count": 1, "status": status})
        return 0

    with receiving(PLAIN, answer) as received:
        found, _, _ = move(gateway(received.port).port, WANTED)
        assert_all_came(received, found, files)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_one_instance_that_the_store_does_not_give(gateway, files, faults, quick, status):
    missing = str(read(files[3]).SOPInstanceUID)
    with receiving(PLAIN) as received:
        port = gateway(received.port).port
        faults(
            {"method": "GET", "path": f"/series/{SERIES}$", "status": 400},
            {"method": "GET", "path": f"/instances/{missing}", "status": status},
        )
        found, identifier, _ = move(port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0xB000, 7)
    assert identifier.FailedSOPInstanceUIDList == missing
    assert found.ErrorComment.startswith("the store: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no file", "it ends in its meta information"),
        (make_dicom(), "the store gave another in its place"),
    ],
    ids=["no file", "another"],
)
def test_what_is_not_the_instance(gateway, files, monkeypatch, caplog, content, words):
    monkeypatch.setattr(requests, "SMALL", 10)
    odd, open_now = str(read(files[3]).SOPInstanceUID), DicomStore.open

    @contextmanager
    def opened(self, study, series, instance, **options):
        with open_now(self, study, series, instance, **options) as pieces:
            yield iter((content,)) if instance == odd else pieces

    monkeypatch.setattr(DicomStore, "open", opened)
    with receiving(PLAIN) as received:
        found, identifier, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfFailedSuboperations) == (0xB000, 1)
    assert identifier.FailedSOPInstanceUIDList == odd
    assert f"instance '{odd}' is not sent: {words}" in caplog.text
