"""Nothing that another side does lasts for ever, and nothing honest is cut.

Each server here ends what it does after a while, as it should be: who waits for that succeeds, and
the test fails.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time

import pytest

from orthanc_gcp.dicomweb import DicomStore, StoreError
from orthanc_gcp.transport import deadlines as module
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.deadlines import BoundedConnection
from orthanc_gcp.transport.request import Transport
from tests.support.raw_server import RawServer, answer, read_body
from tests.transport.exchange import failure

LIMIT = 0.3
WHILE = 1.5
"""Seconds after which a server does as it should."""
FILE = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\nTransfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 102 Processing\r\nX-Step: 1\r\n\r\n"


def drip(connection, piece, seconds=WHILE, pause=0.02):
    """Send a piece now and then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(piece)
        time.sleep(pause)


def says_slowly(*said):
    """Read the request; then say this, each with how it goes on."""

    def behave(connection, head):
        read_body(connection, head)
        for piece, dripped in said:
            connection.sendall(piece)
            if dripped:
                drip(connection, dripped)

    return RawServer(behave)


HEADS = {
    "header lines": [(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"), (b"Content-Length: 2\r\n\r\n[]", b"")],
    "one header": [(b"HTTP/1.1 200 OK\r\nX: ", b"x"), (b"\r\nContent-Length: 2\r\n\r\n[]", b"")],
    "status line": [(b"HTTP/1.1 200 ", b"O"), (b"\r\nContent-Length: 2\r\n\r\n[]", b"")],
    "continue": [(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (answer(b"[]"), b"")],
    "processing": [(b"", INTERIM), (answer(b"[]"), b"")],
    "head of an interim answer": [
        (b"HTTP/1.1 103 Early Hints\r\n", b"Link: </x>\r\n"),
        (b"\r\n" + answer(b"[]"), b""),
    ],
}


@pytest.fixture
def few_headers(monkeypatch):
    """More header lines than 100 would end it earlier."""
    monkeypatch.setattr("http.client._MAXHEADERS", 10_000)


@pytest.mark.parametrize("said", HEADS.values(), ids=HEADS.keys())
def test_the_head_of_an_answer_has_its_time(few_headers, said):
    with says_slowly(*said) as server:
        store = DicomStore(server.url, lambda: Authorization("token"), timeout=LIMIT)
        with pytest.raises(StoreError) as caught:
            list(store.instances("1"))
        store.close()
    assert caught.value.reason == "timeout"
    assert str(caught.value).endswith("no complete answer within 0.3 s")


@pytest.mark.parametrize("said", HEADS.values(), ids=HEADS.keys())
def test_and_that_of_a_token_endpoint(few_headers, said):
    with says_slowly(*said) as server:
        assert failure(server.url, timeout=LIMIT).reason == "timeout"


@pytest.mark.parametrize("pause", [0.02, 0.2], ids=["drips", "is silent between"])
def test_all_of_a_token_endpoints_answer_has_its_time(pause):
    def behave(connection, head):
        read_body(connection, head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(pause)
            connection.sendall(b" ")

    with RawServer(behave) as server:
        assert failure(server.url, timeout=0.15).reason == "timeout"


def test_interim_answers_are_no_answers():
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 5\r\n\r\n"
    said = b"HTTP/1.1 100 Continue\r\n\r\n" + INTERIM * 3 + early + answer(b"[]")

    def behave(connection, head):
        read_body(connection, head)
        connection.sendall(said)

    with RawServer(behave) as server:
        store = DicomStore(server.url, lambda: Authorization("token"), timeout=5)
        assert [list(store.instances("1")) for _ in range(3)] == [[]] * 3
        store.close()
        assert Transport(timeout=5)(server.url, "POST", b"x").data == b"[]"


def test_so_many_that_they_do_not_end_are_given_up_before_their_time():
    with says_slowly((INTERIM * (module.MOST_INTERIM + 1) + answer(b"[]"), b"")) as server:
        error = failure(server.url, timeout=20)
    assert error.reason == "protocol"
    assert "interim answers without end" in str(error)


def reading(server, timeout=LIMIT, wait=0.0):
    store = DicomStore(server.url, lambda: Authorization("token"), timeout=timeout)
    size = 0
    try:
        with store.open("1", "2", "3") as pieces:
            for piece in pieces:
                size += len(piece)
                time.sleep(wait)
    finally:
        store.close()
    return size


def test_a_body_that_only_drips_is_given_up():
    with (
        says_slowly((FILE, b"1\r\nx\r\n"), (b"0\r\n\r\n", b"")) as server,
        pytest.raises(StoreError) as caught,
    ):
        reading(server)
    assert caught.value.reason == "timeout"


def test_a_body_that_flows_slowly_is_read_to_its_end():
    """For much longer than the limit, which is one of silence."""
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
    with says_slowly((FILE, piece), (b"0\r\n\r\n", b"")) as server:
        assert reading(server) > 10 * 1024


def test_who_reads_slowly_is_not_cut():
    """Only waiting for the server counts."""
    body = b"x" * 1_000_000
    with says_slowly((answer(body, kind="application/dicom"), b"")) as server:
        assert reading(server, timeout=0.1, wait=0.1) == len(body)


def test_a_list_of_matches_that_flows_slowly_is_read():
    match = {tag: {"vr": "UI", "Value": ["1"]} for tag in ("0020000D", "0020000E", "00080018")}
    body = json.dumps([match] * 50).encode()

    def behave(connection, _):
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 500):
            connection.sendall(body[start : start + 500])
            time.sleep(0.05)

    with RawServer(behave) as server:
        store = DicomStore(server.url, lambda: Authorization("token"), timeout=LIMIT)
        assert len(list(store.instances("1"))) == 50
        store.close()


def test_a_proxy_that_drips_is_given_up(few_headers):
    def behave(connection, head):
        assert head.startswith(b"CONNECT ")
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        drip(connection, b"X: 1\r\n")
        connection.sendall(b"\r\n")

    with RawServer(behave) as proxy:
        error = failure("https://127.0.0.1:9/", timeout=LIMIT, proxy=f"127.0.0.1:{proxy.port}")
    assert error.reason == "timeout"
    assert "through the proxy" in str(error)


# -- Sending --------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    """Two ends of a connection; the other one takes 8 KiB every 50 ms."""
    own, other = socket.socketpair()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)

    def take():
        with contextlib.suppress(OSError):
            while other.recv(8 * 1024):
                time.sleep(0.05)

    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    yield own
    own.close()
    taking.join(10)
    other.close()


def sending(kind, sock):
    connection = kind("127.0.0.1")
    connection.sock = sock
    return connection


PIECE = memoryview(bytes(128 * 1024))


def test_a_piece_that_is_taken_slowly_is_sent_to_its_end(pair):
    """It takes longer than the limit, which is one of silence."""
    pair.settimeout(LIMIT)
    sending(BoundedConnection, pair).send(PIECE)


def test_the_standard_library_would_cut_it(pair):
    pair.settimeout(LIMIT)
    with pytest.raises(TimeoutError):
        sending(http.client.HTTPConnection, pair).send(PIECE)


def test_what_is_taken_far_too_slowly_is_given_up(pair, monkeypatch):
    monkeypatch.setattr(module, "SLOWEST", 10_000_000)
    pair.settimeout(LIMIT)
    with pytest.raises(TimeoutError, match="too long"):
        sending(BoundedConnection, pair).send(PIECE)


def test_who_produces_slowly_is_not_cut(pair, monkeypatch):
    """Only waiting for the other side counts."""
    monkeypatch.setattr(module, "SLOWEST", 10_000_000)
    pair.settimeout(0.1)
    connection = sending(BoundedConnection, pair)
    for _ in range(5):
        connection.send(b"x")
        time.sleep(0.05)
