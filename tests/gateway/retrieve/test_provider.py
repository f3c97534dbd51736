"""Requests that are odd, and what fails unexpectedly."""

from __future__ import annotations

import socket
import struct

import pytest
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from orthanc_gcp.gateway.retrieve.service import RetrieveService
from orthanc_gcp.gateway.retrieve.sub_operations import Counts
from tests.gateway.scu import MOVE, STUDY_ROOT, keys, move
from tests.gateway.test_transport import RELEASE, command, item, pdu


def test_what_fails_unexpectedly_is_answered(gateway, caplog, monkeypatch):
    running, secret = gateway(104), "SECRET"

    def failing(_service, _request, _is_cancelled):
        yield Counts(0xFF00, 3, 0, 0, 0)
        raise KeyError(secret)

    monkeypatch.setattr(RetrieveService, "__call__", failing)
    found, _, pending = move(running.port, keys("STUDY", StudyInstanceUID="1.2"))
    assert (found.Status, len(pending)) == (0xC001, 1)
    assert "KeyError" in caplog.text
    assert "SECRET" not in caplog.text


def test_more_sub_operations_than_a_number_can_say(gateway, monkeypatch):
    running = gateway(104)

    def many(_service, _request, _is_cancelled):
        yield Counts(0xFF00, 300_000, 0, 0, 0)
        yield Counts(0x0000, None, 300_000, 0, 0)

    monkeypatch.setattr(RetrieveService, "__call__", many)
    found, _, pending = move(running.port, keys("STUDY", StudyInstanceUID="1.2"))
    assert pending[0].NumberOfRemainingSuboperations == 65535
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0, 65535)


def request(service):
    """A-ASSOCIATE-RQ with one context."""
    context = bytes([1, 0, 0, 0]) + item(0x30, service) + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    fixed = struct.pack(">HH16s16s32x", 1, 0, b"GOOGLE".ljust(16), b"WORKSTATION".ljust(16))
    return pdu(0x01, fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + user)


@pytest.mark.parametrize(
    ("service", "field", "status"),
    [
        (MOVE[STUDY_ROOT], 0x0021, 0xA801),
        (StudyRootQueryRetrieveInformationModelGet, 0x0010, 0xA900),
    ],
)
def test_a_request_without_an_identifier_or_a_destination(start, service, field, status):
    service = service.encode()
    port = start(DicomScpTimeout=2).port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request(service))
        assert connection.recv(65536)[0] == 2
        connection.sendall(command(field, service) + RELEASE)
        answered = b""
        while piece := connection.recv(65536):
            answered += piece
    assert struct.pack("<HHLH", 0, 0x0900, 2, status) in answered
