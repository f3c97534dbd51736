"""Data sets in the DICOM JSON Model (DICOM PS3.18 annex F).

Values that meet the Healthcare API's definition of bulk data become a ``BulkDataURI`` (its DICOM
conformance statement, "Metadata and bulk data").
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from pydicom.charset import decode_bytes, python_encoding

from orthanc_gcp.emulator.dicom.reader import (
    PIXEL_DATA,
    UNDEFINED,
    DataSet,
    DicomFile,
    Element,
    InvalidDicomError,
)

__all__ = [
    "MAX_SEQUENCE",
    "JsonWriter",
    "encodings_of",
    "is_bulk",
    "read_encodings",
    "readable",
    "to_text",
    "to_uid",
]

MAX_SEQUENCE = 1024 * 1024
"""Sequences beyond are left out of metadata and of ``includefield=all``."""

_ALWAYS_BULK = frozenset({"OB", "OW", "UN"})
_LARGE_BULK = {"OD": 8, "OF": 4, "OL": 4, "OV": 8}
_NUMBERS = {"FD": "d", "FL": "f", "SL": "l", "SS": "h", "SV": "q", "UL": "L", "US": "H", "UV": "Q"}
_WIDTHS = {"AT": 4, **{vr: struct.calcsize(f"={code}") for vr, code in _NUMBERS.items()}}
_SINGLE_VALUED = frozenset({"LT", "ST", "UR", "UT"})
_MAX_INLINE_BYTES = 2048
_MAX_INLINE_NUMBERS = 512
_DEFAULT_ENCODINGS = ("iso8859",)
_CHARACTER_SET = 0x00080005
_MAX_TERMS = 1024
"""How many bytes of SpecificCharacterSet are looked at: there are not so many terms."""

BulkDataUri = Callable[[str], str]


@lru_cache(maxsize=128)
def read_encodings(value: bytes) -> tuple[str, ...]:
    """Return the Python encodings of a value of SpecificCharacterSet (PS3.3 section C.12.1.1.2).

    An unknown term stands for ISO 8859-1.
    """
    terms = [term.strip() for term in value.rstrip(b"\0 ").decode("latin-1").split("\\")]
    return tuple(python_encoding.get(term, "iso8859") for term in terms)


def encodings_of(data_set: DataSet, element: Element) -> tuple[str, ...]:
    """Return the Python encodings that an element with SpecificCharacterSet names."""
    size = min(element.end - element.offset, _MAX_TERMS)
    return read_encodings(data_set.source.read(element.offset, size))


def to_text(value: bytes, encodings: Sequence[str]) -> str:
    """Decode a text value; what cannot be decoded becomes a replacement character."""
    if b"\x1b" in value:
        try:
            return decode_bytes(value, encodings, {0x0D, 0x0A, 0x09, 0x0C, 0x5C, 0x5E, 0x3D})
        except Exception:  # noqa: S110 - whatever is wrong with it, show what can be shown # nosec B110
            pass
    return value.decode(encodings[0], "replace")


def to_uid(value: bytes) -> str:
    """Decode a UID, without padding; no two of them become the same text, whatever they contain.

    No SpecificCharacterSet concerns them (PS3.5 section 6.1.2.2).
    """
    return value.decode("latin-1").strip("\0 ")


class JsonWriter:
    """Writes data sets as objects of the DICOM JSON Model: attributes by tag, in ascending order.

    Parameters
    ----------
    bulk_data_uri : callable
        Gives the address of bulk data for a path such as ``7FE00010`` or ``00400555/1/00081199``.
    """

    def __init__(self, bulk_data_uri: BulkDataUri) -> None:
        self._bulk_data_uri = bulk_data_uri

    def file(self, file: DicomFile) -> dict[str, Any]:
        """Return a file's whole data set with its meta information (group 0002)."""
        return {**self.elements(file.meta, file.meta_elements), **self.data_set(file)}

    def data_set(self, file: DicomFile) -> dict[str, Any]:
        """Return a file's whole data set."""
        return self.elements(file, readable(file.elements()))

    def elements(
        self,
        data_set: DataSet,
        elements: Iterable[Element],
        *,
        encodings: Sequence[str] = _DEFAULT_ENCODINGS,
        path: str = "",
        depth: int = 0,
    ) -> dict[str, Any]:
        """Return elements, in their order; group lengths and padding at the end are left out.

        ``path`` is that of the sequence item that they are in, with a slash at its end, and
        ``depth`` in how many sequences that is.
        """
        result: dict[str, Any] = {}
        for element in elements:
            if not element.tag & 0xFFFF or element.tag >= 0xFFFC0000:
                continue
            if element.tag == _CHARACTER_SET:
                encodings = encodings_of(data_set, element)
            entry = self.entry(data_set, element, encodings, path, depth)
            if entry is not None:
                result[f"{element.tag:08X}"] = entry
        return result

    def entry(
        self,
        data_set: DataSet,
        element: Element,
        encodings: Sequence[str],
        path: str = "",
        depth: int = 0,
    ) -> dict[str, Any] | None:
        """Return one element, or nothing for a sequence that is too large or cannot be read."""
        vr = element.vr
        if vr == "SQ":
            if element.end - element.offset > MAX_SEQUENCE:
                return None
            with suppress(InvalidDicomError, struct.error):
                return self._sequence(data_set, element, encodings, path, depth)
            return None
        if element.length == 0:
            return {"vr": vr}
        if is_bulk(element):
            return {"vr": vr, "BulkDataURI": self._bulk_data_uri(f"{path}{element.tag:08X}")}
        if element.tag == _CHARACTER_SET and vr not in _LARGE_BULK:
            # The text of JSON is UTF-8, whatever the file was written in.
            return {"vr": vr, "Value": ["ISO_IR 192"]}
        value = data_set.value(element)
        if vr in _LARGE_BULK:
            inline = base64.b64encode(_little_endian(value, element)).decode()
            return {"vr": vr, "InlineBinary": inline}
        values = _values(vr, value, element, encodings)
        return {"vr": vr, "Value": values} if any(v is not None for v in values) else {"vr": vr}

    def _sequence(
        self, data_set: DataSet, element: Element, encodings: Sequence[str], path: str, depth: int
    ) -> dict[str, Any]:
        items = [
            self.elements(
                data_set,
                data_set.walk(item.offset, item.end, element.encoding, depth=depth + 1),
                encodings=encodings,
                path=f"{path}{element.tag:08X}/{index}/",
                depth=depth + 1,
            )
            for index, item in enumerate(data_set.items(element, depth))
        ]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def readable(elements: Iterator[Element]) -> Iterator[Element]:
    """Yield elements up to the end, or to where a file stops making sense."""
    with suppress(InvalidDicomError, struct.error):
        yield from elements


