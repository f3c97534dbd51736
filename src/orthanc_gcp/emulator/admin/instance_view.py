"""One instance as the page shows it: its attributes, and a frame of it as an image.

Sources: DICOM PS3.6 (names of attributes), PS3.18 section 10.4.1.1.3 (rendered images).
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from pydicom.datadict import dictionary_description
from starlette.responses import Response

from orthanc_gcp.emulator.admin.listings import natural_number, shorten, store_row, uid_name
from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter, is_bulk
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.dicom.reader import (
    PIXEL_DATA,
    DicomFile,
    Element,
    FileSource,
    InvalidDicomError,
)
from orthanc_gcp.emulator.dicom.search_attributes import tags
from orthanc_gcp.emulator.dicom.transfer_syntaxes import can_decode
from orthanc_gcp.emulator.dicom.viewports import Viewport
from orthanc_gcp.emulator.dicomweb.rendered import Renderer
from orthanc_gcp.emulator.http.negotiation import PNG
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.storage.records import InstanceKey
from orthanc_gcp.emulator.storage.storage import Storage

__all__ = ["InstanceView"]

MAX_SIDE = 512
"""How wide and high a rendered image is at most, in pixels."""
MAX_ATTRIBUTES = 500
MAX_FRAMES = 10**9

_MAX_VALUE = 16 * 1024
_DESCRIPTION = tags("NumberOfFrames Rows Columns")

Query = Mapping[str, str]


@dataclass(frozen=True)
class InstanceView:
    """Shows the instance that a query names: ``store``, ``study``, ``series`` and ``instance``.

    Each raises :class:`Refusal` (404) when it is not there.
    """

    storage: Storage
    imaging: ImagingPool

    def attributes(self, query: Query) -> dict[str, Any]:
        """Return its attributes, and how many frames it has, or else why none can be shown."""
        with self._open(query) as file:
            dicom = DicomFile(FileSource(file.fileno()))
            elements = list(islice(_readable(dicom), MAX_ATTRIBUTES + 1))
            entries = JsonWriter(lambda path: path).elements(
                dicom, (one for one in elements if not _is_left_out(one))
            )
            attributes = [
                _attribute(dicom, one, entries.get(f"{one.tag:08X}"))
                for one in elements[:MAX_ATTRIBUTES]
            ]
            described = _describe(file)
        reason = described.reason
        return {
            "frames": 0 if reason else described.frames,
            "reason": reason,
            "attributes": attributes,
            "more": len(elements) > MAX_ATTRIBUTES,
        }

    async def rendered(self, query: Query) -> Response:
        """Return a frame (``frame``, from 1 on) as PNG, of 512 pixels in each direction at most.

        Raises :class:`Refusal`: 400 for a frame that there is not, or that cannot be rendered.
        """
        number = natural_number(query, "frame", 1, MAX_FRAMES)
        with await asyncio.to_thread(self._open, query) as file:
            described = await asyncio.to_thread(_describe, file)
            if described.reason:
                raise Refusal(error(400, described.reason))
            try:
                renderer = Renderer(self.imaging, file, PNG, described.viewport)
                image = await renderer.render(number, number)
            except ImagingError as problem:
                raise Refusal(error(400, str(problem))) from problem
        return Response(image, media_type=PNG)

    def _open(self, query: Query) -> BinaryIO:
        store = store_row(self.storage, query)
        key = InstanceKey(*(query.get(name, "") for name in ("study", "series", "instance")))
        found = self.storage.index.instance(store, key)
        if found is None:
            raise Refusal(error(404, "there is no such instance"))
        try:
            _, descriptor = self.storage.open_current(store, found)
        except FileNotFoundError:
            raise Refusal(error(404, "there is no such instance")) from None
        return os.fdopen(descriptor, "rb")


@dataclass(frozen=True)
class Described:
    """What there is to render: sides in pixels, or a reason why there is nothing."""

    frames: int
    rows: int
    columns: int
    reason: str

    @property
    def viewport(self) -> Viewport | None:
        """The viewport of an image that has to be made smaller."""
        is_large = max(self.rows, self.columns) > MAX_SIDE
        return Viewport(MAX_SIDE, MAX_SIDE) if is_large else None


def _describe(file: BinaryIO) -> Described:
    dicom = DicomFile(FileSource(file.fileno()))
    numbers, has_pixels = dict.fromkeys(_DESCRIPTION, 0), False
    for element in _readable(dicom):
        has_pixels = has_pixels or element.tag in PIXEL_DATA
        if element.tag in numbers:
            numbers[element.tag] = _number(dicom, element)
    frames, rows, columns = numbers.values()
    reason = ""
    if not has_pixels:
        reason = "the instance has no pixel data"
    elif not can_decode(dicom.transfer_syntax):
        name = uid_name(dicom.transfer_syntax)
        reason = f"an image in transfer syntax {name} cannot be rendered"
    elif not rows or not columns:
        reason = "the instance does not say how large its image is"
    return Described(max(frames, 1), rows, columns, reason)


def _number(file: DicomFile, element: Element) -> int:
    """Return the first value of an element; 0 when that is no number from 1 on."""
    for entry in JsonWriter(lambda path: path).elements(file, [element]).values():
        value = (entry.get("Value") or [0])[0]
        if isinstance(value, int) and 0 < value <= MAX_FRAMES:
            return value
    return 0


def _readable(file: DicomFile) -> Iterator[Element]:
    """Yield all elements up to where the file stops making sense."""
    with suppress(InvalidDicomError, struct.error):
        yield from file.elements()


def _is_left_out(element: Element) -> bool:
    """Return whether only the size of a value is shown."""
    is_large = element.end - element.offset > _MAX_VALUE
    return element.vr == "SQ" or is_large or is_bulk(element)


def _attribute(file: DicomFile, element: Element, entry: dict[str, Any] | None) -> dict[str, str]:
    name = "private attribute"
    if not element.tag >> 16 & 1:
        with suppress(KeyError):
            name = dictionary_description(element.tag)
    tag = f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})"
    return {"tag": tag, "vr": element.vr, "name": name, "value": _value(file, element, entry)}


def _value(file: DicomFile, element: Element, entry: dict[str, Any] | None) -> str:
    if element.vr == "SQ":
        items = 0
        with suppress(InvalidDicomError, struct.error):
            for _ in file.items(element):
                items += 1
        return f"{items} item" if items == 1 else f"{items} items"
    if entry is None or "InlineBinary" in entry:
        return f"{element.end - element.offset} bytes"
    return shorten("\\".join(map(_one_value, entry.get("Value", ()))))


def _one_value(value: Any) -> str:
    if isinstance(value, dict):
        return "=".join(map(str, value.values()))
    return "" if value is None else str(value)
