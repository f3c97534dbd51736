"""The last bytes of an instance leave only when all of it has its MD5."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext

import pytest

from orthanc_gcp.custody.transfer.checked import checked
from orthanc_gcp.errors import SourceError
from orthanc_gcp.ledger.rows import Transfer
from orthanc_gcp.ledger.schema import State

ROW = Transfer(
    *(1, "a", "o", "orthanc-id", "1", "1.2", "1.2.3", 6, "", None, State.SENDING, 0),
    *(None, False, 0.0, None, 0),
)
PIECES = [b"ab", b"cd", b"ef"]
MD5, SHA256 = hashlib.md5(b"abcdef").hexdigest(), hashlib.sha256(b"abcdef").hexdigest()


def sent(pieces: list[bytes], md5: str | None) -> tuple[list[bytes], dict[str, str], str]:
    """What leaves, the digests, and what is said against it."""
    left: list[bytes] = []
    digests: dict[str, str] = {}
    try:
        with checked(nullcontext(iter(pieces)), ROW, md5, digests) as read:
            left.extend(read)
    except SourceError as error:
        assert (error.reason, error.sop_instance_uid) == ("damaged_file", "1.2.3")
        return left, digests, str(error)
    return left, digests, ""


@pytest.mark.parametrize("md5", [MD5, None])
def test_what_agrees_leaves_as_it_is(md5):
    assert sent(PIECES, md5) == (PIECES, {"orthanc-id": SHA256}, "")


@pytest.mark.parametrize("pieces", [[b"ab", b"cd", b"eX"], [b"Xb", b"cd", b"ef"], [b"ab", b"cd"]])
def test_of_what_does_not_agree_the_last_piece_stays(pieces):
    left, digests, said = sent(pieces, MD5)
    assert (left, digests) == (pieces[:-1], {})
    assert f"was {MD5} when it was received" in said


def test_a_file_of_one_piece_does_not_leave_at_all():
    assert sent([b"abcdeX"], MD5)[0] == []


def test_an_empty_file():
    assert sent([], hashlib.md5(b"").hexdigest())[0] == []
    assert sent([], MD5)[2] != ""
