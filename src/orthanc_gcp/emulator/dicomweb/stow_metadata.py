"""Store transactions of JSON metadata and bulk data (DICOM PS3.18 section 10.5).

The first part is a JSON array of instances; each value that it leaves out follows in a part of
its own, in any order. A value waits in a temporary file until its length is known.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from orthanc_gcp.emulator.dicomweb.metadata_instances import (
    InvalidMetadataError,
    MetadataInstance,
    read_instance,
)
from orthanc_gcp.emulator.dicomweb.receiver import Receiver
from orthanc_gcp.emulator.dicomweb.stow_response import MAX_INSTANCES, StowResponse
from orthanc_gcp.emulator.http.media_types import parse_media_type
from orthanc_gcp.emulator.http.negotiation import JSON, OCTETS
from orthanc_gcp.emulator.http.requests import MAX_CONTROL_BODY, parse_json
from orthanc_gcp.emulator.http.responses import Refusal, text_error

__all__ = ["MetadataParts", "unsupported_part"]

_BLOCK = 256 * 1024


def unsupported_part(content_type: str) -> Refusal:
    """Return the refusal of a part that is not what it has to be."""
    return Refusal(text_error(400, f"unsupported media type of a part: {content_type!r}"))


class MetadataParts:
    """The parts of one transaction: metadata, then the bulk data that they refer to."""

    def __init__(self, receiver: Receiver, results: StowResponse) -> None:
        self._receiver = receiver
        self._results = results
        self._metadata: bytearray | None = bytearray()
        self._waiting: dict[str, MetadataInstance] = {}
        self._of_failed: set[str] = set()
        self._instance: MetadataInstance | None = None
        self._value: BinaryIO | None = None
        self._has_begun = False

    def begin(self, headers: dict[str, str]) -> None:
        """Say which part follows; raise :class:`Refusal` (400) when it is not one that can."""
        content_type = parse_media_type(headers.get("content-type", OCTETS))
        if not self._has_begun:
            self._has_begun = True
            if content_type.full != JSON:
                raise unsupported_part(content_type.full)
            return
        uri = headers.get("content-location", "")
        self._instance = self._waiting.pop(uri, None)
        if self._instance is None and uri not in self._of_failed:
            raise Refusal(text_error(400, f"no instance waits for bulk data at {uri!r}"))
        if self._instance is not None:
            try:
                self._instance.check_type(content_type)
            except InvalidMetadataError as error:
                self._fail(self._instance, str(error))
                self._instance = None
        self._value = tempfile.TemporaryFile()  # noqa: SIM115 - it lives until the part ends

    async def write(self, data: memoryview) -> None:
        """Take some bytes of the part; raise :class:`Refusal` (400) when metadata are too long."""
        if self._value is not None:
            self._value.write(data)
        elif self._metadata is not None:
            self._metadata += data
            if len(self._metadata) > MAX_CONTROL_BODY:
                raise Refusal(text_error(400, "the metadata are too long"))

    async def end(self) -> None:
        """Say that the part is complete; raise :class:`Refusal` (400) for wrong metadata."""
        if self._value is None:
            await self._end_metadata()
            return
        with self._value as value:
            self._value = None
            if self._instance is not None:
                await self._store(self._instance, value)

    async def finish(self) -> None:
        """Say that no part follows."""
        for uri, instance in self._waiting.items():
            self._fail(instance, f"the bulk data at {uri} are missing")

    def close(self) -> None:
        """Forget the part that did not arrive whole, if there is one."""
        if self._value is not None:
            self._value.close()

    async def _end_metadata(self) -> None:
        for metadata in await asyncio.to_thread(_parse, bytes(self._metadata or b"")):
            try:
                instance = await asyncio.to_thread(read_instance, metadata)
            except InvalidMetadataError as error:
                self._results.add_failed(str(error))
                self._of_failed |= _bulk_data_uris(metadata)
                continue
            if instance.uri is None:
                await self._store(instance, None)
            elif instance.uri in self._waiting:
                self._fail(instance, f"another instance has bulk data at {instance.uri}")
                self._of_failed.add(instance.uri)
            else:
                self._waiting[instance.uri] = instance
        self._metadata = None

    async def _store(self, instance: MetadataInstance, value: BinaryIO | None) -> None:
        """Hand an instance on as if it had come whole."""
        size = value.tell() if value else 0
        try:
            before, after = instance.around(size)
        except InvalidMetadataError as error:
            self._fail(instance, str(error))
            return
        self._receiver.begin()
        await self._receiver.write(memoryview(before))
        for block in _blocks(value):
            await self._receiver.write(memoryview(block))
        await self._receiver.write(memoryview(after))
        await self._receiver.end()

    def _fail(self, instance: MetadataInstance, detail: str) -> None:
        self._results.add_failed(detail, instance.sop_class, instance.key)


def _blocks(value: BinaryIO | None) -> Iterator[bytes]:
    if value is not None:
        value.seek(0, os.SEEK_SET)
        while block := value.read(_BLOCK):
            yield block


def _bulk_data_uris(metadata: dict[str, Any]) -> set[str]:
    """Return where the values are that metadata leave out, whatever else is wrong with them."""
    elements = (element for element in metadata.values() if isinstance(element, dict))
    uris = (element.get("BulkDataURI") for element in elements)
    return {uri for uri in uris if isinstance(uri, str)}


def _parse(text: bytes) -> list[dict[str, Any]]:
    try:
        found = parse_json(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise Refusal(text_error(400, "the metadata are not a JSON array of instances"))
    if len(found) > MAX_INSTANCES:
        raise Refusal(text_error(400, f"the metadata are of more than {MAX_INSTANCES} instances"))
    return found
