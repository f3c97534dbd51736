"""Bodies that leave block by block, so that memory does not grow with what is sent.

Sources: RFC 2046 section 5.1.1 and RFC 2387 for the head of a part, RFC 9110 section 8.4.1.3 for
gzip.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orthanc_gcp.emulator.system.files import read_at

__all__ = ["MULTIPART", "Streamed", "file_blocks", "part_head"]

BLOCK = 256 * 1024
MULTIPART = "multipart/related"

_LEVEL = 1
"""Of compression: pixels gain little from more."""
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def part_head(boundary: str, content_type: str) -> bytes:
    """Return what comes before the content of a part."""
    return f"--{boundary}\r\nContent-Type: {_header_value(content_type)}\r\n\r\n".encode()


def _header_value(text: str) -> str:
    """Return a header without what would end it: transfer syntaxes are named by files."""
    return _NOT_PRINTABLE.sub("?", text)


async def file_blocks(descriptor: int, start: int, size: int) -> AsyncGenerator[bytes, None]:
    """Yield a range of a file in blocks of 256 KiB; less of it when the file is shorter.

    Parameters
    ----------
    descriptor : int
        The open file; its position does not change.
    start, size : int
        The first byte, and how many bytes.
    """
    end = start + size
    while start < end and (block := read_at(descriptor, min(BLOCK, end - start), start)):
        yield block
        start += len(block)


class Streamed(Response):
    """A body that is sent block by block, as fast as the client takes it, while it is there.

    Parameters
    ----------
    headers : dict, optional
        With them, ``Content-Length`` must be among them; without, the body is sent in chunks.
    status : int
        200, or 206 of a range (RFC 9110 section 15.3.7).
    """

    def __init__(
        self,
        body: AsyncGenerator[bytes, None],
        media_type: str,
        headers: dict[str, str] | None = None,
        status: int = 200,
    ) -> None:
        super().__init__(status_code=status, headers=headers, media_type=_header_value(media_type))
        self._body = body
        if headers is None:
            del self.headers["content-length"]

    def compress(self) -> None:
        """Send the body compressed, as ``gzip``, and in chunks."""
        self._body = _gzipped(self._body)
        self.headers["content-encoding"] = "gzip"
        del self.headers["content-length"]

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        gone = asyncio.ensure_future(_disconnection(receive))
        try:
            await send(start)
            async with aclosing(self._body) as blocks:
                async for block in blocks:
                    if gone.done():
                        return
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()


async def _gzipped(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    compressor = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS + 16)
    async with aclosing(body) as blocks:
        async for block in blocks:
            if compressed := await asyncio.to_thread(compressor.compress, block):
                yield compressed
    yield compressor.flush()


async def _disconnection(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
