"""What is read is digested piece by piece."""

from __future__ import annotations

import hashlib

from orthanc_gcp.custody.verification.digest import Digest, digest_of

MIB = 1 << 20


def test_nothing():
    assert digest_of([]) == Digest(hashlib.sha256().hexdigest(), 0, b"")


def test_the_digest_is_of_all_and_the_head_ends_after_4_mib():
    pieces = [bytes([number]) * (3 * MIB) for number in range(3)]
    found = digest_of(iter(pieces))
    whole = b"".join(pieces)
    assert (found.sha256, found.size_bytes) == (hashlib.sha256(whole).hexdigest(), 9 * MIB)
    assert found.head == whole[: 4 * MIB]
