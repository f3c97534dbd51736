"""Uploads: simple, multipart and resumable (JSON API, ``objects.insert``)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.cloud_storage.answers import (
    found,
    invalid,
    no_such_bucket,
    refusal,
)
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets, UnavailableError, UnfinishedObject
from orthanc_gcp.emulator.cloud_storage.checksums import Checksums
from orthanc_gcp.emulator.cloud_storage.object_fields import (
    DEFAULT_TYPE,
    MAX_FIELDS,
    read_fields,
    read_json,
)
from orthanc_gcp.emulator.cloud_storage.objects import Objects, StoredObject, object_uri
from orthanc_gcp.emulator.cloud_storage.preconditions import Preconditions
from orthanc_gcp.emulator.cloud_storage.resources import object_resource
from orthanc_gcp.emulator.cloud_storage.resumable_uploads import ResumableUploads, UploadSession
from orthanc_gcp.emulator.cloud_storage.upload_bodies import (
    BodyWriter,
    check_checksums,
    write_multipart,
)
from orthanc_gcp.emulator.http.requests import origin, read_limited

__all__ = ["Uploads"]

_SIZE = re.compile(r"\d{1,15}", re.ASCII)


@dataclass(frozen=True)
class _Description:
    """What a request says of the object that it brings."""

    name: str
    given: dict[str, Any]
    fields: dict[str, Any]


class Uploads:
    """Makes objects of what clients send.

    Methods raise :class:`Refusal` for a bucket that there is not (404), for names, bodies and
    checksums that cannot be (400), and as :meth:`Objects.finish` and :class:`ResumableUploads` do.
    """

    def __init__(self, buckets: Buckets, objects: Objects, clock: Callable[[], float]) -> None:
        self._buckets, self._objects, self._clock = buckets, objects, clock
        self._sessions = ResumableUploads(objects, clock)

    async def insert(self, request: Request, bucket: str) -> Response:
        """Handle ``POST /upload/storage/v1/b/BUCKET/o``."""
        kind = request.query_params.get("uploadType")
        if "upload_id" in request.query_params:
            return await self.resume(request)
        if kind == "resumable":
            return await self._begin(request, bucket)
        if kind not in ("media", "multipart"):
            raise invalid("Invalid upload type.", location="uploadType")
        return await self._take_whole(request, bucket, is_multipart=kind == "multipart")

    async def resume(self, request: Request, *_: str) -> Response:
        """Handle ``PUT`` of a chunk, or of a question, to the address of a session."""
        taken = await self._sessions.take(_upload_id(request), request)
        return taken if isinstance(taken, Response) else _resource(request, taken)

    async def cancel(self, request: Request, *_: str) -> Response:
        """Handle ``DELETE`` of a session."""
        self._sessions.cancel(_upload_id(request))
        return Response(b"", 499, {"Server": "UploadServer"})

    async def _take_whole(self, request: Request, bucket: str, *, is_multipart: bool) -> Response:
        preconditions = Preconditions.of_request(request)
        unfinished, checksums = await self._open(bucket), Checksums()
        try:
            async with BodyWriter(unfinished, checksums) as writer:
                described = await _read(request, writer, is_multipart=is_multipart)
            check_checksums(checksums, described.given, request.headers.get("x-goog-hash", ""))
            stored = await asyncio.to_thread(
                self._objects.finish,
                unfinished,
                object_uri(bucket, described.name),
                checksums,
                described.fields,
                preconditions,
            )
        finally:
            unfinished.discard()
        return _resource(request, stored)

    async def _begin(self, request: Request, bucket: str) -> Response:
        given = read_json(await read_limited(request, MAX_FIELDS))
        name, fields = _name(request, given), read_fields(given)
        fields.setdefault(
            "contentType", _header_type(request.headers.get("x-upload-content-type", ""))
        )
        self._sessions.make_room()
        uri, preconditions = object_uri(bucket, name), Preconditions.of_request(request)
        session = UploadSession(
            uri,
            given,
            fields,
            preconditions,
            await self._open(bucket),
            _announced_size(request),
            self._clock(),
        )
        upload_id = self._sessions.begin(session)
        query = urlencode({"uploadType": "resumable", "name": name, "upload_id": upload_id})
        address = f"{origin(request)}/upload/storage/v1/b/{bucket}/o?{query}"
        headers = {"Location": address, "X-GUploader-UploadID": upload_id, "Server": "UploadServer"}
        return Response(b"", 200, headers, media_type="text/plain; charset=utf-8")

    async def _open(self, bucket: str) -> UnfinishedObject:
        try:
            self._buckets.bucket_status(bucket)
        except UnavailableError as problem:
            raise no_such_bucket() from problem
        try:
            return await asyncio.to_thread(self._buckets.begin, bucket)
        except UnavailableError as problem:
            raise refusal(503, "backendError", f"The emulator {problem}.") from problem


async def _read(request: Request, writer: BodyWriter, *, is_multipart: bool) -> _Description:
    """Write the content of an object; return what the request says of it."""
    if is_multipart:
        return await _read_multipart(request, writer)
    fields = {"contentType": _header_type(request.headers.get("content-type", ""))}
    described = _Description(_name(request, {}), {}, fields)
    async for data in request.stream():
        await writer.write(data)
    await writer.flush()
    return described


async def _read_multipart(request: Request, writer: BodyWriter) -> _Description:
    descriptions: list[_Description] = []

    def describe(given: dict[str, Any], content_type: str) -> None:
        fields = read_fields(given)
        fields.setdefault("contentType", _header_type(content_type))
        descriptions.append(_Description(_name(request, given), given, fields))

    await write_multipart(request, writer, describe)
    return descriptions[0]


def _name(request: Request, given: dict[str, Any]) -> str:
    """Return the name of the object that is to be; raise :class:`Refusal` (400) without one."""
    name = given.get("name") or request.query_params.get("name")
    if not isinstance(name, str) or not name:
        raise refusal(400, "required", "Required", location="name")
    object_uri("bucket", name)
    return name


def _announced_size(request: Request) -> int | None:
    length = request.headers.get("x-upload-content-length", "")
    return int(length) if _SIZE.fullmatch(length) else None


def _header_type(header: str) -> str:
    # What came as a header can be sent as one, if it is text.
    return header if header.isascii() and header else DEFAULT_TYPE


def _upload_id(request: Request) -> str:
    upload_id = request.query_params.get("upload_id")
    if not upload_id:
        raise refusal(400, "required", "Required", location="upload_id")
    return upload_id


def _resource(request: Request, stored: StoredObject) -> Response:
    return found(object_resource(stored, origin(request)))
