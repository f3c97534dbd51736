"""Resumable uploads: an object that comes by several requests, or after broken connections.

Source: Cloud Storage, "Resumable uploads" and "Perform resumable uploads" (single and multiple
chunks, status, cancellation). Sessions live until the emulator ends.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.cloud_storage.answers import invalid, refusal
from orthanc_gcp.emulator.cloud_storage.buckets import UnfinishedObject
from orthanc_gcp.emulator.cloud_storage.checksums import Checksums
from orthanc_gcp.emulator.cloud_storage.object_uri import ObjectUri
from orthanc_gcp.emulator.cloud_storage.objects import Objects, StoredObject
from orthanc_gcp.emulator.cloud_storage.preconditions import Preconditions
from orthanc_gcp.emulator.cloud_storage.upload_bodies import BLOCK, BodyWriter, check_checksums

__all__ = ["LIFETIME", "ResumableUploads", "UploadSession"]

LIFETIME = 7 * 24 * 3600
"""How many seconds a session lives after its last request."""
MAX_SESSIONS = 500
_RANGE = re.compile(
    r"bytes (?:(?P<first>\d{1,15})-(?P<last>\d{1,15})|\*)/(?:(?P<total>\d{1,15})|\*)", re.ASCII
)


@dataclass
class UploadSession:
    """An upload that has begun.

    ``given`` is the resource that the client sent, ``fields`` what is taken from it; ``total`` is
    how many bytes the object will have, once that is known; ``stored`` is the object, in the end.
    """

    uri: ObjectUri
    given: dict[str, Any]
    fields: dict[str, Any]
    preconditions: Preconditions
    unfinished: UnfinishedObject
    total: int | None
    used: float
    checksums: Checksums = field(default_factory=Checksums)
    stored: StoredObject | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    turn: int = 0


@dataclass(frozen=True)
class _Chunk:
    """What a request says of the bytes that it brings: none when ``first`` is missing."""

    first: int | None
    last: int | None
    total: int | None

    @classmethod
    def of_request(cls, request: Request) -> _Chunk:
        text = request.headers.get("content-range")
        if text is None:
            length = request.headers.get("content-length")
            total = None if length is None else int(length)
            return cls(0, None if total is None else total - 1, total)
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise invalid(f"Failed to parse Content-Range header: {text[:100]!r}")
        first, last, total = (None if part is None else int(part) for part in match.groups())
        chunk = cls(first, last, total)
        if first is not None and last is not None and not chunk.is_possible:
            raise invalid(f"Invalid Content-Range header: {text[:100]!r}")
        return chunk

    @property
    def is_possible(self) -> bool:
        first, last = self.first or 0, self.last or 0
        if last < first:
            return False
        if self.total is None or last + 1 < self.total:
            # Only the last chunk has any length.
            return (last + 1 - first) % BLOCK == 0
        return last + 1 == self.total


class ResumableUploads:
    """All sessions; at most 500 that have not ended.

    Methods raise :class:`Refusal` for a session that there is not (404), for too many (429), for
    chunks that cannot be and checksums that differ (400), and as :meth:`Objects.finish` does.
    """

    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects, self._clock = objects, clock
        self._sessions: OrderedDict[str, UploadSession] = OrderedDict()

    def make_room(self) -> None:
        """Forget sessions that have expired, or else one that has ended."""
        now = self._clock()
        for upload_id, session in list(self._sessions.items()):
            if now - session.used <= LIFETIME:
                break
            self._forget(upload_id)
        if len(self._sessions) < MAX_SESSIONS:
            return
        ended = (name for name, session in self._sessions.items() if session.stored is not None)
        oldest = next(ended, None)
        if oldest is None:
            message = f"The emulator has room for {MAX_SESSIONS} uploads at once."
            raise refusal(429, "rateLimitExceeded", message)
        self._forget(oldest)

    def begin(self, session: UploadSession) -> str:
        """Begin a session, for which there is room; return its id."""
        upload_id = secrets.token_urlsafe(48)
        self._sessions[upload_id] = session
        return upload_id

    def cancel(self, upload_id: str) -> None:
        """End a session; what has come is forgotten."""
        self._find(upload_id)
        self._forget(upload_id)

    async def take(self, upload_id: str, request: Request) -> StoredObject | Response:
        """Take a chunk, or the question how much has come; return the object if it is whole."""
        session = self._find(upload_id)
        if session.stored is not None:
            return session.stored
        chunk = _Chunk.of_request(request)
        if chunk.total is not None:
            if session.total not in (None, chunk.total):
                raise invalid("The size of the object is not what it was announced to be.")
            session.total = chunk.total
        if chunk.first is not None:
            try:
                await self._append(session, chunk, request)
            except OSError as problem:
                # What the file has is not known any more.
                self._forget(upload_id)
                raise refusal(503, "backendError", "The emulator cannot write.") from problem
        if session.total != session.checksums.size:
            return _incomplete(session.checksums.size, upload_id)
        return await self._finish(upload_id, session, request.headers.get("x-goog-hash", ""))

    async def _append(self, session: UploadSession, chunk: _Chunk, request: Request) -> None:
        async with session.lock:
            session.turn += 1
            turn, size = session.turn, session.checksums.size
        first = chunk.first or 0
        if first > size:
            raise invalid(f"The chunk begins at {first}, and only {size} bytes have come.")
        skip = size - first
        left = None if chunk.last is None else max(0, chunk.last + 1 - size)
        async with BodyWriter(session.unfinished, session.checksums) as writer:
            try:
                async for data in request.stream():
                    piece, skip = data[skip:], max(0, skip - len(data))
                    if left is not None and len(piece) > left:
                        raise invalid("The body is longer than its Content-Range.")
                    left = None if left is None else left - len(piece)
                    async with session.lock:
                        _require_turn(session, turn)
                        await writer.write(piece)
            finally:
                # What came before a connection broke counts.
                async with session.lock:
                    if session.turn == turn:
                        await writer.flush()
        if chunk.total is None and chunk.last is None:
            session.total = session.checksums.size

    async def _finish(self, upload_id: str, session: UploadSession, header: str) -> StoredObject:
        async with session.lock:
            if session.stored is not None:
                return session.stored
            try:
                check_checksums(session.checksums, session.given, header)
                session.stored = await asyncio.to_thread(
                    self._objects.finish,
                    session.unfinished,
                    session.uri,
                    session.checksums,
                    session.fields,
                    session.preconditions,
                )
            except BaseException:
                self._forget(upload_id)
                raise
            return session.stored

    def _find(self, upload_id: str) -> UploadSession:
        session = self._sessions.get(upload_id)
        if session is None or self._clock() - session.used > LIFETIME:
            self._forget(upload_id)
            raise refusal(404, "notFound", "There is no such upload, or it has expired.")
        session.used = self._clock()
        self._sessions.move_to_end(upload_id)
        return session

    def _forget(self, upload_id: str) -> None:
        session = self._sessions.pop(upload_id, None)
        if session is not None:
            session.turn += 1
            session.unfinished.discard()


def _require_turn(session: UploadSession, turn: int) -> None:
    if session.turn != turn:
        raise refusal(503, "backendError", "Another request goes on with this upload.")


def _incomplete(size: int, upload_id: str) -> Response:
    headers = {"X-GUploader-UploadID": upload_id, "Server": "UploadServer"}
    if size:
        headers["Range"] = f"bytes=0-{size - 1}"
    return Response(b"", 308, headers, media_type="text/plain; charset=utf-8")
