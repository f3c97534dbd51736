"""The association with a destination: what is agreed on, and peers that misbehave."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_gcp.gateway.retrieve.associate_pdus import pdu
from orthanc_gcp.gateway.retrieve.file_meta import FileMeta
from orthanc_gcp.gateway.retrieve.store_request import Originator, StoreResponse
from orthanc_gcp.gateway.retrieve.store_scu import (
    Destination,
    DestinationError,
    StoreAssociation,
)
from tests.gateway.retrieve.scp import (
    CT,
    EXPLICIT,
    IMPLICIT,
    SECONDARY,
    accept,
    misbehaving,
    read_pdu,
    receiving,
)
from tests.support.orthanc import free_port

META = FileMeta(CT, "1.2.3", EXPLICIT)
WS = Originator("WS", 7)


def association(port, timeout=20.0, called="DEST"):
    place = Destination(called, "127.0.0.1", port, "GOOGLE", timeout, 16384, ("1.2.3", "X"))
    return StoreAssociation(place)


def store(one, data=b"\x08\0\x05\0CS\0\0"):
    return one.store((CT, EXPLICIT), META, iter((data,)), WS)


@pytest.mark.parametrize("size", [0, 16382, 1000])
def test_stored(size):
    with receiving({CT: [EXPLICIT]}, maximum_pdu_size=size) as received:
        one = association(received.port)
        one.open([(CT, EXPLICIT), (CT, IMPLICIT), (SECONDARY, EXPLICIT)])
        assert one.context((CT, EXPLICIT)) == 1
        assert one.context((CT, IMPLICIT)) is one.context((SECONDARY, EXPLICIT)) is None
        data = bytes(300_000)
        assert store(one, data) == StoreResponse(1, 0)
        assert store(one, data) == StoreResponse(2, 0)
        assert one.is_usable
        one.release()
        assert received.data_sets == {"1.2.3": data}
        assert (received.calling, received.originators) == ("GOOGLE", {("WS", 7)})
        with pytest.raises(DestinationError, match="closed"):
            store(one)


def test_nobody_is_there():
    one = association(free_port())
    with pytest.raises(DestinationError, match=r"cannot be reached \(Connection refused\)"):
        one.open([(CT, EXPLICIT)])


def test_rejected():
    with receiving({CT: [EXPLICIT]}, require_called_aet=True) as received:
        one = association(received.port, called="OTHER")
        with pytest.raises(DestinationError, match="does not know the called AE title") as caught:
            one.open([(CT, EXPLICIT)])
        assert not caught.value.retryable


def answering(*pdus):
    """A destination that accepts, reads what comes, and answers with bytes of a test."""

    def behave(connection, _number):
        accept(connection)
        read_pdu(connection)
        for one in pdus:
            connection.sendall(one)
        while connection.recv(65536):
            pass

    return behave


def fragment(content, flags=3):
    return pdu(4, struct.pack(">LBB", len(content) + 2, 1, flags) + content)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (answering(pdu(7, bytes(4))), "has aborted"),
        (answering(pdu(5, bytes(4))), "asked for the end"),
        (answering(pdu(2, bytes(100))), "no response"),
        (answering(pdu(4, b"")), "timeout"),
        (answering(pdu(4, b"\0\0\0\x01\x01\x03")), "nonsense"),
        (answering(pdu(4, b"\xff\xff\xff\xff\x01\x03")), "nonsense"),
        (answering(b"\4\0\xff\xff\xff\xff"), "nonsense"),
        (answering(fragment(b"x" * 30)), "no response to C-STORE"),
        (answering(fragment(b"x" * 30, flags=2)), "no response"),
        (answering(*([fragment(b"x" * 60000, flags=1)] * 3)), "no response"),
        (answering(b"GET / HTTP/1.1"), "nonsense"),
        (answering(), "timeout"),
    ],
    ids=range(12),
)
def test_an_answer_that_is_none(behave, words):
    with misbehaving(behave) as port:
        one = association(port, timeout=0.3)
        one.open([(CT, EXPLICIT)])
        with pytest.raises(DestinationError, match=words):
            store(one)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "hung up"),
        (pdu(2, bytes(68) + b"\x21\0\xff\xff"), "nonsense"),
        (pdu(3, b"\0\2\3\2"), "too many associations"),
        (pdu(3, b"\0\1"), "does not accept"),
        (pdu(6, bytes(4)), "does not accept"),
    ],
)
def test_an_association_that_is_not_made(answer, words):
    def behave(connection, _number):
        read_pdu(connection)
        connection.sendall(answer)

    with misbehaving(behave) as port:
        one = association(port)
        with pytest.raises(DestinationError, match=words) as caught:
            one.open([(CT, EXPLICIT)])
        assert caught.value.retryable


def test_one_that_reads_nothing():
    def behave(connection, _number):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        accept(connection)
        connection.settimeout(5)
        connection.recv(1)
        time.sleep(2)

    with misbehaving(behave) as port:
        one = association(port, timeout=0.3)
        one.open([(CT, EXPLICIT)])
        with pytest.raises(DestinationError, match="timeout"):
            store(one, bytes(20_000_000))


def test_one_that_hangs_up_while_it_is_sent_to():
    def behave(connection, _number):
        accept(connection)
        connection.recv(100)

    with misbehaving(behave) as port:
        one = association(port)
        one.open([(CT, EXPLICIT)])
        with pytest.raises(DestinationError):
            store(one, bytes(20_000_000))


def test_closed_while_it_is_waited_for():
    def behave(connection, _number):
        accept(connection)
        connection.recv(1)
        one.close()
        connection.recv(65536)

    with misbehaving(behave) as port:
        one = association(port)
        one.open([(CT, EXPLICIT)])
        with pytest.raises(DestinationError):
            store(one)


def test_what_breaks_off_in_the_middle_leaves_it_unusable():
    def broken():
        yield bytes(1000)
        raise KeyError

    with receiving({CT: [EXPLICIT]}) as received:
        one = association(received.port)
        assert not one.is_usable
        one.open([(CT, EXPLICIT)])
        with pytest.raises(KeyError):
            one.store((CT, EXPLICIT), META, broken(), WS)
        assert not one.is_usable
        one.abort()
        assert not received.data_sets


@pytest.fixture(scope="module")
def scripted():
    """A destination that says what it is told to, and the script: before and after acceptance."""
    script = [b"", b""]

    def behave(connection, _number):
        accept(connection, script[0])
        connection.recv(65536)
        connection.sendall(script[1])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with misbehaving(behave) as port:
        yield port, script


GOOD = fragment(
    struct.pack("<HHLH", 0, 0x0100, 2, 0x8001)
    + struct.pack("<HHLH", 0, 0x0120, 2, 1)
    + struct.pack("<HHLH", 0, 0x0900, 2, 0)
)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, len(GOOD)), change=st.binary(max_size=6), cut=st.integers(0, 6))
def test_changed_bytes(scripted, place, change, cut):
    """Whatever comes is the answer, or ends the association."""
    port, script = scripted
    script[1] = GOOD[:place] + change + GOOD[place + cut :]
    one = association(port, timeout=5)
    one.open([(CT, EXPLICIT)])
    try:
        assert store(one).message_id == 1
    except DestinationError:
        assert not one.is_usable
    one.close()


@settings(max_examples=40, deadline=None)
@given(change=st.binary(min_size=1, max_size=20))
def test_an_acceptance_with_more_in_it(scripted, change):
    port, script = scripted
    script[:] = [change, GOOD]
    one = association(port, timeout=5)
    with suppress(DestinationError):
        one.open([(CT, EXPLICIT)])
        store(one)
    one.close()
    script[0] = b""
