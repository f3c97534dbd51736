"""C-STORE as it goes over the wire: a command, and a data set as it lies in a file (PS3.7 §9.3.1).

pynetdicom would read each data set, and encode it anew. Here, the bytes behind the meta information
of a file become fragments of P-DATA-TF PDUs (PS3.8 §9.3.5), several PDUs in one write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from orthanc_gcp.gateway.retrieve.file_meta import FileMeta

__all__ = ["Originator", "StoreResponse", "command", "elements", "read_response", "writes"]

WRITE = 256 * 1024
"""Bytes of PDUs that are sent by one write, at least where there are so many."""
LARGEST_PDU = 128 * 1024
"""Of one that is sent to a peer that names no limit."""
_SMALLEST_PDU = 64
_PDV = struct.Struct(">BxLLBB")
"""Head of a P-DATA-TF PDU with one presentation data value."""
_PDV_LENGTH = 6
_DATA, _COMMAND, _LAST = 0, 1, 2
_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_MEDIUM = 0


@dataclass(frozen=True)
class Originator:
    """The C-MOVE that a C-STORE is part of: who has asked, by which message (PS3.7 §9.3.1.1)."""

    aet: str
    message_id: int


@dataclass(frozen=True)
class StoreResponse:
    """What became of a C-STORE: its status (PS3.4 §B.2.3), and what is said to it."""

    message_id: int
    status: int
    comment: str = ""


def command(message_id: int, meta: FileMeta, originator: Originator | None) -> bytes:
    """The command set of a C-STORE request, in Implicit VR Little Endian (PS3.7 §9.3.1.1)."""
    values = [
        (0x0002, _even(meta.sop_class, b"\0")),
        (0x0100, struct.pack("<H", _C_STORE_RQ)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0700, struct.pack("<H", _MEDIUM)),
        (0x0800, struct.pack("<H", 0x0001)),  # there is a data set
        (0x1000, _even(meta.sop_instance, b"\0")),
    ]
    if originator is not None:
        values += [
            (0x1030, _even(originator.aet, b" ")),
            (0x1031, struct.pack("<H", originator.message_id)),
        ]
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in values)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def writes(
    context: int, command_set: bytes, data_set: Iterator[bytes], longest: int
) -> Iterator[bytes]:
    """A message in PDUs, so many at a time as go by one write.

    Parameters
    ----------
    context
        The ID of the presentation context.
    longest
        Of a PDU's variable field, as the peer has said (PS3.8 §D.1); 0 for any.
    """
    size = max(_SMALLEST_PDU, min(longest or LARGEST_PDU, LARGEST_PDU)) - _PDV_LENGTH & ~1
    parts, waiting = list[bytes | memoryview](), 0
    for kind, data in ((_COMMAND, iter((command_set,))), (_DATA, data_set)):
        for fragment, is_last in _fragments(data, size):
            length = len(fragment)
            flags = kind | (_LAST if is_last else 0)
            parts += (_PDV.pack(4, length + _PDV_LENGTH, length + 2, context, flags), fragment)
            waiting += length
            if waiting >= WRITE:
                yield b"".join(parts)
                parts, waiting = [], 0
    if parts:
        yield b"".join(parts)


def read_response(command_set: bytes) -> StoreResponse | None:
    """What a command set says of a C-STORE; None for what is no response to one."""
    values = elements(command_set)
    numbers = [_number(values.get(tag)) for tag in (0x0100, 0x0120, 0x0900)]
    if numbers[0] != _C_STORE_RSP or numbers[1] is None or numbers[2] is None:
        return None
    comment = values.get(0x0902, b"").decode("latin-1").strip(" \0")
    return StoreResponse(numbers[1], numbers[2], comment)


def elements(command_set: bytes) -> dict[int, bytes]:
    """The values of a command set by element number; what is no command set has none."""
    found: dict[int, bytes] = {}
    place = 0
    while place + 8 <= len(command_set):
        group, element, length = struct.unpack_from("<HHL", command_set, place)
        place += 8 + length
        if group or place > len(command_set):
            return {}
        found[element] = command_set[place - length : place]
    return found


def _fragments(pieces: Iterator[bytes], size: int) -> Iterator[tuple[memoryview, bool]]:
    """What comes in fragments of a size, and whether one is the last; there is at least one."""
    left = b""
    for piece in pieces:
        data = left + piece if left else piece
        view, whole = memoryview(data), max(0, len(data) - 1) // size * size
        for place in range(0, whole, size):
            yield view[place : place + size], False
        left = data[whole:]
    yield memoryview(left), True


def _even(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)


def _number(value: bytes | None) -> int | None:
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None
