"""HTTP/1.1 for large bodies and small answers: uvicorn's httptools protocol without its copies."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterable
from typing import Any, cast

from httptools import HttpParserError
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["TRANSPORT", "BulkHttpProtocol", "reset_connection"]

TRANSPORT = "orthanc_gcp.connection"
"""The ASGI extension by which the application reaches the connection itself."""

MAX_HEAD = 64 * 1024
"""How long the head of a request may be, or its trailers; the parser would take any length."""
MAX_HEADERS = 200
MAX_CONNECTIONS = 700
"""More are broken off: a process has 1,024 open files by default, and uploads need some."""
MAX_PIPELINED = 16
"""Requests of a connection that wait for the answer to another (RFC 9112 section 9.3.2)."""
HEAD_WITHIN = 30.0
"""Seconds from the first byte of a head, or from the beginning of a connection, to its end."""
BODY_IDLE = 120.0
"""Seconds in which a client has to send a little of a body, or to take some of an answer."""
BODY_LITTLE = 4096
"""Bytes of a body that are a little of it."""

_WATCH_EVERY = 5.0
_LINGER = "hh" if os.name == "nt" else "ii"
"""The structure ``linger`` (socket(7); Microsoft, "LINGER structure")."""

MAX_JOINED = 64 * 1024
"""How many bytes are joined at most before they are sent, so that what is copied is little."""


class JoiningTransport:
    """A connection that sends together what is written to it in one turn of the event loop.

    uvicorn writes the head of an answer and its body one by one, and each would wake the client.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self._turn: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Send bytes in this turn of the event loop, after those that were written before."""
        if self._size + len(data) > MAX_JOINED:
            self.flush()
        if len(data) > MAX_JOINED:
            self._transport.write(data)
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._turn is None:
            self._turn = self._loop.call_soon(self.flush)

    @property
    def unsent(self) -> int:
        """How many bytes the client, or the network, has not taken yet."""
        return self._transport.get_write_buffer_size()

    def flush(self) -> None:
        """Send now what was written."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._pieces and not self._transport.is_closing():
            self._transport.write(b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0

    def close(self) -> None:
        """Close the connection when everything has left."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self.flush()
        self._transport.abort()


class BulkHttpProtocol(HttpToolsProtocol):
    """Hands a piece of a body on as it came from the parser, and an answer on in one piece.

    uvicorn appends each piece to a buffer and copies the buffer out again: at hundreds of
    megabytes a second those two copies cost as much as the checksum.
    """

    _in_head = False
    _in_body = False
    _has_body = False
    _unused = 0
    """Bytes of a head, or of a body that were no part of it: chunk sizes, trailers."""
    _little = 0
    _unsent = 0
    """Bytes that wait for the client to take them, when this was looked at last."""
    _answered = 0.0
    """When the last answer was complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        super().connection_made(transport)
        self._joining = JoiningTransport(transport, self.loop)
        self.transport = cast("Any", self._joining)
        self._began = self._received = self._taken = self.loop.time()
        self._watch = self.loop.call_later(_WATCH_EVERY, self._break_off_when_late)
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._has_body = False
        super().data_received(data)
        is_unused = (self._in_head or self._in_body) and not self._has_body
        self._unused = self._unused + len(data) if is_unused else 0
        if self._unused > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; while another is answered, by the end of the connection.

        A refusal would be taken for the answer to that one.
        """
        if self.pipeline or self._is_answering:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Note that the head of a request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}
        self._in_head, self._unused, self._began = True, 0, self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are dropped (RFC 9110 section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)
            if len(self.headers) > MAX_HEADERS:
                raise HttpParserError("the request has too many headers")

    def on_headers_complete(self) -> None:
        """Note that the head of a request is complete."""
        _require_clear_framing(self.headers, self.parser.get_http_version())
        if len(self.pipeline) >= MAX_PIPELINED:
            raise HttpParserError("the request does not wait for the answers to others")
        self._in_head, self._in_body = False, True
        self._received, self._little = self.loop.time(), 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._in_body = False
        super().on_message_complete()

    @property
    def _is_answering(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not self._in_body

    @property
    def _is_idle(self) -> bool:
        """Whether it is for the client to begin a request, or to go on with its head."""
        return self._in_head or self.cycle is None or self._is_between

    @property
    def _is_between(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete and not self._in_body

    def _make_room(self) -> None:
        """Break off the connection that has been idle for the longest time, at worst this one."""
        known = cast("Iterable[BulkHttpProtocol]", self.connections)
        there = [one for one in known if not one.transport.is_closing()]
        if len(there) > MAX_CONNECTIONS:
            idle = [one for one in there if one._is_idle]
            max(idle, key=lambda one: one._idle_for, default=self).transport.abort()

    @property
    def _idle_for(self) -> float:
        since = max(self._began, self._answered) if self._is_between else self._began
        return self.loop.time() - since

    def _break_off_when_late(self) -> None:
        """Break off who sends no head, not what is left of a body, or takes no answer."""
        if self._is_late():
            self.transport.abort()
            return
        self._watch = self.loop.call_later(_WATCH_EVERY, self._break_off_when_late)

    def _is_late(self) -> bool:
        now = self.loop.time()
        if self.flow.read_paused:
            self._received = now  # it is the emulator that does not read
        unsent = self._joining.unsent
        if not unsent or unsent != self._unsent:
            self._taken, self._unsent = now, unsent
        if unsent or self.transport.is_closing():
            return now - self._taken > BODY_IDLE
        if self._in_body:
            has_answer = self.cycle is not None and self.cycle.response_complete
            begun = min(self._received, self._answered) if has_answer else self._received
            return now - begun > BODY_IDLE
        # uvicorn ends what is idle between two requests, unless bytes came that are none.
        is_timed = self._is_between and self.timeout_keep_alive_task is not None
        return self._is_idle and not is_timed and self._idle_for > HEAD_WITHIN

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body from the parser."""
        self._has_body = True
        self._little += len(body)
        if self._little >= BODY_LITTLE:
            self._received, self._little = self.loop.time(), 0
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

    def on_response_complete(self) -> None:
        """Send what is left of an answer."""
        self._joining.flush()
        self._answered = self.loop.time()
        super().on_response_complete()


def _require_clear_framing(headers: Iterable[tuple[bytes, bytes]], version: str) -> None:
    """Raise :class:`HttpParserError` unless everybody sees the same end of a request.

    A body in chunks has no other coding, no length, and no old version (RFC 9112 section 6.1); in
    HTTP/0.9, which the parser takes, there is no head.
    """
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    is_odd = codings and (codings != [b"chunked"] or lengths or version != "1.1")
    if is_odd or len(lengths) > 1 or version not in ("1.0", "1.1"):
        raise HttpParserError("where the request ends is not clear")


def reset_connection(scope: Scope) -> None:
    """Break the connection of a request (RST), unless it has ended."""
    transport = scope["extensions"][TRANSPORT]["transport"]
    connection: socket.socket = transport.get_extra_info("socket")
    if connection.fileno() < 0:
        return
    # To linger for no time at all makes closing a reset (RST) instead of an end (FIN).
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(_LINGER, 1, 0))
    transport.abort()
