"""STOW-RS: instances are stored while they arrive (DICOM PS3.18 section 10.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Protocol

from starlette.responses import Response

from orthanc_gcp.emulator.dicomweb.receiver import Receiver
from orthanc_gcp.emulator.dicomweb.stow_metadata import MetadataParts, unsupported_part
from orthanc_gcp.emulator.dicomweb.stow_response import MAX_INSTANCES, StowResponse
from orthanc_gcp.emulator.faults.fault_settings import IDENTICAL_OK
from orthanc_gcp.emulator.healthcare.notifications import notifier
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.healthcare.storage_classes import UnknownStorageClassError, storage_class
from orthanc_gcp.emulator.http.media_types import MediaType, parse_media_type
from orthanc_gcp.emulator.http.multipart import (
    MultipartError,
    MultipartReader,
    PartData,
    PartEnd,
    PartStart,
)
from orthanc_gcp.emulator.http.negotiation import DICOM, JSON, XML, accepted_types, not_acceptable
from orthanc_gcp.emulator.http.responses import Refusal, text_error
from orthanc_gcp.emulator.http.streaming import MULTIPART
from orthanc_gcp.emulator.storage.instances import StorageClass
from orthanc_gcp.emulator.storage.uploads import UploadResult

__all__ = ["store_instances", "update_instances"]


async def store_instances(context: RequestContext) -> Response:
    """Handle ``POST …/dicomWeb/studies`` and ``POST …/dicomWeb/studies/{study}``.

    Raises :class:`Refusal` when there is no such store (403 or 404), no acceptable media type for
    the answer (406), or when the body as a whole is wrong (400). What is wrong with an instance
    stands in the answer.
    """
    return await _store(context, replace=False)


async def update_instances(context: RequestContext) -> Response:
    """Handle ``PUT …/dicomWeb/studies``, which replaces what is there; raise as a ``POST`` does."""
    return await _store(context, replace=True)


async def _store(context: RequestContext, *, replace: bool) -> Response:
    store = context.store_id()
    answer_type = _answer_type(context)
    content_type = parse_media_type(context.request.headers.get("content-type", ""))
    results = StowResponse(context.dicomweb_url, context.names.get("study"))
    receiver = _receiver(context, store, results, replace=replace)
    body = context.request.stream()
    try:
        if content_type.full == DICOM:
            await _receive_single(body, receiver)
        else:
            sink: PartSink = FileParts(receiver)
            if _part_type(content_type, replace=replace) == JSON:
                sink = MetadataParts(receiver, results)
            with closing(sink):
                await _receive_multipart(body, content_type.parameters.get("boundary", ""), sink)
    except MultipartError as error:
        raise Refusal(text_error(400, f"invalid multipart request: {error}")) from error
    finally:
        await receiver.close()
    await context.wait_for_instances(len(results.stored) + len(results.failed) - 1)
    content = results.as_xml() if answer_type == XML else results.as_json()
    return Response(content, results.status, media_type=answer_type)


def _receiver(
    context: RequestContext, store: int, results: StowResponse, *, replace: bool
) -> Receiver:
    """Return what stores the instances of a request, and fails where fault settings say so."""
    notify = notifier(
        context.storage.resources,
        context.store,
        context.services.clock,
        "UpdateInstances" if replace else "StoreInstances",
    )
    receiver = Receiver(
        context.storage,
        store,
        results,
        context.names.get("study"),
        replace=replace,
        storage_class=_storage_class(context),
        notify=notify,
    )
    if context.active_fault is not None:
        receiver.fate = context.active_fault.fate
    if replace or context.services.fault_settings.current.duplicates == IDENTICAL_OK:
        receiver.conflicts = (UploadResult.DIFFERENT,)
    return receiver


def _storage_class(context: RequestContext) -> StorageClass | None:
    name = context.request.headers.get("storage-class")
    try:
        return storage_class(name, context.services.clock())
    except UnknownStorageClassError:
        raise Refusal(text_error(400, f"invalid Storage-Class: {name!r}")) from None


def _answer_type(context: RequestContext) -> str:
    for accepted in accepted_types(context.request):
        if accepted.covers(XML):
            return XML
        if accepted.covers(JSON) or accepted.covers("application/json"):
            return JSON
    raise not_acceptable(context.request, (XML, JSON))


def _part_type(content_type: MediaType, *, replace: bool) -> str:
    """Return what the parts of a request are, or the first of them; updates are files only."""
    if content_type.full != MULTIPART:
        raise _unsupported(content_type.full)
    kind = content_type.parameters.get("type", "").lower()
    if kind != DICOM and (kind != JSON or replace):
        raise _unsupported(f"{MULTIPART}; type={kind}")
    return kind


def _unsupported(media_type: str) -> Refusal:
    return Refusal(
        text_error(
            400,
            f"unsupported media type {media_type!r}: expected {DICOM}, "
            f'{MULTIPART}; type="{DICOM}" or {MULTIPART}; type="{JSON}"',
        )
    )


async def _receive_single(body: AsyncIterator[bytes], receiver: Receiver) -> None:
    receiver.begin()
    async for chunk in body:
        if chunk:
            await receiver.write(memoryview(chunk))
    await receiver.end()


async def _receive_multipart(body: AsyncIterator[bytes], boundary: str, sink: PartSink) -> None:
    reader = MultipartReader(boundary)
    parts = 0
    async for chunk in body:
        for event in reader.feed(chunk):
            if isinstance(event, PartData):
                await sink.write(event.data)
            elif isinstance(event, PartStart):
                parts += 1
                if parts > MAX_INSTANCES:
                    raise MultipartError(f"there are more than {MAX_INSTANCES} parts in it")
                sink.begin(event.headers)
            elif isinstance(event, PartEnd):
                await sink.end()
    reader.close()
    if not parts:
        raise MultipartError("there is no part in it")
    await sink.finish()


class PartSink(Protocol):
    """Takes the parts of a request, one after the other."""

    def begin(self, headers: dict[str, str]) -> None: ...

    async def write(self, data: memoryview) -> None: ...

    async def end(self) -> None: ...

    async def finish(self) -> None: ...

    def close(self) -> None: ...


class FileParts:
    """Parts that are instances."""

    def __init__(self, receiver: Receiver) -> None:
        self.write = receiver.write
        self.end = receiver.end
        self._receiver = receiver

    def begin(self, headers: dict[str, str]) -> None:
        """Say that an instance follows; raise :class:`Refusal` (400) when it is something else."""
        content_type = parse_media_type(headers.get("content-type", DICOM)).full
        if content_type != DICOM:
            raise unsupported_part(content_type)
        self._receiver.begin()

    async def finish(self) -> None:
        """Say that no part follows."""

    def close(self) -> None:
        """Nothing is open but what the receiver closes."""
