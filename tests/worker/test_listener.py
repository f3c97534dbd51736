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

SECRET = "s3cret-needle"


async def inside(scope, receive, send):
    """Reads the body, and says how long it is."""
    length = len(await Request(scope, receive).body())
    await PlainTextResponse(f"inside {length}")(scope, receive, send)


@pytest.fixture
def place():
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture
def port(place):
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


def test_bodies_in_pieces_are_taken(port):
    with connect(port) as connection:
        connection.sendall(CHUNKED + b"3\r\nabc\r\n" * 50_000 + b"0\r\nX: y\r\n\r\n")
        answer = b""
        while b"inside" not in answer:
            answer += connection.recv(1000) or b"inside nothing"
        assert answer.endswith(b"inside 150000")


@pytest.mark.parametrize("begun", [b"", b"GET /", HEAD + b"Content-Length: 9\r\n\r\nabc"])
def test_who_is_silent_is_broken_off(port, monkeypatch, begun):
    monkeypatch.setattr(bounded_http, "WATCH_EVERY", 0.1)
    monkeypatch.setattr(bounded_http, "WITHIN", 0.3)
    with connect(port) as connection, suppress(ConnectionResetError):
        connection.sendall(begun)
        assert connection.recv(1000) == b""
    assert answered(port)


def test_as_many_connections_as_somebody_likes(port, monkeypatch):
    monkeypatch.setattr(bounded_http, "MAX_CONNECTIONS", 10)
    many = [connect(port) for _ in range(30)]
    with suppress(ConnectionError):
        many[-1].sendall(HEAD + b"\r\n")
        assert many[-1].recv(1000) == b""
    for connection in many:
        connection.close()
    assert answered(port)
