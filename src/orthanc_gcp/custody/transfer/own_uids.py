"""Whether an instance is in its file by the UIDs that Orthanc knows it by.

Orthanc drops blanks and control characters inside a UID, and a store may take the file at its word:
it answers with UIDs then that nobody has asked for (DICOM PS3.5 §9.1 allows digits and dots only).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.ledger.uids import shown

__all__ = ["uid_difference"]

_HEAD = 1024 * 1024
_PADDING = b" \0"
_TAGS = {
    "Study Instance UID": 0x0020000D,
    "Series Instance UID": 0x0020000E,
    "SOP Instance UID": 0x00080018,
}


def uid_difference(row: Transfer, pieces: Iterable[bytes]) -> str | None:
    """The first UID that its file has otherwise than Orthanc, in words; None for none.

    Parameters
    ----------
    pieces
        The bytes of the file; what follows the first mebibyte is not asked for.
    """
    own = _uids(_head(pieces))
    for (name, tag), known in zip(_TAGS.items(), row.uids, strict=True):
        if tag in own and own[tag] != known:
            return (
                f"its file has the {name} {shown(own[tag])}, which Orthanc knows as "
                f"{shown(known)}: a store has it, if at all, by the one of the file"
            )
    return None


def _head(pieces: Iterable[bytes]) -> bytes:
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) >= _HEAD:
            break
    return bytes(head[:_HEAD])


def _uids(head: bytes) -> dict[int, str]:
    """Those that a file has, by their tags, as far as it can be read."""
    from pydicom import dcmread  # only an instance that is not found by its UIDs needs it

    tags = list(_TAGS.values())
    try:
        dataset = dcmread(io.BytesIO(head), stop_before_pixels=True, force=True, specific_tags=tags)
        return {tag: _text(dataset.get_item(tag)) for tag in tags if tag in dataset}
    except Exception:  # whatever a file holds
        return {}


def _text(element: Any) -> str:
    value = getattr(element, "value", None)
    raw = value if isinstance(value, bytes) else str(value or "").encode("latin-1", "replace")
    return raw.strip(_PADDING).decode("latin-1")
