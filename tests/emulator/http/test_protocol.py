"""HTTP/1.1: what is none, and bodies of every size."""

from __future__ import annotations

import socket

import pytest

from tests.emulator.client import Client


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\0\0\0",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\n",
        b"POST /token HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 50_000,
    ],
)
def test_broken_http(client: Client, request_: bytes) -> None:
    host, _, port = client.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(request_)
            answer = connection.recv(1000)
        except ConnectionError:
            return  # refused while it was still being sent
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
