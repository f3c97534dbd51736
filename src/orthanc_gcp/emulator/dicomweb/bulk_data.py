"""WADO-RS bulk data: the values that metadata refer to (DICOM PS3.18 section 10.4.1.1.5).

A value leaves as it lies in the file: in the byte order of the instance, and encapsulated pixel
data with its items.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from starlette.responses import Response

from orthanc_gcp.emulator.dicom.dicom_json import is_bulk
from orthanc_gcp.emulator.dicom.inflation import inflated
from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    EXPLICIT_LITTLE,
    MAX_INFLATED,
    UNDEFINED,
    DataSet,
    DicomFile,
    Element,
    FileSource,
    InvalidDicomError,
)
from orthanc_gcp.emulator.dicom.transfer_syntaxes import AS_STORED
from orthanc_gcp.emulator.dicomweb.multipart_response import Part, multipart_response
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.media_types import MediaType
from orthanc_gcp.emulator.http.negotiation import OCTETS, accepted_types, not_acceptable
from orthanc_gcp.emulator.http.streaming import MULTIPART, Streamed, file_blocks

__all__ = ["find_bulk_data", "retrieve_bulk_data"]


@dataclass(frozen=True)
class BulkData:
    """A value: a range of a file, or of what is inflated of it from ``inflated_from`` on."""

    file: BinaryIO
    data_set: DataSet
    element: Element
    transfer_syntax: str
    inflated_from: int | None

    @property
    def size(self) -> int:
        """How long it is, as far as the file goes; of a deflated one, as it says."""
        if self.is_long:
            return self.element.length
        return self.element.end - self.element.offset

    @property
    def is_long(self) -> bool:
        """Whether it ends beyond what was inflated: whether it comes whole is not known."""
        return (
            self.inflated_from is not None
            and self.data_set.source.size == MAX_INFLATED
            and self.element.length != UNDEFINED
            and self.element.offset + self.element.length > MAX_INFLATED
        )

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Yield the value in pieces; close the file at the end."""
        with self.file:
            if self.inflated_from is not None:
                async for block in self._inflated(self.inflated_from):
                    yield block
                return
            start, size = self.element.offset, self.size
            async for block in file_blocks(self.file.fileno(), start, size):
                yield block

    async def _inflated(self, start: int) -> AsyncGenerator[bytes, None]:
        pieces = inflated(self.file, start)
        skipped, left = self.element.offset, self.size
        while left and (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            wanted = piece[skipped : skipped + left]
            skipped = max(0, skipped - len(piece))
            left -= len(wanted)
            if wanted:
                yield wanted


async def retrieve_bulk_data(context: RequestContext) -> Response:
    """Handle ``GET …/instances/{instance}/bulkdata/{path}``.

    Raises :class:`Refusal` when there is no such value (403 or 404), or in no acceptable media type
    (406).
    """
    _, file = await asyncio.to_thread(context.open_instance)
    try:
        found = await asyncio.to_thread(_require, context, file)
        multipart = _choose_multipart(context)
    except BaseException:
        file.close()
        raise
    content_type = f"{OCTETS}; transfer-syntax={found.transfer_syntax}"
    if not multipart:
        headers = None if found.is_long else {"Content-Length": str(found.size)}
        return Streamed(found.blocks(), content_type, headers)
    return multipart_response(OCTETS, _single_part(Part(content_type, found.blocks())))


def _choose_multipart(context: RequestContext) -> bool:
    """Return whether the value is sent as a part, which is the default."""
    for accepted in accepted_types(context.request):
        if accepted.parameters.get("transfer-syntax", AS_STORED) != AS_STORED:
            continue
        kind = MediaType(accepted.parameters.get("type", OCTETS).lower())
        if accepted.covers(MULTIPART) and kind.covers(OCTETS):
            return True
        if accepted.covers(OCTETS):
            return False
    offers = (f'{MULTIPART}; type="{OCTETS}"', OCTETS)
    raise not_acceptable(context.request, (f"{offer}; transfer-syntax=*" for offer in offers))


async def _single_part(part: Part) -> AsyncGenerator[Part, None]:
    yield part


def _require(context: RequestContext, file: BinaryIO) -> BulkData:
    """Return the bulk data that the path names, or refuse because there is none."""
    found = find_bulk_data(file, context.names["bulk"].split("/"))
    if found is None:
        raise context.missing_path()
    return found


def find_bulk_data(file: BinaryIO, path: list[str]) -> BulkData | None:
    """Return the bulk data at a path such as ``7FE00010`` or ``00400555/1/00081199``.

    Nothing is returned for a path to something else. Raises :class:`InvalidDicomError` when the
    file cannot be read.
    """
    dicom = DicomFile(FileSource(file.fileno()))
    data_set = dicom.meta if path[0].startswith("0002") else dicom
    elements: Iterable[Element] = chain(dicom.meta_elements, dicom.elements())
    with suppress(InvalidDicomError, struct.error, ValueError):
        for depth, (tag, index) in enumerate(zip(path[:-1:2], path[1::2], strict=True)):
            sequence = _element(elements, tag)
            elements = _item(data_set, sequence, int(index), depth) if sequence else ()
        element = _element(elements, path[-1])
        if element is not None and element.length and is_bulk(element):
            syntax = dicom.transfer_syntax
            if syntax != DEFLATED:
                return BulkData(file, data_set, element, syntax, None)
            start = None if data_set is dicom.meta else dicom.start
            return BulkData(file, data_set, element, EXPLICIT_LITTLE, start)
    return None


def _element(elements: Iterable[Element], tag: str) -> Element | None:
    return next((element for element in elements if f"{element.tag:08X}" == tag.upper()), None)


def _item(data_set: DataSet, sequence: Element, index: int, depth: int) -> Iterable[Element]:
    if sequence.vr != "SQ":
        return ()
    for position, item in enumerate(data_set.items(sequence, depth)):
        if position == index:
            return data_set.walk(item.offset, item.end, sequence.encoding, depth=depth + 1)
    return ()
