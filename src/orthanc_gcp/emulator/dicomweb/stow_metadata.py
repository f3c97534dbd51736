"""Store transactions of JSON metadata and bulk data (DICOM PS3.18 section 10.5).

The first part is a JSON array of instances; each value that it leaves out follows in a part of
its own, in any order. A value waits in a temporary file until its length is known.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from orthanc_gcp.emulator.dicomweb.metadata_instances import Draft, InvalidMetadataError, read_draft
from orthanc_gcp.emulator.dicomweb.receiver import Receiver
from orthanc_gcp.emulator.dicomweb.stow_response import StowResults
from orthanc_gcp.emulator.http.media_types import parse_media_type
from orthanc_gcp.emulator.http.negotiation import JSON, OCTETS
from orthanc_gcp.emulator.http.requests import MAX_CONTROL_BODY
from orthanc_gcp.emulator.http.responses import Refusal, text_error

__all__ = ["MetadataParts", "unsupported_part"]

_BLOCK = 256 * 1024


def unsupported_part(content_type: str) -> Refusal:
    """Return the refusal of a part that is not what it has to be."""
    return Refusal(text_error(400, f"unsupported media type of a part: {content_type!r}"))


class MetadataParts:
    """The parts of one transaction: metadata, then the bulk data that they refer to."""

    def __init__(self, receiver: Receiver, results: StowResults) -> None:
        self._receiver = receiver
        self._results = results
        self._metadata: bytearray | None = bytearray()
        self._drafts: dict[str, Draft] = {}
        self._draft: Draft | None = None
        self._value: BinaryIO | None = None
        self._has_begun = False

    def begin(self, headers: dict[str, str]) -> None:
        """Say which part follows."""
        content_type = parse_media_type(headers.get("content-type", OCTETS))
        if not self._has_begun:
            self._has_begun = True
            if content_type.full != JSON:
                raise unsupported_part(content_type.full)
            return
        uri = headers.get("content-location", "")
        self._draft = self._drafts.pop(uri, None)
        if self._draft is None:
            raise Refusal(text_error(400, f"no instance waits for bulk data at {uri!r}"))
        try:
            self._draft.check_type(content_type)
        except InvalidMetadataError as error:
            self._fail(self._draft, str(error))
            self._draft = None
        self._value = tempfile.TemporaryFile()  # noqa: SIM115 - it lives until the part ends

    async def write(self, data: memoryview) -> None:
        """Take some bytes of the part."""
        if self._value is not None:
            self._value.write(data)
        elif self._metadata is not None:
            self._metadata += data
            if len(self._metadata) > MAX_CONTROL_BODY:
                raise Refusal(text_error(400, "the metadata are too long"))

    async def end(self) -> None:
        """Say that the part is complete."""
        if self._value is None:
            await self._end_metadata()
            return
        with self._value as value:
            self._value = None
            if self._draft is not None:
                await self._store(self._draft, value)

    async def finish(self) -> None:
        """Say that no part follows."""
        for uri, draft in self._drafts.items():
            self._fail(draft, f"the bulk data at {uri} are missing")

    def close(self) -> None:
        """Forget the part that did not arrive whole, if there is one."""
        if self._value is not None:
            self._value.close()

    async def _end_metadata(self) -> None:
        for metadata in await asyncio.to_thread(_parse, bytes(self._metadata or b"")):
            try:
                draft = await asyncio.to_thread(read_draft, metadata)
            except InvalidMetadataError as error:
                self._results.add_failed(str(error))
                continue
            if draft.uri is None:
                await self._store(draft, None)
            elif draft.uri in self._drafts:
                self._fail(draft, f"another instance has bulk data at {draft.uri}")
            else:
                self._drafts[draft.uri] = draft
        self._metadata = None

    async def _store(self, draft: Draft, value: BinaryIO | None) -> None:
        """Hand an instance on as if it had come whole."""
        size = value.tell() if value else 0
        try:
            before, after = draft.around(size)
        except InvalidMetadataError as error:
            self._fail(draft, str(error))
            return
        self._receiver.begin()
        await self._receiver.write(memoryview(before))
        for block in _blocks(value):
            await self._receiver.write(memoryview(block))
        await self._receiver.write(memoryview(after))
        await self._receiver.end()

    def _fail(self, draft: Draft, detail: str) -> None:
        self._results.add_failed(detail, draft.sop_class, draft.key)


def _blocks(value: BinaryIO | None) -> Iterator[bytes]:
    if value is not None:
        value.seek(0, os.SEEK_SET)
        while block := value.read(_BLOCK):
            yield block


def _parse(text: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise Refusal(text_error(400, "the metadata are not a JSON array of instances"))
    return found
