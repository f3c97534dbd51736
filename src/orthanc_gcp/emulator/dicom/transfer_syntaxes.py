"""The transfer syntaxes that retrieval knows, and which it can make from which.

Sources: DICOM conformance statement of the Healthcare API, WADO-RS; UIDs in DICOM PS3.6 annex A.
"""

from __future__ import annotations

from collections.abc import Iterable

from orthanc_gcp.emulator.dicom.reader import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)

__all__ = [
    "AS_STORED",
    "DECODABLE",
    "DEFAULT",
    "DEFLATED_FRAMES",
    "ENCODABLE",
    "FRAME_TYPES",
    "JPEG",
    "JPEG_2000",
    "JPEG_EXTENDED",
    "KNOWN",
    "NATIVE",
    "RLE",
    "can_convert",
    "can_decode",
    "needs_no_codec",
]

AS_STORED = "*"
DEFAULT = EXPLICIT_LITTLE
_PREFIX = "1.2.840.10008.1.2."
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED})
"""Pixels are not compressed in these (PS3.5 annex A)."""
_WRITABLE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED})
JPEG = _PREFIX + "4.50"
JPEG_EXTENDED = _PREFIX + "4.51"
JPEG_2000 = _PREFIX + "4.91"
RLE = _PREFIX + "5"
DEFLATED_FRAMES = _PREFIX + "8.1"
ENCODABLE = (JPEG, _PREFIX + "4.90", JPEG_2000, RLE, DEFLATED_FRAMES)
"""What an image can be compressed to; of each media type, the first is its default."""

DECODABLE = frozenset(
    _PREFIX + suffix
    for suffix in (
        *("4.50", "4.51", "4.57", "4.70"),  # JPEG
        *("4.80", "4.81"),  # JPEG-LS
        *("4.90", "4.91"),  # JPEG 2000
        *("4.201", "4.202", "4.203"),  # HTJ2K
        "5",  # RLE
        "8.1",  # Deflated Image Frame Compression
    )
)
"""What an image can be decoded from."""

KNOWN = frozenset(
    {AS_STORED, IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED}
    | DECODABLE
    | {_PREFIX + suffix for suffix in ("4.110", "4.111", "4.112")}
)
"""What a client may ask for; not everything can be made from everything."""

FRAME_TYPES = {
    _PREFIX + suffix: media_type
    for media_type, suffixes in {
        "image/jpeg": ("4.50", "4.51", "4.57", "4.70"),
        "image/jls": ("4.80", "4.81"),
        "image/jp2": ("4.90", "4.91"),
        "image/jphc": ("4.201", "4.202", "4.203"),
        "image/jxl": ("4.110", "4.112"),
        "image/dicom-rle": ("5",),
        "application/x-deflate": ("8.1",),
    }.items()
    for suffix in suffixes
}
"""The media type of a compressed frame by its transfer syntax."""


def can_convert(stored: Iterable[str], wanted: str) -> bool:
    """Return whether instances stored in some transfer syntaxes can be had in the wanted one."""
    can_make = wanted in _WRITABLE or wanted in ENCODABLE
    return all(
        wanted in (AS_STORED, source) or (can_make and can_decode(source)) for source in stored
    )


def can_decode(stored: str) -> bool:
    """Return whether the pixels of an instance can be had."""
    return stored in NATIVE or stored in DECODABLE


def needs_no_codec(stored: str, wanted: str) -> bool:
    """Return whether frames lie in the file as they are wanted."""
    return wanted == stored or (wanted == DEFAULT and stored in (IMPLICIT_LITTLE, EXPLICIT_LITTLE))
