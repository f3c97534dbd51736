"""The UIDs of a file, against those that Orthanc knows it by."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from orthanc_gcp.custody.transfer.own_uids import uid_difference
from orthanc_gcp.ledger.rows import Transfer
from tests.support.site import make_instance

TAGS = {"study": (0x20, 0x0D), "series": (0x20, 0x0E), "instance": (0x08, 0x18)}
UIDS = {"study": "1.2.1", "series": "1.2.2", "instance": "1.2.3"}
ROW = Transfer(
    *(1, "a", "o", "r", *UIDS.values(), 4, "f", None),
    *("sending", 1, None, False, 0.0, None, 0),
)


def with_uid(level: str, value: bytes) -> bytes:
    """An instance with a UID as it stands in the file."""
    content = make_instance(*UIDS.values())
    head = struct.pack("<HH", *TAGS[level]) + b"UI"
    place = content.index(head) + len(head)
    (length,) = struct.unpack_from("<H", content, place)
    value += b"\0" * (len(value) % 2)
    rest = content[place + 2 + length :]
    return content[:place] + struct.pack("<H", len(value)) + value + rest


@pytest.mark.parametrize("level", UIDS)
@pytest.mark.parametrize("pad", [b"%b", b"%b\0", b"%b\0\0\0", b" %b", b"%b   "])
def test_padding_makes_no_other_uid(level, pad):
    content = with_uid(level, pad % UIDS[level].encode())
    assert uid_difference(ROW, [content]) is None


@pytest.mark.parametrize("level", UIDS)
@pytest.mark.parametrize("inside", [b"1.2 .9", b"1.2\t9", b"1.2\x009", b"1.2\\3", b"1.2\xe9"])
def test_what_orthanc_drops_makes_another_one(level, inside):
    content = with_uid(level, inside)
    difference = uid_difference(ROW, [content[:200], content[200:]])
    assert f"which Orthanc knows as '{UIDS[level]}'" in difference
    assert difference.isprintable()


def test_what_is_no_dicom_says_nothing_of_uids():
    assert uid_difference(ROW, [b"<html>" * 100]) is None
    assert uid_difference(ROW, []) is None


def test_a_long_file_is_not_read_to_its_end():
    def pieces():
        yield make_instance(*UIDS.values())[:-100] + b"x" * (1 << 20)
        pytest.fail("it was asked for more")

    other = replace(ROW, sop_instance_uid="1.2.33")
    assert "SOP Instance UID '1.2.3'" in uid_difference(other, pieces())
