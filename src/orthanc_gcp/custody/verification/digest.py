"""The SHA-256 of an instance, as it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Digest", "digest_of"]

_HEAD = 4 * 1024 * 1024


@dataclass(frozen=True)
class Digest:
    """What was read.

    Attributes
    ----------
    sha256
        In hexadecimal digits.
    size_bytes
        How many bytes there were.
    head
        The first 4 MiB of them: patient data, not to be stored.
    """

    sha256: str
    size_bytes: int
    head: bytes


def digest_of(pieces: Iterable[bytes]) -> Digest:
    """Read some bytes to their end."""
    digest, size, head = hashlib.sha256(), 0, bytearray()
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if len(head) < _HEAD:
            head += piece[: _HEAD - len(head)]
    return Digest(digest.hexdigest(), size, bytes(head))
