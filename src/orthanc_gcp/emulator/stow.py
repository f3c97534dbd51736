"""STOW-RS: instances are stored while they arrive (DICOM PS3.18 section 10.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response

from orthanc_gcp.emulator.calls import Call
from orthanc_gcp.emulator.media_types import MediaType, parse_media_type
from orthanc_gcp.emulator.multipart import (
    MultipartError,
    MultipartReader,
    PartData,
    PartEnd,
    PartStart,
)
from orthanc_gcp.emulator.negotiation import DICOM, JSON, XML, accepted_types, not_acceptable
from orthanc_gcp.emulator.receiver import Receiver
from orthanc_gcp.emulator.responses import Refusal, text_error
from orthanc_gcp.emulator.stow_results import StowResults

__all__ = ["store_instances"]


async def store_instances(call: Call) -> Response:
    """Handle ``POST …/dicomWeb/studies`` and ``POST …/dicomWeb/studies/{study}``."""
    store = call.store_id()
    answer_type = _answer_type(call)
    content_type = parse_media_type(call.request.headers.get("content-type", ""))
    results = StowResults(call.dicomweb_url, call.names.get("study"))
    receiver = Receiver(call.storage, store, results, call.names.get("study"))
    body = call.request.stream()
    try:
        if content_type.full == DICOM:
            await _receive_single(body, receiver)
        else:
            await _receive_multipart(body, _boundary(content_type), receiver)
        await receiver.settle()
    except MultipartError as error:
        raise Refusal(text_error(400, f"invalid multipart request: {error}")) from error
    finally:
        await receiver.abandon()
    content = results.as_xml() if answer_type == XML else results.as_json()
    return Response(content, results.status, media_type=answer_type)


def _answer_type(call: Call) -> str:
    for accepted in accepted_types(call.request):
        if accepted.covers(XML):
            return XML
        if accepted.covers(JSON) or accepted.covers("application/json"):
            return JSON
    raise not_acceptable(call.request, (XML, JSON))


def _boundary(content_type: MediaType) -> str:
    if content_type.full != "multipart/related":
        raise _unsupported(content_type.full)
    if content_type.parameters.get("type", "").lower() != DICOM:
        raise _unsupported(f"multipart/related; type={content_type.parameters.get('type', '')}")
    return content_type.parameters.get("boundary", "")


def _unsupported(media_type: str) -> Refusal:
    return Refusal(
        text_error(
            400,
            f"unsupported media type {media_type!r}: expected {DICOM} or "
            f'multipart/related; type="{DICOM}"',
        )
    )


async def _receive_single(body: AsyncIterator[bytes], receiver: Receiver) -> None:
    receiver.begin()
    async for chunk in body:
        if chunk:
            await receiver.write(memoryview(chunk))
    await receiver.end()


async def _receive_multipart(body: AsyncIterator[bytes], boundary: str, receiver: Receiver) -> None:
    reader = MultipartReader(boundary)
    parts = 0
    async for chunk in body:
        for event in reader.feed(chunk):
            if isinstance(event, PartData):
                await receiver.write(event.data)
            elif isinstance(event, PartStart):
                parts += 1
                _check_part(event)
                receiver.begin()
            elif isinstance(event, PartEnd):
                await receiver.end()
    reader.close()
    if not parts:
        raise MultipartError("there is no part in it")


def _check_part(part: PartStart) -> None:
    content_type = parse_media_type(part.headers.get("content-type", DICOM)).full
    if content_type != DICOM:
        raise Refusal(text_error(400, f"unsupported media type of a part: {content_type!r}"))
