"""The socket of the worker's API, who is let in, and what nobody may hold."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
import urllib3
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from orthanc_gcp.worker import bounded_http
from orthanc_gcp.worker.listener import Guarded, Listener
from tests.support.framing import SMUGGLED, UNCLEAR, all_of
from tests.support.orthanc import wait_until

SECRET = "s3cret-needle"


async def inside(scope, receive, send):
    """Reads the body, and says how long it is."""
    length = len(await Request(scope, receive).body())
    await PlainTextResponse(f"inside {length}")(scope, receive, send)


@pytest.fixture
def place():
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture(scope="module")
def port():
    place = socket.create_server(("127.0.0.1", 0))
    listener = Listener(Guarded(inside, SECRET), place)
    listener.start()
    yield place.getsockname()[1]
    listener.stop()


def ask(port, **headers):
    with urllib3.PoolManager(retries=False) as http:
        return http.request("GET", f"http://127.0.0.1:{port}/any/where", headers=headers)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answered(port):
    return ask(port, Authorization=f"Bearer {SECRET}").status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_who_knows_the_secret(port, scheme):
    answer = ask(port, Authorization=f"{scheme} {SECRET}")
    assert (answer.status, answer.data) == (200, b"inside 0")


@pytest.mark.parametrize("given", ["", "Bearer", f"Basic {SECRET}", f"Bearer {SECRET}x", SECRET])
def test_who_does_not(port, given):
    answer = ask(port, Authorization=given)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["HttpStatus"] == 401
    assert SECRET not in answer.data.decode()


def test_after_its_end_nobody_answers(place):
    listener = Listener(inside, place)
    port = place.getsockname()[1]
    listener.start()
    assert ask(port).status == 200
    listener.stop()
    with pytest.raises(ConnectionRefusedError):
        connect(port)


HEAD = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 50_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n",
        CHUNKED + b"0\r\nX: " + b"a" * 200_000,
        CHUNKED + b"1;" + b"a" * 200_000,
        b"\0\0\0\0",
    ],
)
def test_what_has_no_end_is_refused(port, request_):
    with connect(port) as connection, suppress(ConnectionError):
        connection.sendall(request_)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    assert answered(port)


@pytest.mark.parametrize("headers", UNCLEAR, ids=range(len(UNCLEAR)))
def test_where_a_request_ends_is_clear_or_it_is_none(port, headers):
    """What one reads as a body, another may read as a request (RFC 9112 section 11.2)."""
    with connect(port) as connection:
        connection.sendall(HEAD + headers + SMUGGLED)
        said = all_of(connection)
    assert said.startswith(b"HTTP/1.1 400"), said
    assert said.count(b"HTTP/1.1") == 1
    assert answered(port)


def test_chunks_of_an_old_version_are_none(port):
    with connect(port) as connection:
        connection.sendall(CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n")
        assert all_of(connection).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "request_", [b"GET /\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"\n" * 9 + b"x\n"]
)
def test_other_versions_of_http_are_none(port, request_):
    with connect(port) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection)[:12] in (b"", b"HTTP/1.1 400")
    assert answered(port)


def test_requests_that_do_not_wait_for_answers_are_few(port):
    """Each would be in memory until it is its turn."""
    asked = HEAD.replace(b"POST", b"GET") + b"\r\n"
    with connect(port) as connection:
        connection.sendall(asked * 3)
        said = b""
        while said.count(b"inside 0") < 3:
            said += connection.recv(10_000) or b"inside 0" * 3
        assert said.count(b"HTTP/1.1 200") == 3
    with connect(port) as connection, suppress(ConnectionError):
        connection.sendall(asked * 10_000)
        said = all_of(connection)
        # No refusal stands where an answer would.
        assert (
            said.count(b"HTTP/1.1") == said.count(b"HTTP/1.1 200") <= bounded_http.MAX_PIPELINED + 1
        )
    assert answered(port)


def test_what_follows_a_request_that_is_answered_is_no_answer_to_it(port):
    with connect(port) as connection:
        connection.sendall(HEAD + b"\r\n" + b"nonsense\r\n\r\n")
        assert b" 400 " not in all_of(connection)
    assert answered(port)


def test_bodies_in_pieces_are_taken(port):
    with connect(port) as connection:
        connection.sendall(CHUNKED + b"3\r\nabc\r\n" * 50_000 + b"0\r\nX: y\r\n\r\n")
        answer = b""
        while b"inside" not in answer:
            answer += connection.recv(1000) or b"inside nothing"
        assert answer.endswith(b"inside 150000")


@pytest.mark.parametrize(
    "begun",
    [
        *(b"", b"GET /", HEAD + b"Content-Length: 9\r\n\r\nabc", b"\r\n"),
        CHUNKED + b"5\r\nabc",
        CHUNKED + b"3\r\nabc\r\n0\r\nX: a",
    ],
)
def test_who_is_silent_is_broken_off(port, monkeypatch, begun):
    monkeypatch.setattr(bounded_http, "WATCH_EVERY", 0.1)
    monkeypatch.setattr(bounded_http, "WITHIN", 0.3)
    with connect(port) as connection, suppress(ConnectionResetError):
        connection.sendall(begun)
        assert connection.recv(1000) == b""
    assert answered(port)


def test_who_goes_on_with_nothing_after_a_request_is_broken_off(port, monkeypatch):
    """Empty lines before a request are none (RFC 9112 section 2.2), nor a reason to wait."""
    monkeypatch.setattr(bounded_http, "WATCH_EVERY", 0.1)
    monkeypatch.setattr(bounded_http, "WITHIN", 0.5)
    with connect(port) as connection, suppress(ConnectionResetError):
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        said = b""
        while not said.endswith(b"inside 0"):
            said += connection.recv(1000) or b"inside nothing"
        connection.sendall(b"\r\n")
        assert connection.recv(1000) == b""


async def large(_scope, _receive, send):
    """More than the buffers between two processes hold."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(300):
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def test_who_takes_no_answer_is_broken_off(place, monkeypatch):
    monkeypatch.setattr(bounded_http, "WATCH_EVERY", 0.1)
    monkeypatch.setattr(bounded_http, "WITHIN", 0.5)
    listener, port = Listener(large, place), place.getsockname()[1]
    listener.start()
    try:
        with connect(port) as connection:
            connection.sendall(HEAD + b"\r\n")
            connections = listener._server.server_state.connections
            wait_until(lambda: connections, 10)
            wait_until(lambda: not connections, 10)
            assert len(all_of(connection)) < 30_000_000
    finally:
        listener.stop()


def test_as_many_connections_as_somebody_likes(port, monkeypatch):
    """Who is silent makes room for who comes."""
    monkeypatch.setattr(bounded_http, "MAX_CONNECTIONS", 10)
    many = [connect(port) for _ in range(30)]
    assert answered(port)
    many[-1].sendall(HEAD + b"\r\n")
    assert many[-1].recv(1000).startswith(b"HTTP/1.1 200")
    with suppress(ConnectionError):
        assert many[0].recv(1000) == b""
    for connection in many:
        connection.close()
    assert answered(port)
