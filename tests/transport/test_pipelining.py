"""Pipelines, over real sockets, against servers that know them and servers that do not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from urllib3.connection import HTTPConnection

from orthanc_gcp.transport.pipelining import LONGEST_BODY, MOST_AHEAD, Answer, pipelined

REQUESTS = [f"GET /{number} HTTP/1.1\r\nHost: here\r\n\r\n".encode() for number in range(100)]
EXPECTED = [Answer(200, str(number).encode()) for number in range(100)]

Answering = Callable[[socket.socket, Iterator[bytes]], None]


def answer(body: bytes, head: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def requests_on(connection: socket.socket) -> Iterator[bytes]:
    """The paths that are asked for, as they come."""
    buffer = b""
    while piece := connection.recv(4096):
        buffer += piece
        while b"\r\n\r\n" in buffer:
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            yield head.split()[1][1:]


@contextmanager
def server(answering: Answering) -> Iterator[tuple[int, list[socket.socket]]]:
    """Its port, and the connections that were made."""
    made: list[socket.socket] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                made.append(connection)
                try:
                    with connection:
                        answering(connection, requests_on(connection))
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], made
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def asked(port: int, timeout: float = 5) -> list[Answer]:
    return list(pipelined(lambda: HTTPConnection("127.0.0.1", port, timeout=timeout), REQUESTS))


def in_order(connection: socket.socket, paths: Iterator[bytes]) -> None:
    for path in paths:
        connection.sendall(answer(path))


def test_all_are_answered_on_one_connection():
    with server(in_order) as (port, made):
        assert asked(port) == EXPECTED
    assert len(made) == 1


@pytest.mark.parametrize(
    "head",
    [
        "Connection: keep-alive\r\n",
        "connection: Upgrade, close\r\n",
        "X-Folded: a\r\n b\r\n",
        "Transfer-Encoding: identity\r\n",
    ],
)
def test_heads_of_whatever_kind(head):
    def with_head(connection: socket.socket, paths: Iterator[bytes]) -> None:
        for path in paths:
            connection.sendall(answer(path, head))

    with server(with_head) as (port, _):
        assert asked(port) == EXPECTED


def test_answers_that_come_in_pieces():
    def in_pieces(connection: socket.socket, paths: Iterator[bytes]) -> None:
        for path in paths:
            said = answer(path)
            for start in range(0, len(said), 7):
                connection.sendall(said[start : start + 7])

    with server(in_pieces) as (port, made):
        assert asked(port) == EXPECTED
    assert len(made) == 1


def test_plain_answers_between_others():
    def mixed(connection: socket.socket, paths: Iterator[bytes]) -> None:
        for path in paths:
            if int(path) % 3:
                connection.sendall(answer(path))
            else:
                size = f"{len(path):x}\r\n".encode()
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                connection.sendall(head + size + path + b"\r\n0\r\n\r\n")

    with server(mixed) as (port, made):
        assert asked(port) == EXPECTED
    assert len(made) == 1


def test_no_more_are_sent_ahead_than_fit():
    seen: list[int] = []

    def count_ahead(connection: socket.socket, paths: Iterator[bytes]) -> None:
        connection.settimeout(0.3)
        try:
            for _ in paths:
                seen.append(1)
        except TimeoutError:
            pass

    with server(count_ahead) as (port, _):
        assert asked(port, timeout=1) == []
    assert len(seen) == MOST_AHEAD


@pytest.mark.parametrize("head", ["", "Connection: close\r\n"])
def test_a_connection_that_ends_after_some_is_followed_by_another(head):
    def seven(connection: socket.socket, paths: Iterator[bytes]) -> None:
        for count, path in enumerate(paths, 1):
            connection.sendall(answer(path, head if count == 7 else ""))
            if count == 7:
                connection.shutdown(socket.SHUT_WR)
                for _ in paths:  # nothing is reset: what was answered arrives
                    pass
                return

    with server(seven) as (port, made):
        assert asked(port) == EXPECTED
    assert len(made) == 15


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal",
        b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5_000,
    ],
)
def test_what_is_no_answer_ends_it(sent):
    def say(connection: socket.socket, paths: Iterator[bytes]) -> None:
        next(paths)
        connection.sendall(sent)

    with server(say) as (port, _):
        assert asked(port) == []


def test_a_body_without_an_announced_end_is_bounded():
    def endless(connection: socket.socket, paths: Iterator[bytes]) -> None:
        next(paths)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * LONGEST_BODY)

    with server(endless) as (port, _):
        assert asked(port) == []


def test_an_answer_that_drips_meets_the_time_limit():
    stop = threading.Event()

    def drip(connection: socket.socket, paths: Iterator[bytes]) -> None:
        connection.sendall(answer(next(paths)))
        while not stop.wait(0.1):
            connection.sendall(b"H")

    with server(drip) as (port, _):
        try:
            answers = pipelined(lambda: HTTPConnection("127.0.0.1", port, timeout=1), REQUESTS)
            assert next(answers) == EXPECTED[0]
            assert next(answers, None) in (None, EXPECTED[1])
        finally:
            stop.set()


def test_nobody_is_there():
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    assert asked(port) == []
