"""Answers of several files, taken apart however they are cut on their way."""

from __future__ import annotations

import random

import pytest

from orthanc_gcp.dicomweb import multipart as module
from orthanc_gcp.dicomweb.multipart import MultipartError, boundary_of, split_parts

FILES = [b"one", b"", b"\r\n", b"--b\r\n--", b"x" * 3000 + b"\r\n--bound", b"\r\n\r\n"]


def body(files, boundary=b"bound", head=b"Content-Type: application/dicom\r\n", before=b""):
    parts = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n" + one + b"\r\n" for one in files)
    return before + parts + b"--" + boundary + b"--\r\n"


def split(content, boundary=b"bound", size=1 << 20):
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    return [b"".join(part) for part in split_parts(pieces, boundary)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("before", [b"", b"\r\n", b"a preamble\r\n"])
def test_files_of_all_kinds(size, before):
    files = [one for one in FILES if b"\r\n--bound" not in one]
    assert split(body(files, before=before), size=size) == files


def test_random_files_in_random_pieces():
    chance = random.Random(18)
    for _ in range(50):
        files = [bytes(chance.choices(b"\r\n-bound x", k=chance.randrange(60))) for _ in range(4)]
        files = [one for one in files if b"\r\n--bound" not in b"\r\n" + one]
        assert split(body(files), size=chance.randrange(1, 30)) == files


def test_no_files():
    assert split(b"--bound--\r\n") == []
    assert split(b"--bound--") == []


def test_an_epilogue_is_no_file():
    assert split(body([b"one"]) + b"--bound\r\n\r\ntwo\r\n--bound--") == [b"one"]


def test_a_part_that_is_left_is_skipped():
    parts = split_parts(iter([body([b"x" * 1000, b"two"])]), b"bound")
    next(parts)
    assert b"".join(next(parts)) == b"two"


@pytest.mark.parametrize("end", range(1, 90))
def test_one_that_ends_too_early_is_never_whole(end):
    whole = body([b"one", b"two"])
    with pytest.raises(MultipartError, match="broke off") as raised:
        split(whole[:-end] if end > 4 else whole[: -(4 + end)], size=5)
    assert raised.value.truncated


def test_a_large_file_is_never_in_memory():
    piece, number = b"x" * 1_000_000, 50

    def pieces():
        yield b"--bound\r\n\r\n"
        for _ in range(number):
            yield piece
        yield b"\r\n--bound--"

    (sizes,) = ([len(one) for one in part] for part in split_parts(pieces(), b"bound"))
    assert sum(sizes) == number * len(piece)
    assert max(sizes) <= len(piece) + 16


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"--bound\r\nContent-Type: text/html\r\n\r\n<p>\r\n--bound--", "text/html came"),
        (b"--boundary\r\n\r\nx\r\n--bound--", "boundary of its own"),
        (b"--bound\r\n" + b"a: b\r\n" * 9000 + b"\r\n\r\n--bound--", "does not end"),
        (b"--bound\r\n" + b"a" * 50_000 + b"\r\n\r\n--bound--", "does not end"),
        (b"x" * 100_000 + b"\r\n--bound\r\n\r\n\r\n--bound--", "do not begin"),
    ],
)
def test_what_is_no_such_answer(content, words):
    with pytest.raises(MultipartError, match=words):
        split(content, size=1000)
    assert module.LONGEST_HEAD < 50_000


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/related; boundary=a-b",
        'multipart/related; type="application/dicom"; boundary="a-b"',
        'Multipart/Related; type="application/dicom"; Boundary=a-b;',
        "multipart/related;boundary=a-b;type=application/dicom; transfer-syntax=*",
    ],
)
def test_a_boundary(kind):
    assert boundary_of({"Content-Type": kind}) == b"a-b"


@pytest.mark.parametrize(
    "boundary",
    ["ya29.a0-looks-like-a-token", "1//0looks-like-one", "a  b", "x" * 70, "'()+_,-./:=?"],
)
def test_a_boundary_is_taken_as_it_is(boundary):
    """Nothing that only makes a text fit to be shown is done to it."""
    long = ",".join(["1.2.840.10008.1.2.1"] * 30)
    kind = f'multipart/related; transfer-syntax="{long}"; boundary="{boundary}"'
    assert boundary_of({"Content-Type": kind}) == boundary.encode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "multipart/related; boundary=ä"},
        {"Content-Type": "multipart/related; boundary=a\r\nX: y"},
        {"Content-Type": "application/dicom"},
        {"Content-Type": "multipart/related"},
        {"Content-Type": "multipart/related; boundary="},
        {"Content-Type": f"multipart/related; boundary={'x' * 71}"},
        {"Content-Type": 'multipart/related; boundary="a b "'},
        {"Content-Type": "multipart/related; boundary*=utf-8''%E4"},
        {"Content-Type": "multipart/related; boundary=a", "Content-Encoding": "gzip"},
        {"Content-Type": "multipart/form-data; boundary=a"},
    ],
    ids=str,
)
def test_no_boundary(headers):
    with pytest.raises(MultipartError):
        boundary_of(headers)
