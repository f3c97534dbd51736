"""One instance as the page shows it: its attributes, and a frame of it as an image.

Sources: DICOM PS3.6 (names of attributes), PS3.18 section 10.4.1.1.3 (rendered images).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from pydicom.datadict import dictionary_description
from starlette.responses import Response

from orthanc_gcp.emulator.admin.listings import natural_number, shorten, store_row, uid_name
from orthanc_gcp.emulator.dicom.dicom_json import JsonWriter, is_bulk
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.pixel_data import PixelData
from orthanc_gcp.emulator.dicom.reader import DicomFile, Element, FileSource, InvalidDicomError
from orthanc_gcp.emulator.dicom.transcoding import open_decodable
from orthanc_gcp.emulator.dicom.transfer_syntaxes import can_decode
from orthanc_gcp.emulator.dicom.viewports import Viewport
from orthanc_gcp.emulator.dicomweb.rendered import Renderer
from orthanc_gcp.emulator.http.negotiation import PNG
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.storage.instances import StoredInstance
from orthanc_gcp.emulator.storage.records import InstanceKey
from orthanc_gcp.emulator.storage.storage import Storage

__all__ = ["InstanceView"]

MAX_SIDE = 512
"""How wide and high a rendered image is at most, in pixels."""
MAX_ATTRIBUTES = 500
MAX_FRAMES = 10**9

_MAX_VALUE = 64 * 1024

Query = Mapping[str, str]


@dataclass(frozen=True)
class InstanceView:
    """Shows the instance that a query names: ``store``, ``study``, ``series`` and ``instance``.

    Each raises :class:`Refusal` (404) when it is not there.
    """

    storage: Storage

    def attributes(self, query: Query) -> dict[str, Any]:
        """Return its attributes, and how many frames it has, or else why none can be shown."""
        instance = self._find(query)
        with self._open(instance) as file:
            dicom = DicomFile(FileSource(file.fileno()))
            elements = list(islice(_readable(dicom), MAX_ATTRIBUTES + 1))
            entries = JsonWriter(lambda path: path).elements(
                dicom, (one for one in elements if not _is_left_out(one))
            )
            attributes = [
                _attribute(dicom, one, entries.get(f"{one.tag:08X}"))
                for one in elements[:MAX_ATTRIBUTES]
            ]
        frames, reason = self._frames(instance)
        return {
            "frames": frames,
            "reason": reason,
            "attributes": attributes,
            "more": len(elements) > MAX_ATTRIBUTES,
        }

    def rendered(self, query: Query) -> Response:
        """Return a frame (``frame``, from 1 on) as PNG, of 512 pixels in each direction at most.

        Raises :class:`Refusal`: 400 for a frame that there is not, or that cannot be rendered.
        """
        instance, number = self._find(query), natural_number(query, "frame", 1, MAX_FRAMES)
        try:
            with self._open_pixels(instance) as pixels:
                pixels.check(number)
                sides = (int(pixels.header.Rows), int(pixels.header.Columns))
                viewport = Viewport(MAX_SIDE, MAX_SIDE) if max(sides) > MAX_SIDE else None
                image = Renderer(pixels, PNG, viewport).render(number)
        except ImagingError as problem:
            raise Refusal(error(400, str(problem))) from problem
        return Response(image, media_type=PNG)

    def _frames(self, instance: StoredInstance) -> tuple[int, str]:
        """Return how many frames may be shown, and if there are none, why."""
        try:
            with self._open_pixels(instance) as pixels:
                return pixels.count, ""
        except ImagingError as problem:
            return 0, str(problem)

    @contextmanager
    def _open_pixels(self, instance: StoredInstance) -> Iterator[PixelData]:
        if not can_decode(instance.transfer_syntax):
            name = uid_name(instance.transfer_syntax)
            raise ImagingError(f"an image in transfer syntax {name} cannot be rendered")
        with (
            self._open(instance) as file,
            closing(open_decodable(file, instance.transfer_syntax)) as pixels,
        ):
            yield pixels

    def _find(self, query: Query) -> StoredInstance:
        store = store_row(self.storage, query)
        key = InstanceKey(*(query.get(name, "") for name in ("study", "series", "instance")))
        found = self.storage.index.instance(store, key)
        if found is None:
            raise Refusal(error(404, "there is no such instance"))
        return found

    def _open(self, instance: StoredInstance) -> BinaryIO:
        try:
            return os.fdopen(self.storage.open(instance.file), "rb")
        except FileNotFoundError:
            raise Refusal(error(404, "there is no such instance")) from None


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
