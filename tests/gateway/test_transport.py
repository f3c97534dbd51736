"""Peers that are broken, slow or hostile: each costs its own connection, and no other."""

from __future__ import annotations

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthanc_gcp.gateway import transport
from tests.gateway.scu import associate

VERIFICATION, IMPLICIT = b"1.2.840.10008.1.1", b"1.2.840.10008.1.2"
STUDY_FIND = b"1.2.840.10008.5.1.4.1.2.2.1"


def item(kind, content):
    return struct.pack(">BxH", kind, len(content)) + content


def pdu(kind, content):
    return struct.pack(">BxL", kind, len(content)) + content


def request(called=b"GOOGLE", calling=b"WORKSTATION"):
    """A-ASSOCIATE-RQ for C-ECHO and C-FIND (PS3.8 §9.3.2)."""
    contexts = b"".join(
        item(0x20, bytes([number, 0, 0, 0]) + item(0x30, service) + item(0x40, IMPLICIT))
        for number, service in ((1, VERIFICATION), (3, STUDY_FIND))
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    fixed = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), calling.ljust(16))
    return pdu(0x01, fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


def command(field, service, message=1, has_data=False, context=1, flags=3):
    """A P-DATA-TF with a command (PS3.7 §E)."""
    elements = [
        (0x0002, service + b"\0" * (len(service) % 2)),
        (0x0100, struct.pack("<H", field)),
        (0x0110, struct.pack("<H", message)),
        (0x0700, b"\0\0"),
        (0x0800, struct.pack("<H", 1 if has_data else 0x0101)),
    ]
    body = b"".join(struct.pack("<HHL", 0, tag, len(one)) + one for tag, one in elements)
    body = struct.pack("<HHLL", 0, 0, 4, len(body)) + body
    return data(body, context, flags)


def data(content, context=3, flags=2):
    """A P-DATA-TF with one fragment (PS3.8 §9.3.5)."""
    return pdu(0x04, struct.pack(">LBB", len(content) + 2, context, flags) + content)


ECHO = command(0x0030, VERIFICATION)
FIND = command(0x0020, STUDY_FIND, has_data=True, context=3)
RELEASE = pdu(0x05, b"\0\0\0\0")
GOOD = request() + ECHO + FIND + data(b"\x08\0\x52\0\x06\0\0\0STUDY ") + RELEASE


def ends(port, content, within=20.0, shut=False):
    """Whether the gateway ends a connection after it was sent something; what it has answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=within) as connection:
        answered = b""
        try:
            begin = request()
            if content.startswith(begin):  # nothing may be sent before it is accepted
                connection.sendall(begin)
                answered += connection.recv(65536)
                content = content[len(begin) :]
            connection.sendall(content)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answered += piece
        except TimeoutError:
            raise
        except OSError:
            pass  # it was ended while something was still on the way
        return answered


def assert_it_answers(port):
    association = associate(port)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


@pytest.fixture
def port(start):
    return start(DicomScpTimeout=1).port


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        struct.pack(">BxL", 1, 0xFFFFFFFF),
        struct.pack(">BxL", 4, 0xFFFFFFFF) + b"x" * 100,
        pdu(0x01, b""),
        pdu(0x01, b"\xff" * 200),
        pdu(0x09, b"1234"),
        request()[:50],
        request() + request(),
        request() + struct.pack(">BxL", 4, 2 * 1024 * 1024),
        request() + pdu(0x04, b""),
        request() + data(b"", flags=3),
        request() + data(b"x" * 100, flags=3),
        request() + data(b"x" * 100, context=99, flags=3),
        request() + pdu(0x04, struct.pack(">LBB", 0xFFFFFFFF, 3, 3) + b"x"),
        request() + pdu(0x04, struct.pack(">L", 1) + b"\x01"),
        request() + command(0x0001, STUDY_FIND, context=3),
        request() + command(0x0021, STUDY_FIND, context=3),
        request() + command(0x0100, STUDY_FIND, context=3),
        request() + command(0x0030, VERIFICATION, context=77),
        request() + command(0x8030, VERIFICATION),
        request() + command(0x0FFF, VERIFICATION),
        request() + FIND,
        request() + FIND + data(b"x" * 16000, flags=0) * 70,
        request() + ECHO * 200,
        request() + pdu(0x02, b"x" * 80),
        request() + pdu(0x07, b"\0\0\0\0"),
        request(),
    ],
    ids=lambda content: content[:8].hex() + f"-{len(content)}",
)
def test_what_is_no_dicom_ends(start, content):
    port = _only(start)
    ends(port, content, shut=True)
    assert_it_answers(port)


def test_peers_that_are_silent_are_left(port):
    silent = [b"", b"\x01", request()[:50], request(), request() + data(b"x", flags=0)]
    with ThreadPoolExecutor(len(silent)) as pool:
        list(pool.map(lambda content: ends(port, content), silent))
    assert_it_answers(port)


def test_what_is_dicom_is_answered(port):
    answered = ends(port, GOOD)
    assert answered[0] == 0x02
    assert answered[-10:-4] == b"\x06\0\0\0\0\x04"


def test_a_find_without_an_identifier_is_answered(port):
    answered = ends(port, request() + command(0x0020, STUDY_FIND, context=3) + RELEASE)
    assert struct.pack("<HHLH", 0, 0x0900, 2, 0xA900) in answered


def test_one_that_drips_has_no_more_time_than_another(port):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            for one in request() * 10:
                connection.send(bytes([one]))
                time.sleep(0.05)
        except ConnectionError:
            pass
        assert time.monotonic() - began < 15
    assert_it_answers(port)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    place=st.integers(0, len(GOOD) - 1),
    change=st.binary(min_size=1, max_size=8),
    cut=st.integers(0, 4),
)
def test_changed_bytes(start, place, change, cut):
    port = _only(start)
    changed = GOOD[:place] + change + GOOD[place + cut :]
    ends(port, changed, shut=True)
    assert_it_answers(port)


def _only(start, made={}):  # noqa: B006 -- one gateway for all examples of a test
    if start not in made:
        made.clear()
        made[start] = start(DicomScpTimeout=2).port
    return made[start]


def test_acknowledgements_are_not_delayed(monkeypatch):
    """Where the platform has it, and nothing fails where it has not or a socket is closed."""
    with socket.socket() as one:
        transport.acknowledge_at_once(one)
        one.close()
        transport.acknowledge_at_once(one)
    monkeypatch.setattr(transport, "_QUICKACK", None)
    transport.acknowledge_at_once(one)
