"""What is given to Orthanc is a file, whole, and known before Orthanc has all of it."""

from __future__ import annotations

import hashlib

import pytest

from orthanc_gcp.ledger.retrievals.rows import Digests
from orthanc_gcp.retrieval.upload import (
    NoFileError,
    checked,
    digests_of,
    head_of,
    small,
    sop_instance_uid,
    throttled,
)
from tests.support.sent import dataset
from tests.support.site import make_instance


def pieces(content, size):
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("size", [1, 100, 4096, 5000, 1 << 20])
def test_the_last_bytes_leave_when_all_of_them_are_known(size):
    file, noted = make_instance(), []
    for piece in checked(pieces(file, size), noted.append):
        left_before = bool(noted)
        last = piece
    assert left_before
    assert file.endswith(last)
    sha256, md5 = hashlib.sha256(file), hashlib.md5(file)
    assert noted == [Digests(len(file), md5.hexdigest(), sha256.hexdigest())]
    assert b"".join(checked(pieces(file, size), noted.append)) == file


@pytest.mark.parametrize(("most", "is_small"), [(99, False), (100, True), (101, True)])
def test_a_small_file_is_read_at_once(most, is_small):
    file, read = bytes(range(100)), []
    content, whole = small(throttled(pieces(file, 7), [read.append, read.append]), most)
    assert content == (file if is_small else None)
    assert b"".join(whole) == file
    assert sum(read) == 200
    assert digests_of(file).md5 == hashlib.md5(file).hexdigest()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"<html>" * 100, b"PK\x03\x04".ljust(128, b"\0") + b"DICM" + b"x" * 99]
)
def test_what_is_no_file_never_leaves(content):
    noted = []
    with pytest.raises(NoFileError):
        list(checked(pieces(content, 50), noted.append))
    assert not noted


def test_a_file_says_which_instance_it_is():
    file = make_instance()
    head, whole = head_of(pieces(file, 100))
    assert sop_instance_uid(head) == str(dataset(file).SOPInstanceUID)
    assert b"".join(whole) == file
    assert head_of(iter(()))[0] == b""


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"x" * 5000,
        b"\0" * 128 + b"DICM" + b"\x02\x00\x03\x00UI\xff\xff1.2",
        b"\0" * 128 + b"DICM" + b"\x02\x00\x03\x00UI\x02\x00\0\0",
        b"\0" * 128 + b"DICM" + b"\x02\x00\x03\x00U",
    ],
)
def test_what_does_not_say_so(head):
    assert sop_instance_uid(head) is None
