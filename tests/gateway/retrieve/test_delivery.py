"""Destinations as they are: busy, broken, gone for a while, and choosy."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from pydicom.uid import generate_uid
from pynetdicom.presentation import AllStoragePresentationContexts

from orthanc_gcp.gateway.retrieve import delivery, service
from orthanc_gcp.gateway.retrieve.delivery import outcome_of, proposed_syntaxes
from orthanc_gcp.gateway.retrieve.store_scu import StoreAssociation
from orthanc_gcp.gateway.retrieve.sub_operations import Outcome
from tests.emulator.client import make_dicom
from tests.gateway.retrieve.scp import (
    CT,
    EXPLICIT,
    IMPLICIT,
    SECONDARY,
    accept,
    data_set_of,
    misbehaving,
    read_pdu,
    receiving,
)
from tests.gateway.scu import keys, move
from tests.support.orthanc import free_port
from tests.support.threads import without_threads

STUDY = generate_uid()
WANTED = keys("STUDY", StudyInstanceUID=STUDY)
JPEG = "1.2.840.10008.1.2.4.50"
PLAIN = {SECONDARY: [EXPLICIT, IMPLICIT]}


@pytest.fixture
def files(client):
    made = [make_dicom(bytes([number, 0]), StudyInstanceUID=STUDY) for number in range(8)]
    client.store(*made)
    return made


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.COMPLETED),
        (0xB000, Outcome.WARNING),
        (0xB007, Outcome.WARNING),
        (0x0107, Outcome.WARNING),
        (0xA700, Outcome.FAILED),
        (0xC123, Outcome.FAILED),
        (0x0122, Outcome.FAILED),
        (0xFF00, Outcome.FAILED),
    ],
)
def test_outcomes(status, outcome):
    assert outcome_of(status) is outcome


def test_nobody_is_there(gateway, files, quick):
    found, identifier, _ = move(gateway(free_port()).port, WANTED)
    assert (found.Status, found.NumberOfFailedSuboperations) == (0xA702, 8)
    assert found.ErrorComment == "DEST: it cannot be reached (Connection refused)"
    assert len(identifier.FailedSOPInstanceUIDList) == 8


def test_rejected_for_good(gateway, files, quick):
    with receiving(PLAIN, require_called_aet=True) as received:
        found, _, _ = move(gateway(received.port, {"AET": "X"}).port, WANTED, "X")
    assert (found.Status, found.NumberOfFailedSuboperations) == (0xA702, 8)
    assert found.ErrorComment == "X: it rejects the association: it does not know the called AE ti"


def test_one_that_hangs_up_now_and_then(gateway, files, quick):
    """It is tried again; what it has acknowledged is not sent twice."""

    def answer(received, event):
        if len(received.requests) in (3, 4, 7):
            event.assoc.abort(block=False)
            time.sleep(0.1)
            return 0xC000
        return 0

    with receiving(PLAIN, answer) as received:
        found, _, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 8)
    assert set(received.data_sets.values()) == set(map(data_set_of, files))
    assert len(received.requests) == 8 + 3


def test_one_instance_that_always_ends_the_association(gateway, files, quick):
    poison = []

    def answer(received, event):
        uid = event.request.AffectedSOPInstanceUID
        poison.extend([uid] if not poison else [])
        if uid == poison[0]:
            event.assoc.abort(block=False)
            time.sleep(0.05)
            return 0xC000
        return 0

    with receiving(PLAIN, answer) as received:
        found, identifier, _ = move(gateway(received.port).port, WANTED)
        assert received.requests.count(poison[0]) == delivery.MOST_ATTEMPTS
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0xB000, 7)
    assert identifier.FailedSOPInstanceUIDList == poison[0]


def test_one_that_never_answers(gateway, files, quick, monkeypatch):
    monkeypatch.setattr(delivery, "MOST_UNMADE", 2)
    monkeypatch.setattr(delivery, "MOST_UNSTORED", 2)

    def behave(connection, _number):
        accept(connection)
        while connection.recv(65536):
            pass

    with misbehaving(behave) as port:
        found, _, _ = move(gateway(port, {"Timeout": 1}).port, WANTED)
    assert (found.Status, found.NumberOfFailedSuboperations) == (0xA702, 8)
    assert found.ErrorComment == "DEST: it does not answer (timeout)"


def test_one_that_accepts_no_association(gateway, files, quick, monkeypatch):
    monkeypatch.setattr(delivery, "MOST_UNMADE", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        running = gateway(silent.getsockname()[1], DicomScuTimeout=1)
        found, _, _ = move(running.port, WANTED)
    assert (found.Status, found.ErrorComment) == (0xA702, "DEST: it does not answer (timeout)")


def test_one_that_goes_for_good(gateway, files, quick):
    """In the middle: what it has acknowledged counts."""

    def answer(received, _event):
        if len(received.requests) == 4:
            stop.set()
        return 0

    stop, done = threading.Event(), []
    with receiving(PLAIN, answer) as first:
        running = gateway(first.port)
        mover = threading.Thread(target=lambda: done.append(move(running.port, WANTED)))
        mover.start()
        assert stop.wait(20)
    mover.join(30)
    found, _, _ = done[0]
    assert found.NumberOfCompletedSuboperations + found.NumberOfFailedSuboperations == 8
    assert found.NumberOfCompletedSuboperations >= 4


def test_what_fails_unexpectedly_is_one_instance(gateway, files, monkeypatch, caplog):
    store_now, failed, secret = StoreAssociation.store, [], "SECRET"

    def store(self, *arguments):
        if not failed:
            failed.append(1)
            raise KeyError(secret)
        return store_now(self, *arguments)

    monkeypatch.setattr(StoreAssociation, "store", store)
    with receiving(PLAIN) as received:
        found, _, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0xB000, 7)
    assert "KeyError" in caplog.text
    assert "SECRET" not in caplog.text


# -- Transfer syntaxes ----------------------------------------------------------------------------


def test_the_store_transcodes(gateway, files, client):
    """Stored in Explicit VR, for a destination that takes Implicit VR only."""
    with receiving({SECONDARY: [IMPLICIT]}) as received:
        found, _, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 8)
    assert set(received.syntaxes.values()) == {IMPLICIT}


def test_no_context_fits(gateway, client, files, caplog):
    other = make_dicom(StudyInstanceUID=STUDY, SOPClassUID=CT)
    client.store(other)
    with receiving(PLAIN) as received:
        found, identifier, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0xB000, 8)
    assert found.NumberOfFailedSuboperations == 1
    assert identifier.FailedSOPInstanceUIDList in other.decode("latin-1")
    assert f"DEST takes no SOP class {CT} in {EXPLICIT}, nor uncompressed" in caplog.text
    assert found.ErrorComment == f"DEST takes no {CT}"


def test_what_is_proposed():
    assert proposed_syntaxes([(CT, JPEG)], [SECONDARY]) == [
        (CT, JPEG),
        (CT, EXPLICIT),
        (CT, IMPLICIT),
        (SECONDARY, EXPLICIT),
        (SECONDARY, IMPLICIT),
        (SECONDARY, JPEG),
    ]
    assert proposed_syntaxes([], [CT]) == [(CT, EXPLICIT), (CT, IMPLICIT)]
    many = [f"1.2.{number}" for number in range(200)]
    found = proposed_syntaxes([(CT, EXPLICIT), ("1.2.150", JPEG)], many)
    assert (found[0], len(found)) == (("1.2.150", JPEG), 128)


@pytest.mark.parametrize(("count", "most"), [(20, 1), (70, 10)])
def test_many_classes(gateway, client, monkeypatch, count, most):
    """One association for all; of more than it has room for, another one for the others."""
    monkeypatch.setattr(service, "GROW_AFTER", 60)
    classes = [str(one.abstract_syntax) for one in AllStoragePresentationContexts[:count]]
    client.store(*(make_dicom(StudyInstanceUID=STUDY, SOPClassUID=one) for one in classes))
    with receiving({one: [EXPLICIT] for one in classes}) as received:
        found, _, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, count)
    assert 1 <= received.associations <= most


# -- Several associations -------------------------------------------------------------------------


def slow(_received, _event):
    """Takes an instance after a while."""
    time.sleep(0.05)
    return 0


def test_a_slow_destination_gets_more_associations(gateway, client, monkeypatch):
    monkeypatch.setattr(service, "PENDING_EVERY", 0.05)
    monkeypatch.setattr(service, "GROW_AFTER", 0.1)
    client.store(*(make_dicom(StudyInstanceUID=STUDY) for _ in range(40)))

    with receiving(PLAIN, slow) as received:
        found, _, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 40)
    assert 2 <= received.associations <= delivery.MOST_ASSOCIATIONS
    assert len(received.requests) == 40


@pytest.mark.parametrize("name", ["gcp-store", "gcp-fetch"])
def test_one_thread_is_enough(gateway, client, monkeypatch, name):
    """As at a limit of tasks: the others are not waited for."""
    monkeypatch.setattr(service, "PENDING_EVERY", 0.05)
    monkeypatch.setattr(service, "GROW_AFTER", 0.1)
    client.store(*(make_dicom(StudyInstanceUID=STUDY) for _ in range(20)))

    with receiving(PLAIN, slow) as received, without_threads(name, but=1):
        found, _, _ = move(gateway(received.port).port, WANTED)
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 20)


def test_a_destination_that_serves_one_association_at_a_time(gateway, client, monkeypatch):
    """As storescp does: the others are not waited for."""
    monkeypatch.setattr(service, "PENDING_EVERY", 0.05)
    monkeypatch.setattr(service, "GROW_AFTER", 0.1)
    client.store(*(make_dicom(StudyInstanceUID=STUDY) for _ in range(20)))

    def behave(connection, number):
        if number:
            connection.recv(65536)  # and says nothing
            time.sleep(10)
            return
        accept(connection)
        message = 0
        while True:
            kind, content = read_pdu(connection)
            if kind == 5:
                connection.sendall(b"\6\0\0\0\0\4\0\0\0\0")
                return
            if content[5] == 2:
                message += 1
                time.sleep(0.02)
                connection.sendall(response(message))

    with misbehaving(behave) as port:
        began = time.monotonic()
        found, _, _ = move(gateway(port).port, WANTED)
        assert time.monotonic() - began < 9
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 20)


def response(message):
    """A P-DATA-TF with a C-STORE response of success."""
    values = [(0x0100, b"\x01\x80"), (0x0120, message.to_bytes(2, "little"))]
    values += [(0x0800, b"\x01\x01"), (0x0900, b"\0\0")]
    body = b"".join(
        b"\0\0" + tag.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value
        for tag, value in values
    )
    fragment = b"\x01\x03" + body
    inner = len(fragment).to_bytes(4, "big") + fragment
    return b"\4\0" + len(inner).to_bytes(4, "big") + inner
