"""Associations that go on for long, or are many."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from orthanc_gcp.gateway.association import Answer, WorkstationAssociation
from orthanc_gcp.gateway.find import FindService
from tests.emulator.client import make_dicom
from tests.gateway.scu import STUDY_ROOT, associate, find, keys
from tests.gateway.test_transport import STUDY_FIND, command, data


def test_twenty_at_once(start, client):
    client.store(*(make_dicom(PatientID=f"P{number}") for number in range(30)))
    port, together = start().port, threading.Barrier(20)

    def ask(number):
        association = associate(port)
        assert association.is_established
        together.wait(60)
        wanted = keys("STUDY", PatientID=f"P{number}*")
        answers = list(association.send_c_find(wanted, STUDY_ROOT))
        assert association.is_established
        association.release()
        return [match.PatientID for _, match in answers if match is not None]

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(ask, range(20)))
    assert all(f"P{number}" in one for number, one in enumerate(found))
    assert sorted(found[1]) == sorted(["P1", *(f"P{number}" for number in range(10, 20))])
    # What is over leaves nothing behind.
    deadline = time.monotonic() + 20
    while any(isinstance(one, WorkstationAssociation) for one in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_store_that_takes_longer_than_silence_may(start, client, monkeypatch):
    running = start(DicomScpTimeout=2)
    find_now = FindService.__call__

    def slow(self, request, is_cancelled):
        time.sleep(2.3)
        yield from find_now(self, request, is_cancelled)

    monkeypatch.setattr(FindService, "__call__", slow)
    association = associate(running.port)
    assert [status.Status for status, _ in association.send_c_find(keys("STUDY"), STUDY_ROOT)] == [
        0
    ]
    assert association.send_c_echo().Status == 0
    association.release()


def test_what_fails_unexpectedly_is_answered(start, caplog, monkeypatch):
    running, secret = start(), "SECRET"

    def failing(_service, _request, _is_cancelled):
        yield Answer(0xFF00, keys("STUDY", PatientName=secret))
        raise KeyError(secret)

    monkeypatch.setattr(FindService, "__call__", failing)
    found, status = find(running.port, keys("STUDY"))
    assert (len(found), status.Status) == (1, 0xC001)
    assert "KeyError" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_peer_that_reads_nothing_is_left(start, monkeypatch):
    """Answers do not pile up in memory for it, and it does not hold a place for ever."""
    running = start(DicomScpTimeout=1)
    made = []

    def endless(_service, _request, is_cancelled):
        while not is_cancelled():
            made.append(1)
            yield Answer(0xFF00, keys("STUDY", PatientComments="x" * 10_000))
        yield Answer(0xFE00)

    monkeypatch.setattr(FindService, "__call__", endless)
    association = associate(running.port)
    own = association.dul.socket.socket
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    association._reactor_checkpoint.clear()
    association.dul.kill_dul()
    association.dul.join(20)
    contexts = {one.abstract_syntax: one.context_id for one in association.accepted_contexts}
    number = contexts[STUDY_ROOT]
    own.sendall(command(0x0020, STUDY_FIND, has_data=True, context=number))
    own.sendall(data(b"\x08\0\x52\0\x06\0\0\0STUDY ", context=number))
    deadline = time.monotonic() + 30
    while any(isinstance(one, WorkstationAssociation) for one in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert 0 < len(made) < 5000
    own.close()
