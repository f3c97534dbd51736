"""What agrees on an association with a destination: A-ASSOCIATE and its answers (PS3.8 §9.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Accepted", "MalformedPduError", "associate_request", "pdu", "read_accept"]

MOST_CONTEXTS = 128
"""Of one association: their IDs are odd, and a byte (PS3.8 §9.3.2.2)."""
_DICOM = b"1.2.840.10008.3.1.1.1"
_APPLICATION_CONTEXT, _USER_INFORMATION, _MAXIMUM_LENGTH = 0x10, 0x50, 0x51
_PROPOSED, _RESULT, _ABSTRACT, _TRANSFER = 0x20, 0x21, 0x30, 0x40
_CLASS_UID, _VERSION_NAME = 0x52, 0x55
_FIXED = 68
"""Bytes of the fixed part of A-ASSOCIATE-RQ and -AC."""
_ACCEPTANCE = 0


class MalformedPduError(Exception):
    """An answer is none that could be."""


@dataclass(frozen=True)
class Accepted:
    """What a destination has agreed to.

    Attributes
    ----------
    contexts
        The IDs of the presentation contexts that it accepts.
    maximum_length
        Of a PDU's variable field; 0 for any.
    """

    contexts: frozenset[int]
    maximum_length: int


def associate_request(
    called: str,
    calling: str,
    proposed: Sequence[tuple[str, str]],
    maximum_length: int,
    implementation: tuple[str, str],
) -> bytes:
    """An A-ASSOCIATE-RQ PDU.

    Parameters
    ----------
    proposed
        SOP class and transfer syntax of each presentation context; their IDs are 1, 3, 5 and so on.
    implementation
        Implementation Class UID and Implementation Version Name.
    """
    contexts = b"".join(
        _item(
            _PROPOSED,
            bytes([2 * number + 1, 0, 0, 0])
            + _item(_ABSTRACT, sop_class.encode("ascii"))
            + _item(_TRANSFER, transfer_syntax.encode("ascii")),
        )
        for number, (sop_class, transfer_syntax) in enumerate(proposed[:MOST_CONTEXTS])
    )
    user = (
        _item(_MAXIMUM_LENGTH, struct.pack(">L", maximum_length))
        + _item(_CLASS_UID, implementation[0].encode("ascii"))
        + _item(_VERSION_NAME, implementation[1].encode("ascii"))
    )
    aets = b"".join(one.encode("ascii", "replace")[:16].ljust(16) for one in (called, calling))
    fixed = struct.pack(">HH", 1, 0) + aets + bytes(32)
    return pdu(
        1,
        fixed + _item(_APPLICATION_CONTEXT, _DICOM) + contexts + _item(_USER_INFORMATION, user),
    )


def read_accept(content: bytes) -> Accepted:
    """What an A-ASSOCIATE-AC PDU says, without its head of six bytes.

    Raises
    ------
    MalformedPduError
        It is none.
    """
    contexts, longest = set(), 0
    for kind, value in _items(content[_FIXED:]):
        if kind == _RESULT and len(value) >= 4 and value[2] == _ACCEPTANCE:
            contexts.add(value[0])
        elif kind == _USER_INFORMATION:
            for inner, length in _items(value):
                if inner == _MAXIMUM_LENGTH and len(length) == 4:
                    longest = int.from_bytes(length, "big")
    return Accepted(frozenset(contexts), longest)


def pdu(kind: int, content: bytes) -> bytes:
    """A PDU of a type (PS3.8 §9.3.1)."""
    return struct.pack(">BxL", kind, len(content)) + content


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(content):
        if place + 4 > len(content):
            raise MalformedPduError
        kind, length = struct.unpack_from(">BxH", content, place)
        place += 4 + length
        if place > len(content):
            raise MalformedPduError
        yield kind, content[place - length : place]
