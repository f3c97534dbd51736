"""Reads the structure of DICOM files without reading their bulk.

Only the heads of elements are read until a value is asked for, so that the header of a file of any
size costs about as much as that of a small one, in time and in memory. No element is validated:
a store takes what it is given (DICOM conformance statement of the Healthcare API).

Sources: DICOM PS3.5 section 7 (data set, with sequences in 7.5) and annex A (transfer syntaxes);
PS3.10 section 7 (file format, with the preamble and the meta information in 7.1).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

from pydicom.datadict import dictionary_VR

from orthanc_gcp.emulator.system.files import read_at

__all__ = [
    "DEFLATED",
    "EXPLICIT_BIG",
    "EXPLICIT_LITTLE",
    "IMPLICIT_LITTLE",
    "MAX_INFLATED",
    "PIXEL_DATA",
    "PIXEL_GROUP",
    "UNDEFINED",
    "BytesSource",
    "DataSet",
    "DicomFile",
    "Element",
    "Encoding",
    "FileSource",
    "InvalidDicomError",
    "known_vr",
]

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
PIXEL_GROUP = 0x7FE00000
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 32
MAX_ELEMENTS = 1_000_000
BYTES_PER_ELEMENT = 32
"""How many elements are looked at: so many, and one more for so many bytes of a file. A slide of
100,000 tiles describes each by ten, and has kilobytes of pixels for it.
"""
MAX_INFLATED = 64 * 1024 * 1024

_ITEM = 0xFFFEE000
_ENDS = frozenset({0xFFFEE00D, 0xFFFEE0DD})
"""The tags that delimit items and sequences."""
_SHORT_VRS = {
    vr.encode(): vr
    for vr in "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905
}
"""The VRs whose length takes two bytes."""

_HEADS = {order: struct.Struct(f"{order}HH2sH") for order in "<>"}
"""By byte order, what an element begins with: tag, VR and length, if that takes two bytes."""

_WINDOW = 64 * 1024


class InvalidDicomError(ValueError):
    """The bytes are not a DICOM file, or lack what a store needs."""


class Source(Protocol):
    """Random access to bytes."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


class FileSource:
    """Bytes of an open file, read through a window, without its position."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._start = 0
        self._window = read_at(descriptor, _WINDOW, 0)

    def read(self, offset: int, length: int) -> bytes:
        at = offset - self._start
        if at < 0 or at + length > len(self._window):
            if length > _WINDOW:
                return read_at(self._descriptor, length, offset)
            self._start, at = offset, 0
            self._window = read_at(self._descriptor, _WINDOW, offset)
        return self._window[at : at + length]


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class Encoding(NamedTuple):
    """How a data set is written; ``order`` is its byte order as :mod:`struct` has it."""

    implicit: bool
    order: str

    @property
    def big_endian(self) -> bool:
        return self.order == ">"


class Element(NamedTuple):
    """Where a data element lies: its value from ``offset``, the next element at ``end``."""

    tag: int
    vr: str
    offset: int
    length: int
    end: int
    encoding: Encoding


class Item(NamedTuple):
    """An item of a sequence: its elements from ``offset`` to ``end``, the next item at ``next``."""

    offset: int
    end: int
    next: int


_EXPLICIT = Encoding(implicit=False, order="<")
_IMPLICIT = Encoding(implicit=True, order="<")


class DataSet:
    """The elements of a data set that lie in a source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._budget = MAX_ELEMENTS + source.size // BYTES_PER_ELEMENT

    def value(self, element: Element) -> bytes:
        """Return the bytes of an element's value."""
        return self.source.read(element.offset, element.end - element.offset)

    def walk(
        self, at: int, end: int, encoding: Encoding, *, stop: int = 0xFFFFFFFF, depth: int = 0
    ) -> Iterator[Element]:
        """Yield the elements from ``at`` to ``end`` whose tags are below ``stop``.

        Raises :class:`InvalidDicomError`, or :class:`struct.error` where the bytes are cut off.
        """
        while at + 8 <= end:
            element = self._element(at, end, encoding, stop, depth)
            if element is None:
                return
            yield element
            at = element.end

    def items(self, element: Element, depth: int = 0) -> Iterator[Item]:
        """Yield the items of a sequence; raise as :meth:`walk` does."""
        end = self.source.size if element.length == UNDEFINED else element.end
        return self._items(element.offset, end, element.encoding, depth)

    def _element(
        self, at: int, end: int, encoding: Encoding, stop: int, depth: int
    ) -> Element | None:
        self._budget -= 1
        if self._budget < 0:
            raise InvalidDicomError("there are too many data elements")
        head = self.source.read(at, 12)
        group, number, code, length = _HEADS[encoding.order].unpack_from(head)
        tag = group << 16 | number
        if tag >= stop or tag in _ENDS:
            return None
        vr, offset = None if encoding.implicit else _SHORT_VRS.get(code), at + 8
        if vr is None:
            vr, length, offset = _long_head(tag, head, at, encoding)
        elif offset + length <= end:
            return Element(tag, vr, offset, length, offset + length, encoding)
        if length == UNDEFINED:
            return self._undefined(tag, vr, offset, end, encoding, depth)
        if offset + length > end and tag < PIXEL_GROUP:
            raise InvalidDicomError(f"element {tag:08X} reaches beyond the end of the data")
        if vr == "UN":
            # PS3.5 section 6.2.2: a value passed on as UN is in implicit VR little endian.
            vr, encoding = known_vr(tag), _IMPLICIT
        # A store keeps files whose pixel data is cut off: it does not read so far.
        return Element(tag, vr, offset, length, min(offset + length, end), encoding)

    def _undefined(
        self, tag: int, vr: str, offset: int, end: int, encoding: Encoding, depth: int
    ) -> Element:
        if vr == "UN":
            # PS3.5 section 6.2.2: an unknown VR of undefined length is an implicit VR sequence.
            vr, encoding = "SQ", _IMPLICIT
        if vr == "SQ":
            last = offset
            for item in self._items(offset, end, encoding, depth):
                last = item.next
        else:
            last = self._skip_fragments(offset, end, encoding)
        # Eight bytes of the sequence delimitation item follow.
        return Element(tag, vr, offset, UNDEFINED, min(last + 8, end), encoding)

    def _items(self, at: int, end: int, encoding: Encoding, depth: int) -> Iterator[Item]:
        if depth > MAX_DEPTH:
            raise InvalidDicomError("sequences are nested too deeply")
        while at + 8 <= end:
            tag, length = self._item_head(at, encoding)
            if tag != _ITEM:
                return
            start = at + 8
            if length == UNDEFINED:
                stop = start
                for element in self.walk(start, end, encoding, depth=depth + 1):
                    stop = element.end
                item = Item(start, stop, stop + 8)
            else:
                item = Item(start, start + length, start + length)
            if item.next > end:
                raise InvalidDicomError("an item reaches beyond the end of its sequence")
            yield item
            at = item.next

    def _skip_fragments(self, at: int, end: int, encoding: Encoding) -> int:
        while at + 8 <= end:
            tag, length = self._item_head(at, encoding)
            if tag != _ITEM or length == UNDEFINED:
                return at
            at += 8 + length
        return end

    def _item_head(self, at: int, encoding: Encoding) -> tuple[int, int]:
        group, number, length = struct.unpack(encoding.order + "HHL", self.source.read(at, 8))
        return group << 16 | number, length


