"""What differs between an instance in Orthanc and the one that the store has under its UIDs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.ledger.ledger import Transfer
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["Difference", "differences", "digest_of"]

_MOST_NAMES = 20
_HEADER = 4 * 1024 * 1024
"""Attributes before the pixel data are compared as far as this many bytes reach."""


@dataclass(frozen=True)
class Difference:
    """A difference in words; attributes are named, their values are patient data and are not."""

    words: str
    NONE: ClassVar[Difference]


Difference.NONE = Difference("")


def digest_of(pieces: Iterator[bytes]) -> tuple[str, int, bytes]:
    """The SHA-256 of some bytes, how many they are, and the first of them."""
    digest, size, head = hashlib.sha256(), 0, bytearray()
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if len(head) < _HEADER:
            head += piece[: _HEADER - len(head)]
    return digest.hexdigest(), size, bytes(head)


def differences(
    store: DicomStore, archive: OrthancSource, transfer: Transfer, digest: str
) -> Difference:
    """Compare the bytes; where they differ, name the attributes that do.

    Raises
    ------
    StoreError, OrthancError
        One of the two could not be read.
    """
    with store.open(
        transfer.study_instance_uid, transfer.series_instance_uid, transfer.sop_instance_uid
    ) as pieces:
        theirs, size, their_head = digest_of(pieces)
    if theirs == digest:
        return Difference.NONE
    with archive.read(transfer.orthanc_id, transfer.attachment_uuid, transfer.size_bytes) as pieces:
        _, _, our_head = digest_of(pieces)
    names = _differing(our_head, their_head)
    what = ", ".join(names) if names else "only pixel data or private encoding"
    return Difference(
        f"the store has other bytes under these UIDs: {size} bytes with SHA-256 {theirs}, "
        f"Orthanc has {transfer.size_bytes} with {digest}; different attributes: {what}"
    )


def _differing(ours: bytes, theirs: bytes) -> list[str]:
    one, other = _attributes(ours), _attributes(theirs)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return names[:_MOST_NAMES] + more


def _attributes(head: bytes) -> dict[str, Any]:
    from pydicom import dcmread  # only a conflict needs it

    try:
        dataset = dcmread(io.BytesIO(head), stop_before_pixels=True, force=True)
        elements = [*getattr(dataset, "file_meta", ()), *dataset]
        return {element.keyword or str(element.tag): repr(element.value) for element in elements}
    except Exception:  # whatever a file holds, that it differs is known already
        return {}
