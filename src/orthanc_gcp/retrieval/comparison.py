"""Whether Orthanc has the bytes of an instance that a store has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.ledger.retrievals.rows import Digests, RetrievedRow
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["has_bytes", "has_sha256", "read_digests"]


def read_digests(
    store: DicomStore, row: RetrievedRow, throttles: Sequence[Callable[[int], None]]
) -> Digests:
    """The digests of what the store has.

    Raises
    ------
    StoreError
        It could not be read.
    """
    with store.open(*row.uids) as pieces:
        return _digests(pieces, throttles)


def has_bytes(orthanc: OrthancSource, identifier: str, uid: str, digests: Digests) -> bool:
    """Whether Orthanc's file of an instance has these bytes, by its MD5 where it has one.

    Raises
    ------
    OrthancError
        Orthanc is away, does not have it any more, or refuses.
    """
    md5 = orthanc.checksums.md5s({identifier: uid}).get(identifier)
    if isinstance(md5, str):
        return md5 == digests.md5
    return _of_orthanc(orthanc, identifier) == digests


def has_sha256(orthanc: OrthancSource, identifier: str, sha256: str) -> bool:
    """Whether Orthanc's file of an instance has a SHA-256: all of it is read.

    Raises
    ------
    OrthancError
        Orthanc is away, does not have it any more, or refuses.
    """
    return _of_orthanc(orthanc, identifier).sha256 == sha256


def _of_orthanc(orthanc: OrthancSource, identifier: str) -> Digests:
    with orthanc.read(identifier, "", 0) as pieces:
        digests = _digests(pieces, ())
    if not digests.size_bytes:
        words = "its file is given back empty, as Orthanc 1.10 does with one of 2 GiB or more"
        raise OrthancRefusedError(f"it cannot be compared: {words}")
    return digests


def _digests(pieces: Iterator[bytes], throttles: Sequence[Callable[[int], None]]) -> Digests:
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    for piece in pieces:
        for throttle in throttles:
            throttle(len(piece))
        md5.update(piece)
        sha256.update(piece)
        size += len(piece)
    return Digests(size, md5.hexdigest(), sha256.hexdigest())
