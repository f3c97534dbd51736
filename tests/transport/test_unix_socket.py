"""HTTP over a socket in a folder."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import urllib3

from orthanc_gcp.transport.unix_socket import UnixPool, pool_of


def answer(listener: socket.socket, words: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while request := connection.recv(10_000):
                assert request.startswith(b"GET /a?b=c HTTP/1.1")
                connection.sendall(words)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "s"


def serve(place: Path, words: bytes) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()
    threading.Thread(target=answer, args=(listener, words), daemon=True).start()
    return listener


def test_requests_on_one_connection(place: Path) -> None:
    listener = serve(place, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    with UnixPool(place, 1) as pool:
        for _ in range(3):
            assert pool.request("GET", "/a?b=c", timeout=10).data == b"hi"
        assert pool.num_connections == 1
    listener.close()


def test_an_answer_that_does_not_end(place: Path) -> None:
    listener = serve(place, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
    with UnixPool(place, 1) as pool, pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("GET", "/a?b=c", timeout=0.3)
    listener.close()


def test_where_nobody_listens(place: Path) -> None:
    with UnixPool(place, 1) as pool, pytest.raises(urllib3.exceptions.NewConnectionError):
        pool.request("GET", "/", timeout=10)


def test_a_port_where_there_are_no_such_sockets(place: Path) -> None:
    assert isinstance(pool_of(place, 1), UnixPool)
    listener = socket.create_server(("127.0.0.1", 0))
    words = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh"
    threading.Thread(target=answer, args=(listener, words), daemon=True).start()
    port = listener.getsockname()[1]
    with pool_of(port, 1) as pool, pytest.raises(urllib3.exceptions.ReadTimeoutError):
        pool.request("GET", "/a?b=c", timeout=0.3)
    listener.close()
