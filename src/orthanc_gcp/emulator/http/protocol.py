"""HTTP/1.1 for large bodies: uvicorn's httptools protocol without its copies."""

from __future__ import annotations

import socket
import struct
from typing import cast

from starlette.types import Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["TRANSPORT", "BulkHttpProtocol", "reset_connection"]

TRANSPORT = "orthanc_gcp.connection"
"""The ASGI extension by which the application reaches the connection itself."""

MAX_HEAD = 64 * 1024
"""How long the head of a request may be; the parser itself would take any length."""


class BulkHttpProtocol(HttpToolsProtocol):
    """Hands a piece of a body on as it came from the parser.

    uvicorn appends each piece to a buffer and copies the buffer out again: at hundreds of
    megabytes a second those two copies cost as much as the checksum.
    """

    _in_head = False
    _head_size = 0

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """Note that the head of a request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}
        self._in_head, self._head_size = True, 0

    def on_headers_complete(self) -> None:
        """Note that the head of a request is complete."""
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body from the parser."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        waiting = cast("bytes | bytearray", cycle.body)
        if not waiting:
            # ``receive`` passes an immutable piece on as it is.
            cycle.body = body  # type: ignore[assignment]
        else:
            if isinstance(waiting, bytes):
                cycle.body = bytearray(waiting)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()


def reset_connection(scope: Scope) -> None:
    """Break the connection of a request (RST), unless it has ended."""
    transport = scope["extensions"][TRANSPORT]["transport"]
    connection: socket.socket = transport.get_extra_info("socket")
    if connection.fileno() < 0:
        return
    # To linger for no time at all makes closing a reset (RST) instead of an end (FIN).
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
