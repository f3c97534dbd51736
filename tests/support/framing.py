"""Requests whose end one sees here, and another there (RFC 9112 sections 6.3 and 11.2)."""

from __future__ import annotations

import socket
from contextlib import suppress

UNCLEAR = [
    b"Content-Length: 3\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    b"Content-Length: 3\r\nContent-Length: 4",
    b"Content-Length: 3\r\nContent-Length: 3",
    b"Content-Length: 3, 3",
    b"Content-Length: +3",
    b"Content-Length: -3",
    b"Content-Length: 0x3",
    b"Content-Length: 3 3",
    b"Content-Length : 3",
    b"Content-Length: 99999999999999999999999",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding\r\n : chunked",
    b"X: a\r\n Transfer-Encoding: chunked",
    b"X: a\0b",
    b"X: a\rTransfer-Encoding: chunked",
    b"\0: a",
    b"No colon",
    b": no name",
    b" Leading: blank",
]
"""Headers that make it unclear where a request ends."""

SMUGGLED = b"\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
"""What follows them: a body, or a body and another request."""


def all_of(connection: socket.socket) -> bytes:
    """What comes until the end of a connection."""
    said = b""
    with suppress(ConnectionError):
        while piece := connection.recv(10_000):
            said += piece
    return said
