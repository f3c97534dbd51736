"""A file on its way from a store into Orthanc: looked at, hashed, and never whole in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from orthanc_gcp.ledger.retrievals.rows import Digests

__all__ = [
    "NoFileError",
    "checked",
    "digests_of",
    "head_of",
    "small",
    "sop_instance_uid",
    "throttled",
]

HEAD = 4096
"""Bytes in which a file says which instance it is (PS3.10 §7.1)."""
_PREAMBLE = 128
_MAGIC = b"DICM"
_SOP_INSTANCE_UID = b"\x02\x00\x03\x00UI"


class NoFileError(Exception):
    """What came is no DICOM file."""


def head_of(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """How a file begins, and all of it."""
    begin, size = list[bytes](), 0
    for piece in pieces:
        begin.append(piece)
        size += len(piece)
        if size >= HEAD:
            break
    return b"".join(one[:HEAD] for one in begin), chain(begin, pieces)


def sop_instance_uid(head: bytes) -> str | None:
    """Which instance a file says that it is, in its meta information; None where it does not.

    Media Storage SOP Instance UID (0002,0003), Explicit VR Little Endian (PS3.10 §7.1).
    """
    place = head.find(_SOP_INSTANCE_UID, _PREAMBLE + len(_MAGIC), HEAD)
    if not is_file(head) or place < 0:
        return None
    begin = place + len(_SOP_INSTANCE_UID) + 2
    length = int.from_bytes(head[begin - 2 : begin], "little")
    value = head[begin : begin + length]
    if len(value) != length:
        return None
    return value.decode("ascii", "replace").strip(" \0") or None


def is_file(head: bytes) -> bool:
    """Whether bytes begin as a DICOM file does.

    Orthanc takes an archive (ZIP) for all files in it.
    """
    return head[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC and not head.startswith(b"PK")


def small(pieces: Iterator[bytes], most: int) -> tuple[bytes | None, Iterator[bytes]]:
    """All of a file of so many bytes at most, None of a larger one; and the same piece by piece."""
    read: list[bytes] = []
    size = 0
    for piece in pieces:
        read.append(piece)
        size += len(piece)
        if size > most:
            return None, chain(read, pieces)
    return b"".join(read), iter(read)


def throttled(
    pieces: Iterator[bytes], throttles: Sequence[Callable[[int], None]]
) -> Iterator[bytes]:
    """The same pieces; each throttle gets the size of each, and may sleep."""
    for piece in pieces:
        for throttle in throttles:
            throttle(len(piece))
        yield piece


def digests_of(file: bytes) -> Digests:
    """Those of a file that is in memory."""
    # MD5 is what Orthanc has of a file (option StoreMD5ForAttachments).
    md5 = hashlib.md5(file, usedforsecurity=False)
    return Digests(len(file), md5.hexdigest(), hashlib.sha256(file).hexdigest())


def checked(pieces: Iterator[bytes], on_digests: Callable[[Digests], None]) -> Iterator[bytes]:
    """The same pieces; the last leaves only when it was said what all of them are.

    Parameters
    ----------
    on_digests
        Gets what they are.

    Raises
    ------
    NoFileError
        They are no DICOM file: all of it is broken off.
    """
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    head, whole = head_of(pieces)
    if not is_file(head):
        raise NoFileError("the store gave something that is no DICOM file")
    size, last = 0, b""
    for piece in whole:
        if last:
            yield last
        md5.update(piece)
        sha256.update(piece)
        size, last = size + len(piece), piece
    on_digests(Digests(size, md5.hexdigest(), sha256.hexdigest()))
    yield last
