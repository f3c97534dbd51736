"""The SHA-256 of an instance, as it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Digest", "digest_of"]


@dataclass(frozen=True)
class Digest:
    """What was read.

    Attributes
    ----------
    sha256
        In hexadecimal digits; None where more came than was expected, and the rest was not read.
    size_bytes
        How many bytes there were; then, how many came until that was seen.
    head
        The first of them, as many as were asked for: patient data, not to be stored.
    """

    sha256: str | None
    size_bytes: int
    head: bytes


def digest_of(pieces: Iterable[bytes], most: int, head: int = 0) -> Digest:
    """Read some bytes to their end, or until it is known that they are others.

    Parameters
    ----------
    most
        So many bytes are expected at most: a store may send them without end.
    head
        How many of the first are kept.
    """
    digest, size, first = hashlib.sha256(), 0, bytearray()
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if len(first) < head:
            first += piece[: head - len(first)]
        if size > most:
            return Digest(None, size, bytes(first))
    return Digest(digest.hexdigest(), size, bytes(first))
