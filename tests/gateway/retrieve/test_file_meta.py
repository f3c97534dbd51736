"""The head of a file, however it comes, and whatever it is."""

from __future__ import annotations

import pytest

from orthanc_gcp.gateway.retrieve import file_meta
from orthanc_gcp.gateway.retrieve.file_meta import FileMeta, NoFileError, split_file
from tests.emulator.client import make_dicom
from tests.gateway.retrieve.scp import EXPLICIT, SECONDARY, data_set_of

FILE = make_dicom(b"\1\2" * 500, SOPInstanceUID="1.2.3")


@pytest.mark.parametrize("size", [1, 7, 133, 400, 10_000])
def test_a_file_in_pieces(size):
    pieces = (FILE[place : place + size] for place in range(0, len(FILE), size))
    meta, data_set = split_file(pieces)
    assert meta == FileMeta(SECONDARY, "1.2.3", EXPLICIT)
    assert b"".join(data_set) == data_set_of(FILE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 1000,
        FILE[:131],
        FILE[:150],
        FILE[:132] + data_set_of(FILE),
        FILE.replace(b"1.2.3", b"1 2.3"),
        FILE.replace(EXPLICIT.encode(), b"1.2.x40.10008.1.2.1"),
        FILE[:132] + b"\2\0\1\0OB\0\0\xff\xff\xff\xff" + FILE[132:],
    ],
    ids=(
        *("nothing", "no preamble", "cut after it", "cut in the meta information"),
        *(
            "no meta information",
            "odd UID",
            "odd transfer syntax",
            "no end of the meta information",
        ),
    ),
)
def test_what_is_none(content):
    with pytest.raises(NoFileError):
        split_file(iter((content,)))


def test_meta_information_that_does_not_end(monkeypatch):
    monkeypatch.setattr(file_meta, "LONGEST", 4096)
    element = b"\2\0\2\1OB\0\0\0\1\0\0" + bytes(256)
    endless = FILE[:132] + element * 100
    with pytest.raises(NoFileError, match="does not end"):
        split_file(iter((endless,)))


def test_an_instance_whose_uid_is_none_is_sent_all_the_same():
    """Google stores it, and finds it."""
    odd = FILE.replace(b"1.2.3\0", b"img_01")
    assert split_file(iter((odd,)))[0].sop_instance == "img_01"
