"""Whether Orthanc has the bytes of an instance: what it cannot tell is no difference."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext

import pytest

from orthanc_gcp.errors import OrthancRefusedError
from orthanc_gcp.ledger.retrievals.rows import Digests
from orthanc_gcp.retrieval.comparison import has_bytes, has_sha256


def digests(content: bytes) -> Digests:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Digests(len(content), md5, hashlib.sha256(content).hexdigest())


class WithoutChecksums:
    """An Orthanc that has no MD5, and gives back some bytes."""

    def __init__(self, content: bytes) -> None:
        self._content, self.checksums = content, self

    def md5s(self, _instances):
        return {}

    def read(self, _identifier, _uuid, _size):
        return nullcontext(iter([self._content] if self._content else []))


@pytest.mark.parametrize(("there", "same"), [(b"bytes", True), (b"other", False)])
def test_without_an_md5_all_of_it_is_read(there, same):
    orthanc, wanted = WithoutChecksums(there), digests(b"bytes")
    assert has_bytes(orthanc, "a", "1", wanted) is same
    assert has_sha256(orthanc, "a", wanted.sha256) is same


def test_a_file_that_is_given_back_empty_is_not_another():
    """Orthanc 1.10.1 gives back so what is of 2 GiB or more."""
    orthanc, wanted = WithoutChecksums(b""), digests(b"bytes")
    with pytest.raises(OrthancRefusedError, match="cannot be compared"):
        has_bytes(orthanc, "a", "1", wanted)
    with pytest.raises(OrthancRefusedError, match="cannot be compared"):
        has_sha256(orthanc, "a", wanted.sha256)
