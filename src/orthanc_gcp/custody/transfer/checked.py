"""The bytes of an instance on their way to the store: whether they are those that were received."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from orthanc_gcp.errors import SourceError
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.reasons import SourceReason

__all__ = ["checked"]


@contextmanager
def checked(
    source: AbstractContextManager[Iterator[bytes]],
    transfer: Transfer,
    md5: str | None,
    digests: dict[str, str],
) -> Iterator[Iterator[bytes]]:
    """The same pieces; the last of them only when all together have an MD5.

    Parameters
    ----------
    md5
        That of the bytes that Orthanc received, in hexadecimal digits; None where it has none.
    digests
        Orthanc's identifier -> SHA-256 of what was read, when it was read to its end.

    Raises
    ------
    SourceError
        Before the last piece: their MD5 is another one.
    """
    with source as pieces:
        yield _last_checked(pieces, transfer, md5, digests)


def _last_checked(
    pieces: Iterable[bytes], transfer: Transfer, md5: str | None, digests: dict[str, str]
) -> Iterator[bytes]:
    sha256 = hashlib.sha256()
    found = hashlib.md5(usedforsecurity=False) if md5 is not None else None
    last = b""
    for piece in pieces:
        if last:
            yield last
        sha256.update(piece)
        if found is not None:
            found.update(piece)
        last = piece
    if found is not None and found.hexdigest() != md5:
        raise SourceError(
            f"Orthanc's file is damaged: its MD5 is {found.hexdigest()}, "
            f"and was {md5} when it was received",
            sop_instance_uid=transfer.sop_instance_uid,
            reason=SourceReason.DAMAGED_FILE,
        )
    digests[transfer.orthanc_id] = sha256.hexdigest()
    if last:
        yield last
