"""Answers of several parts, which leave while they are made (RFC 2387, RFC 2046 section 5.1.1)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from orthanc_gcp.emulator.http.streaming import MULTIPART, Streamed, part_head

__all__ = ["Part", "multipart_response"]


class Part(NamedTuple):
    """A part of an answer: its media type, and its bytes, at once or in blocks."""

    content_type: str
    content: bytes | AsyncGenerator[bytes, None]


def multipart_response(media_type: str, parts: AsyncGenerator[Part, None]) -> Streamed:
    """Return an answer of parts, each of which is asked for when those before it have left.

    ``media_type`` is that of the parts. An error of theirs breaks the answer off; whatever becomes
    of the answer once it has begun, ``parts`` is closed.

    The line break that ends a part is sent together with the next boundary, apart from content:
    Google's dcmweb drops each HTTP chunk with a boundary in it, and takes all others for content.
    """
    boundary = secrets.token_hex(16)
    content_type = f'{MULTIPART}; type="{media_type}"; boundary={boundary}'
    return Streamed(_joined(parts, boundary), content_type)


async def _joined(parts: AsyncGenerator[Part, None], boundary: str) -> AsyncGenerator[bytes, None]:
    line_break = b""
    async with aclosing(parts):
        async for content_type, content in parts:
            yield line_break + part_head(boundary, content_type)
            line_break = b"\r\n"
            if isinstance(content, bytes):
                yield content
            else:
                async with aclosing(content):
                    async for block in content:
                        yield block
    yield line_break + f"--{boundary}--\r\n".encode()
