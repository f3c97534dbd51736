"""A server of bare sockets: reads what a test wants it to read, and says what it is told to."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable

Connection = socket.socket
Behaviour = Callable[[Connection, bytes], None]
LONGEST_HEAD = 65536


class RawServer:
    """Gives each connection, and the head of its first request, to a function.

    ``heads`` has the heads of all requests.
    """

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self._behave = behave
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/stores/s/dicomWeb"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is None:
                self._talk(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as encrypted:
                    self._talk(encrypted)

    def _talk(self, connection: Connection) -> None:
        while head := read_head(connection):
            self.heads.append(head)
            self._behave(connection, head)


def read_head(connection: Connection) -> bytes:
    """The head of a request; nothing when there is none, as in the rest of a body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte or len(head) > LONGEST_HEAD:
            return b""
        head += byte
    return head


def read_body(connection: Connection, head: bytes) -> int:
    """Read the body that a head announces; its length, or less when it ends before."""
    announced = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    count = 0
    while count < announced:
        piece = connection.recv(min(65536, announced - count))
        if not piece:
            break
        count += len(piece)
    return count


def answer(
    body: bytes = b"",
    status: str = "200 OK",
    *,
    length: int | None = None,
    kind: str = "application/dicom+json",
    **headers: str,
) -> bytes:
    """An answer of HTTP/1.1; ``length`` may lie."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(*said: bytes) -> Behaviour:
    """Read the whole request, then say this, and hang up."""

    def behave(connection: Connection, head: bytes) -> None:
        read_body(connection, head)
        for piece in said:
            connection.sendall(piece)
        hang_up(connection)

    return behave


def hang_up(connection: Connection) -> None:
    """End the connection in order."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
    connection.close()


def stall(connection: Connection) -> None:
    """Neither read nor hang up, until the other side does."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    poll.poll(20_000)


def reset(connection: Connection) -> None:
    """End the connection with a reset (RST)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def closes(connection: Connection, _head: bytes) -> None:
    """Ends it just when the request comes."""
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Forgetful(RawServer):
    """Answers the first request of each connection; what becomes of the second is told.

    ``connections`` counts them.
    """

    def __init__(self, second: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.asked = Counter[int]()
        self.connections = 0

        def behave(connection: Connection, head: bytes) -> None:
            port = connection.getpeername()[1]
            self.connections += not self.asked[port]
            self.asked[port] += 1
            if self.asked[port] > 1:
                second(connection, head)
                return
            read_body(connection, head)
            connection.sendall(answer(b"[]"))

        super().__init__(behave, tls)
