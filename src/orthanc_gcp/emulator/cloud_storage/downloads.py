"""Content of objects, whole or a range of it (RFC 9110 section 14; JSON API, ``alt=media``)."""

from __future__ import annotations

import re
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orthanc_gcp.emulator.cloud_storage.answers import refusal
from orthanc_gcp.emulator.cloud_storage.object_fields import DEFAULT_TYPE
from orthanc_gcp.emulator.cloud_storage.objects import StoredObject
from orthanc_gcp.emulator.cloud_storage.resources import etag
from orthanc_gcp.emulator.http.streaming import Streamed, file_blocks

__all__ = ["ObjectContent", "byte_range", "content"]

_RANGE = re.compile(r"bytes\s*=\s*(?P<first>\d{0,18})\s*-\s*(?P<last>\d{0,18})", re.ASCII)
_HEADERS = {
    "cacheControl": "Cache-Control",
    "contentDisposition": "Content-Disposition",
    "contentEncoding": "Content-Encoding",
    "contentLanguage": "Content-Language",
}


class ObjectContent(Streamed):
    """A range of an open file, which is closed when it has been sent or the client has left."""

    def __init__(
        self, file: BinaryIO, start: int, size: int, known: StoredObject, status: int
    ) -> None:
        fields = known.record.fields
        headers = {
            "Content-Length": str(size),
            "Accept-Ranges": "bytes",
            "ETag": f'"{etag(known)}"',
            "X-Goog-Generation": str(known.record.generation),
            "X-Goog-Metageneration": str(known.record.metageneration),
            "X-Goog-Stored-Content-Length": str(known.size),
            "X-Goog-Stored-Content-Encoding": fields.get("contentEncoding", "identity"),
            "X-Goog-Storage-Class": fields.get("storageClass", "STANDARD"),
            "Server": "UploadServer",
            # Google has a host for it; here it must not act for the emulator's own page.
            "Content-Security-Policy": "sandbox",
            "X-Content-Type-Options": "nosniff",
            **{header: fields[name] for name, header in _HEADERS.items() if fields.get(name)},
        }
        if known.record.md5 is not None and known.record.crc32c is not None:
            headers["X-Goog-Hash"] = f"crc32c={known.record.crc32c},md5={known.record.md5}"
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{start + size - 1}/{known.size}"
        media_type = fields.get("contentType", DEFAULT_TYPE)
        super().__init__(file_blocks(file.fileno(), start, size), media_type, headers, status)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def content(request: Request, file: BinaryIO, known: StoredObject) -> Response:
    """Return what a request wants of an object; the file is closed in the end.

    Raises :class:`Refusal` (416) for a range beyond the end.
    """
    try:
        wanted = byte_range(request.headers.get("range"), known.size)
    except BaseException:
        file.close()
        raise
    if wanted is None:
        return ObjectContent(file, 0, known.size, known, 200)
    start, size = wanted
    return ObjectContent(file, start, size, known, 206)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return where a range begins and how long it is; nothing for the whole.

    What is no range, or several of them, is not looked at (RFC 9110 section 14.2). Raises
    :class:`Refusal` (416) for one that begins beyond the end.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        start, end = max(0, size - int(match["last"])), size
    else:
        start = int(match["first"])
        end = min(size, int(match["last"]) + 1) if match["last"] else size
        if match["last"] and int(match["last"]) < start:
            return None
    if start >= end:
        problem = refusal(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        problem.response.headers["Content-Range"] = f"bytes */{size}"
        raise problem
    return start, end - start