def is_bulk(element: Element) -> bool:
    """Return whether a value, if there is one, is bulk data.

    The rules are those of the Healthcare API: by VR, pixel data, and by size.
    """
    size = element.end - element.offset
    if element.vr in _ALWAYS_BULK or element.tag in PIXEL_DATA or element.length == UNDEFINED:
        return True
    if element.vr in _LARGE_BULK:
        return size > _MAX_INLINE_BYTES
    return element.vr in _WIDTHS and size > _MAX_INLINE_NUMBERS * _WIDTHS[element.vr]


def _values(vr: str, value: bytes, element: Element, encodings: Sequence[str]) -> list[Any]:
    order = element.encoding.order
    if vr in _NUMBERS:
        usable = value[: len(value) - len(value) % _WIDTHS[vr]]
        return [_finite(number) for (number,) in struct.iter_unpack(order + _NUMBERS[vr], usable)]
    if vr == "AT":
        usable = value[: len(value) - len(value) % 4]
        return [
            f"{group:04X}{number:04X}" for group, number in struct.iter_unpack(order + "HH", usable)
        ]
    if vr == "UI":
        return [to_uid(part) or None for part in value.split(b"\\")]
    text = to_text(value, encodings).rstrip("\0 ")
    if vr in _SINGLE_VALUED:
        return [text or None]
    parts = [part.strip(" \0") for part in text.split("\\")]
    if vr == "PN":
        return [_person_name(part) for part in parts]
    if vr in ("DS", "IS"):
        return [_number(part, int if vr == "IS" else float) for part in parts]
    return [part or None for part in parts]


def _person_name(text: str) -> dict[str, str] | None:
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False))
    return {name: group for name, group in groups.items() if group} or None


def _number(text: str, kind: type[int] | type[float]) -> Any:
    """Return a number where the text is one; PS3.18 F.2.3 lets the text stand in otherwise."""
    try:
        return _finite(kind(text)) if text else None
    except ValueError:
        return text


def _finite(number: float) -> Any:
    """Return a number, or the word that PS3.18 F.2.2 has for what JSON cannot write."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "-INF" if number < 0 else "INF"


def _little_endian(value: bytes, element: Element) -> bytes:
    if not element.encoding.big_endian:
        return value
    width = _LARGE_BULK[element.vr]
    return b"".join(value[at : at + width][::-1] for at in range(0, len(value), width))
