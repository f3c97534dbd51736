"""HTTP/1.1 for large bodies: uvicorn's httptools protocol without its copies."""

from __future__ import annotations

from typing import cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BulkHttpProtocol"]


class BulkHttpProtocol(HttpToolsProtocol):
    """Hands a piece of a body on as it came from the parser.

    uvicorn appends each piece to a buffer and copies the buffer out again: at hundreds of
    megabytes a second those two copies cost as much as the checksum.
    """

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
