"""Files with whatever bytes a test wants: no library that writes DICOM lets them through."""

from __future__ import annotations

import struct

EXPLICIT = b"1.2.840.10008.1.2.1"


def element(tag: int, vr: str, value: bytes, padding: bytes = b"\0") -> bytes:
    """Return a data element in Explicit VR Little Endian, of a VR whose length takes two bytes."""
    value += padding * (len(value) % 2)
    head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value))
    return head + value


def bulk(tag: int, value: bytes) -> bytes:
    """Return a data element with bytes."""
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"OB", 0, len(value)) + value


def raw_file(
    study: bytes = b"1.2",
    series: bytes = b"1.2.3",
    instance: bytes = b"1.2.3.4",
    *,
    sop_class: bytes = b"1.2.840.10008.5.1.4.1.1.7",
    transfer_syntax: bytes = EXPLICIT,
    padding: bytes = b"\0",
) -> bytes:
    """Return a DICOM file with these values as they are; an empty one is left empty."""
    return (
        bytes(128)
        + b"DICM"
        + element(0x00020010, "UI", transfer_syntax)
        + element(0x00080016, "UI", sop_class, padding)
        + element(0x00080018, "UI", instance, padding)
        + element(0x00100010, "PN", b"Doe^John", b" ")
        + element(0x0020000D, "UI", study, padding)
        + element(0x0020000E, "UI", series, padding)
        + bulk(0x7FE00010, b"\1\2\3\4")
    )
