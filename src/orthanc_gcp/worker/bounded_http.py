"""HTTP/1.1 with bounds: nobody holds the worker's memory, files or time by what he asks of its API.

The parser takes heads, trailers and lines of any length, and waits for ever. The emulator, which
imports nothing of this package, has bounds of its own, for uploads of any size.
"""

from __future__ import annotations

import asyncio

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["MAX_CONNECTIONS", "MAX_HEAD", "MAX_HEADERS", "WITHIN", "BoundedHttpProtocol"]

MAX_HEAD = 64 * 1024
"""Bytes of a head, or of what is between the pieces of a body: chunk sizes and trailers."""
MAX_HEADERS = 100
MAX_CONNECTIONS = 100
WITHIN = 30.0
"""Seconds until a request is there as a whole, from its first byte or that of the connection."""
WATCH_EVERY = 5.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection; more than are allowed, and those that are silent, are broken off."""

    _in_head = _in_body = _has_body = False
    _unused = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        super().connection_made(transport)
        self._began = self.loop.time()
        self._watch = self.loop.call_later(WATCH_EVERY, self._break_off_when_late)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

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

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._in_head, self._unused, self._began = True, 0, self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are dropped (RFC 9110 section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that the head of a request is complete."""
        self._in_head, self._in_body = False, True
        if len(self.headers) > MAX_HEADERS:
            raise HttpParserError("the request has too many headers")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body from the parser."""
        self._has_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._in_body = False
        super().on_message_complete()

    def _break_off_when_late(self) -> None:
        is_waited_for = self._in_head or self._in_body or self.cycle is None
        if is_waited_for and self.loop.time() - self._began > WITHIN:
            self.transport.abort()
            return
        self._watch = self.loop.call_later(WATCH_EVERY, self._break_off_when_late)
