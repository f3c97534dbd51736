"""How a DICOM file begins: its meta information, apart from its data set (PS3.10 §7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FileMeta", "NoFileError", "split_file"]

LONGEST = 256 * 1024
"""Bytes of meta information that are read, private ones among them."""
_PREAMBLE, _MAGIC = 128, b"DICM"
_LONG = frozenset({b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"OD", b"OL", b"OV", b"UC", b"UR"})
"""Value representations whose length has four bytes (PS3.5 §7.1.2)."""
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = b"\2\0\2\0", b"\2\0\3\0", b"\2\0\x10\0"
_UID = re.compile("[0-9.]{1,64}")
_INSTANCE = re.compile("[!-~]{1,64}")
"""Google stores instances whose UID PS3.5 §9.1 would not call one."""


class NoFileError(Exception):
    """What came is no DICOM file."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What a file says that it is."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str


def split_file(pieces: Iterator[bytes]) -> tuple[FileMeta, Iterator[bytes]]:
    """What a file is, and the bytes of its data set as they are.

    Raises
    ------
    NoFileError
        It is none, or does not say what it is.
    """
    head = _Head(pieces)
    if head.take(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] != _MAGIC:
        raise NoFileError("it is no DICOM file")
    values: dict[bytes, str] = {}
    while head.peek(2) == b"\2\0":
        tag, kind, length = (begin := head.take(8))[:4], begin[4:6], begin[6:]
        if kind in _LONG:
            length = head.take(4)
        values[tag] = head.take(int.from_bytes(length, "little")).decode("latin-1").strip(" \0")
    found = [values.get(one, "") for one in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX)]
    kinds = (_UID, _INSTANCE, _UID)
    if not all(kind.fullmatch(one) for kind, one in zip(kinds, found, strict=True)):
        raise NoFileError("its meta information does not say what it is")
    return FileMeta(*found), head.rest()


class _Head:
    """Reads from the first pieces of a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._data, self._place = pieces, b"", 0

    def take(self, length: int) -> bytes:
        """So many bytes."""
        found = self.peek(length)
        if len(found) < length:
            raise NoFileError("it ends in its meta information")
        self._place += length
        return found

    def peek(self, length: int) -> bytes:
        """So many bytes, or what there is, to be read again."""
        if self._place + length > LONGEST:
            raise NoFileError("its meta information does not end")
        while len(self._data) < self._place + length:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._data += piece
        return self._data[self._place : self._place + length]

    def rest(self) -> Iterator[bytes]:
        """What has not been taken."""
        begin, self._data = self._data[self._place :], b""
        if begin:
            yield begin
        yield from self._pieces
