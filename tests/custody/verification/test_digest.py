"""What is read is digested piece by piece."""

from __future__ import annotations

import hashlib
import itertools

from orthanc_gcp.custody.verification.digest import Digest, digest_of

MIB = 1 << 20


def test_nothing():
    assert digest_of([], 0) == Digest(hashlib.sha256().hexdigest(), 0, b"")


def test_the_digest_is_of_all_and_no_more_is_kept_than_is_asked_for():
    pieces = [bytes([number]) * (3 * MIB) for number in range(3)]
    whole = b"".join(pieces)
    for head in (0, 2 * MIB, 4 * MIB, 10 * MIB):
        found = digest_of(iter(pieces), 9 * MIB, head)
        assert (found.sha256, found.size_bytes) == (hashlib.sha256(whole).hexdigest(), 9 * MIB)
        assert found.head == whole[:head]
    assert digest_of(iter(pieces), 9 * MIB).head == b""


def test_no_more_is_read_than_shows_that_there_is_more_than_was_expected():
    pieces = itertools.repeat(b"x" * MIB)
    assert digest_of(pieces, 2 * MIB, 4) == Digest(None, 3 * MIB, b"xxxx")
