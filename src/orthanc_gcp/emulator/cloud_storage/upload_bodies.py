"""What uploads bring, written while it arrives, in constant memory.

Sources: Cloud Storage, JSON API, "Uploads and downloads"; RFC 2387 (``multipart/related``).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Callable
from io import FileIO
from typing import Any

from starlette.requests import Request

from orthanc_gcp.emulator.cloud_storage.answers import invalid
from orthanc_gcp.emulator.cloud_storage.buckets import UnfinishedObject
from orthanc_gcp.emulator.cloud_storage.checksums import Checksums
from orthanc_gcp.emulator.cloud_storage.object_fields import MAX_FIELDS, read_json
from orthanc_gcp.emulator.http.media_types import parse_media_type
from orthanc_gcp.emulator.http.multipart import (
    MultipartError,
    MultipartReader,
    PartData,
    PartEnd,
    PartStart,
)

__all__ = ["BLOCK", "BodyWriter", "check_checksums", "write_multipart"]

BLOCK = 256 * 1024
"""How many bytes are written at once; also what chunks of a resumable upload are multiples of."""

Describe = Callable[[dict[str, Any], str], None]
"""Takes the resource that is uploaded, and the type of the content."""

_NOT_TWO = "Malformed multipart body: it has two parts."
_HASH = re.compile(r"\s*(crc32c|md5)=([\w+/]+=*)\s*", re.ASCII)


class BodyWriter:
    """Appends bytes to a file that becomes an object, and computes their checksums.

    A context manager; what was given to :meth:`write` is in the file after :meth:`flush`.
    """

    def __init__(self, unfinished: UnfinishedObject, checksums: Checksums) -> None:
        self._unfinished, self._checksums = unfinished, checksums
        self._waiting = bytearray()
        self._file: FileIO | None = None

    async def __aenter__(self) -> BodyWriter:
        self._file = await asyncio.to_thread(self._unfinished.append)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    async def write(self, data: bytes | memoryview) -> None:
        self._waiting += data
        if len(self._waiting) >= BLOCK:
            await self.flush()

    async def flush(self) -> None:
        if self._waiting:
            block, self._waiting = bytes(self._waiting), bytearray()
            # A client that leaves does not leave half of a block behind.
            await asyncio.shield(asyncio.to_thread(self._append, block))

    def _append(self, block: bytes) -> None:
        if self._file is None:
            return
        rest = memoryview(block)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._checksums.update(block)


async def write_multipart(request: Request, writer: BodyWriter, describe: Describe) -> None:
    """Write the second part of a body, the content; ``describe`` is given what stands before it.

    Raises :class:`Refusal` (400) for a body that has not two parts, a resource in JSON and the
    content, and what ``describe`` does.
    """
    media_type = parse_media_type(request.headers.get("content-type", ""))
    if not media_type.full.startswith("multipart/"):
        raise invalid("Bad content: a multipart upload has a Content-Type of multipart/related.")
    parts = _Parts(writer, describe)
    try:
        reader = MultipartReader(media_type.parameters.get("boundary", ""))
        async for chunk in _chunks(request):
            for event in reader.feed(chunk):
                await parts.take(event)
        reader.close()
    except MultipartError as problem:
        raise invalid(f"Malformed multipart body: {problem}") from problem
    if parts.count != 2:
        raise invalid(_NOT_TWO)
    await writer.flush()


class _Parts:
    """What has come of a body of two parts."""

    def __init__(self, writer: BodyWriter, describe: Describe) -> None:
        self.count = 0
        self._writer, self._describe = writer, describe
        self._resource = bytearray()

    async def take(self, event: PartStart | PartData | PartEnd) -> None:
        if isinstance(event, PartStart):
            self.count += 1
            if self.count == 2:
                content_type = event.headers.get("content-type", "")
                self._describe(read_json(bytes(self._resource)), content_type)
            elif self.count > 2:
                raise invalid(_NOT_TWO)
        elif isinstance(event, PartData):
            await self._take_data(event.data)

    async def _take_data(self, data: memoryview) -> None:
        if self.count == 2:
            await self._writer.write(data)
            return
        self._resource += data
        if len(self._resource) > MAX_FIELDS:
            raise invalid("The metadata of the object are too long.")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


def check_checksums(checksums: Checksums, given: dict[str, Any], header: str) -> None:
    """Compare checksums with those that the client gave, in the resource or in ``X-Goog-Hash``.

    Raises :class:`Refusal` (400) for one that differs.
    """
    matches = filter(None, map(_HASH.fullmatch, header.split(",")))
    wanted = [("crc32c", given.get("crc32c")), ("md5", given.get("md5Hash"))]
    wanted += [(match[1], match[2]) for match in matches]
    for name, value in wanted:
        found = getattr(checksums, name)
        if value is not None and not _same(value, found):
            raise invalid(
                f'Provided {name.upper()} hash "{str(value)[:100]}" doesn\'t match calculated '
                f'{name.upper()} hash "{found}".'
            )


def _same(value: object, found: str) -> bool:
    try:
        return base64.b64decode(str(value), validate=True) == base64.b64decode(found)
    except (binascii.Error, ValueError):
        return False