class DicomFile(DataSet):
    """A DICOM file: its meta information and where the elements of its data set lie.

    Of a deflated data set there are the first 64 MiB. ``start`` is where the data set begins in the
    file, deflated or not.

    Raises :class:`InvalidDicomError` when it has no prefix ``DICM``, no transfer syntax, or cannot
    be inflated.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        if source.read(128, 4) != b"DICM":
            raise InvalidDicomError("the DICM prefix of a DICOM file is missing")
        self.meta = DataSet(source)
        self.meta_elements = list(self.meta.walk(132, source.size, _EXPLICIT, stop=0x00030000))
        self.transfer_syntax = self._transfer_syntax()
        self.start = at = self.meta_elements[-1].end
        if self.transfer_syntax == DEFLATED:
            self.source = BytesSource(_inflate(source, self.start))
            at = 0
        self._first = at
        self.encoding = Encoding(
            implicit=self._is_implicit(),
            order=">" if self.transfer_syntax == EXPLICIT_BIG else "<",
        )

    def elements(self, *, stop: int = 0xFFFFFFFF) -> Iterator[Element]:
        """Yield the elements of the data set whose tags are below ``stop``."""
        return self.walk(self._first, self.source.size, self.encoding, stop=stop)

    def _is_implicit(self) -> bool:
        """Return whether the first element is in implicit VR, whatever the transfer syntax says.

        Some writers give another one than the data set is in; pydicom and others take it all the
        same. A length that looks like a VR would be more than 16 KiB.
        """
        vr = self.source.read(self._first, 6)[4:]
        return not (vr.isalpha() and vr.isupper()) if vr else False

    def _transfer_syntax(self) -> str:
        for element in self.meta_elements:
            if element.tag == 0x00020010:
                value = self.meta.value(element).rstrip(b"\0 ").decode("ascii", "replace")
                if value:
                    return value
        raise InvalidDicomError("TransferSyntaxUID is missing")


def _long_head(tag: int, head: bytes, at: int, encoding: Encoding) -> tuple[str, int, int]:
    """Return VR, a length of four bytes, and the offset of the value, given an element's head."""
    code = head[4:6]
    if not encoding.implicit and code.isalpha() and code.isupper():
        if len(head) < 12:
            raise InvalidDicomError(f"element {tag:08X} is cut off")
        (length,) = struct.unpack_from(encoding.order + "L", head, 8)
        return code.decode("ascii"), length, at + 12
    # Some writers fall back to implicit VR inside of an explicit VR data set.
    (length,) = struct.unpack_from(encoding.order + "L", head, 4)
    return known_vr(tag), length, at + 8


@lru_cache(maxsize=8192)
def known_vr(tag: int) -> str:
    """Return the VR of PS3.6 for a tag, the more likely one where it depends, ``UN`` if unknown."""
    if not tag & 0xFFFF:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    if "OW" in vr:
        return "OW"
    return vr[:2]


def _inflate(source: Source, start: int) -> bytes:
    stream, inflated = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    try:
        while not stream.eof and len(inflated) < MAX_INFLATED:
            deflated = stream.unconsumed_tail or source.read(start, _WINDOW)
            if not deflated:
                break
            start += 0 if stream.unconsumed_tail else len(deflated)
            inflated += stream.decompress(deflated, MAX_INFLATED - len(inflated))
    except zlib.error as error:
        raise InvalidDicomError("the deflated data set cannot be inflated") from error
    return bytes(inflated)
