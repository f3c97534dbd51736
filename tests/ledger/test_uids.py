"""What Google stores is sent, whatever the standard calls it; what no path can name is not."""

from __future__ import annotations

import pytest

from orthanc_gcp.ledger.uids import storable, uid_fault


@pytest.mark.parametrize(
    "uid",
    ["1.2.840", "111", "study_1", "a b", "...", ".1", "x%2Fy?#", "ü", "1" * 500, "\N{SNOWMAN}"],
)
def test_what_can_be_asked_for(uid):
    assert uid_fault(uid, uid, uid) is None
    assert storable(uid) == uid


@pytest.mark.parametrize(
    ("uid", "words"),
    [
        ("", "is empty"),
        (".", "dot-segment"),
        ("..", "dot-segment"),
        ("../1", "slash"),
        ("1/2", "slash"),
        ("1\\2", "slash"),
        ("1\0", "control characters"),
        ("1\n2", "control characters"),
        ("\x7f", "control characters"),
        ("\x85", "control characters"),
        ("1\ud800", "control characters"),
        ("1\u202e2", "control characters"),
    ],
    ids=repr,
)
def test_what_cannot(uid, words):
    for position, name in enumerate(("Study", "Series", "SOP")):
        uids = ["1.2"] * 3
        uids[position] = uid
        fault = uid_fault(*uids)
        assert name in fault
        assert words in fault
        assert fault.isprintable()
        fault.encode()
        # As it stands in the ledger, it still cannot.
        uids[position] = storable(uid)
        assert words in uid_fault(*uids)
