"""HTTP/1.1 with bounds: nobody holds the worker's memory, files or time by what he asks of its API.

The parser takes heads, trailers and lines of any length, and waits for ever. The emulator, which
imports nothing of this package, has bounds of its own, for uploads of any size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["MAX_CONNECTIONS", "MAX_HEAD", "MAX_HEADERS", "WITHIN", "BoundedHttpProtocol"]

MAX_HEAD = 64 * 1024
"""Bytes of a head, or of what is between the pieces of a body: chunk sizes and trailers."""
MAX_HEADERS = 100
MAX_CONNECTIONS = 100
MAX_PIPELINED = 8
"""Requests of a connection that wait for the answer to another (RFC 9112 section 9.3.2)."""
WITHIN = 30.0
"""Seconds that a client has: for a request as a whole, between two, and to take an answer."""
WATCH_EVERY = 5.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection; more than are allowed, and those that are silent, are broken off."""

    _in_head = _in_body = _has_body = False
    _unused = 0
    _unread_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        super().connection_made(transport)
        self._began = self.loop.time()
        self._watch = self.loop.call_later(WATCH_EVERY, self._break_off_when_late)
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        self._watch.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the client takes no more for now."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has taken what was sent."""
        self._unread_since = None
        super().resume_writing()

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
        """Note that a request begins."""
        super().on_message_begin()
        self._in_head, self._unused, self._began = True, 0, self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are dropped (RFC 9110 section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)
            if len(self.headers) > MAX_HEADERS:
                raise HttpParserError("the request has too many headers")

    def on_headers_complete(self) -> None:
        """Note that the head of a request is complete."""
        require_clear_framing(self.headers, self.parser.get_http_version())
        if len(self.pipeline) >= MAX_PIPELINED:
            raise HttpParserError("the request does not wait for the answers to others")
        self._in_head, self._in_body = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body from the parser."""
        self._has_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that it is for the client to go on."""
        if not self._in_head and not self._in_body:
            self._began = self.loop.time()
        super().on_response_complete()

    @property
    def _is_answering(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not self._in_body

    @property
    def _is_waited_for(self) -> bool:
        is_idle = self.cycle is None or self.cycle.response_complete
        return self._in_head or self._in_body or is_idle

    def _make_room(self) -> None:
        """Break off the connection that is waited for since the longest time, at worst this one."""
        known = cast("Iterable[BoundedHttpProtocol]", self.connections)
        there = [one for one in known if not one.transport.is_closing()]
        if len(there) > MAX_CONNECTIONS:
            waited_for = [one for one in there if one._is_waited_for]
            min(waited_for, key=lambda one: one._began, default=self).transport.abort()

    def _break_off_when_late(self) -> None:
        since = [self._began] if self._is_waited_for else []
        since += [] if self._unread_since is None else [self._unread_since]
        if since and self.loop.time() - min(since) > WITHIN:
            self.transport.abort()
            return
        self._watch = self.loop.call_later(WATCH_EVERY, self._break_off_when_late)


def require_clear_framing(headers: Iterable[tuple[bytes, bytes]], version: str) -> None:
    """Raise :class:`HttpParserError` unless everybody sees the same end of a request.

    A body in chunks has no other coding, no length, and no old version (RFC 9112 section 6.1); in
    HTTP/0.9, which the parser takes, there is no head.
    """
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    is_odd = codings and (codings != [b"chunked"] or lengths or version != "1.1")
    if is_odd or len(lengths) > 1 or version not in ("1.0", "1.1"):
        raise HttpParserError("where the request ends is not clear")
