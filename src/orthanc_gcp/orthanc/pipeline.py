"""Many small answers over one connection: pipelined requests (RFC 9112 §9.3.2).

One request after the other costs each a round trip between two processes, and an HTTP library's
care for whatever may come. Here whatever is not plain is left out, and can be asked for with care.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

__all__ = ["small_answers"]

AT_ONCE = 32
"""So many requests are sent before their answers are read: fewer bytes than any buffer holds."""
LONGEST_HEAD, LONGEST_BODY = 8 * 1024, 4 * 1024
_PIECE = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,6})[ \t]*(?=\r\n)", re.IGNORECASE)
_ODD = re.compile(rb"\r\n(transfer-encoding|content-encoding|trailer|upgrade):", re.IGNORECASE)
_END = b"\r\n\r\n"


def small_answers(
    url: str, paths: Sequence[str], headers: Mapping[str, str], timeout: float
) -> dict[str, tuple[int, bytes]]:
    """The statuses and bodies of answers to ``GET``, as far as they are short and plain.

    Raises nothing, whatever is answered: what there is no answer to is not in what it returns, nor
    is anything behind an answer that is not understood.

    Parameters
    ----------
    url
        Of the server, which does not use TLS; otherwise there is no answer.
    paths
        Each once; they can stand in a request as they are.
    timeout
        Seconds within which each few of the answers have to be there.
    """
    parts = urlsplit(url)
    found: dict[str, tuple[int, bytes]] = {}
    if parts.scheme != "http" or not parts.hostname:
        return found
    lines = "".join(
        f"{name}: {value}\r\n" for name, value in {"Host": parts.netloc, **headers}.items()
    )
    with (
        suppress(OSError, ValueError),
        socket.create_connection((parts.hostname, parts.port or 80), timeout) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        for some in (paths[at : at + AT_ONCE] for at in range(0, len(paths), AT_ONCE)):
            requests = [f"GET {parts.path}{path} HTTP/1.1\r\n{lines}\r\n" for path in some]
            connection.sendall("".join(requests).encode("ascii"))
            deadline = time.monotonic() + timeout
            for path in some:
                answer = _answer(connection, buffer, deadline)
                if answer is None:
                    return found
                found[path] = answer
            if buffer:  # more than was asked for: what follows might answer something else
                break
    return found


def _answer(
    connection: socket.socket, buffer: bytearray, deadline: float
) -> tuple[int, bytes] | None:
    """The next answer; None where it is not plain."""
    while (end := buffer.find(_END, 0, LONGEST_HEAD)) < 0:
        if len(buffer) >= LONGEST_HEAD or not _receive(connection, buffer, deadline):
            return None
    whole = end + len(_END)
    head = bytes(buffer[:whole])
    status, length = _STATUS.match(head), _length_of(head)
    if status is None or length is None:
        return None
    while len(buffer) < whole + length:
        if not _receive(connection, buffer, deadline):
            return None
    body = bytes(buffer[whole : whole + length])
    del buffer[: whole + length]
    return int(status[1]), body


def _length_of(head: bytes) -> int | None:
    """How long the body is; None where that is not plain, or where it is long."""
    lengths = _LENGTH.findall(head)
    if len(lengths) != 1 or int(lengths[0]) > LONGEST_BODY or _ODD.search(head):
        return None
    return int(lengths[0])


def _receive(connection: socket.socket, buffer: bytearray, deadline: float) -> bool:
    """Add to the buffer what comes next; whether anything does."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    connection.settimeout(left)
    piece = connection.recv(_PIECE)
    buffer += piece
    return bool(piece)
