"""The streaming reader of multipart bodies, whatever pieces they come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.emulator.http.multipart import (
    MultipartError,
    MultipartReader,
    PartData,
    PartEnd,
    PartStart,
)

BOUNDARY = "0f3c"


def read(pieces: list[bytes], boundary: str = BOUNDARY) -> list[tuple[dict[str, str], bytes]]:
    reader = MultipartReader(boundary)
    parts: list[tuple[dict[str, str], bytes]] = []
    content = b""
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, PartStart):
                parts.append((event.headers, b""))
                content = b""
            elif isinstance(event, PartData):
                content += event.data
            elif isinstance(event, PartEnd):
                parts[-1] = (parts[-1][0], content)
    reader.close()
    return parts


def body(*contents: bytes, headers: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    head = b"--0f3c\r\n" + headers + b"\r\n"
    return b"".join(head + content + b"\r\n" for content in contents) + b"--0f3c--"


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


HEADERS = {"content-type": "application/dicom"}
# Letters of the delimiter make near misses likely.
contents = st.lists(st.binary(max_size=40) | st.text("\r\n-0f3c", max_size=40).map(str.encode))


@given(contents, st.integers(1, 60))
def test_any_content_in_any_pieces(parts: list[bytes], size: int) -> None:
    harmless = [part for part in parts if b"\r\n--0f3c" not in b"\r\n" + part]
    data = body(*harmless) if harmless else b"--0f3c--"
    assert read(cut(data, size)) == [(HEADERS, part) for part in harmless]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_clients_add(size: int) -> None:
    data = b"a preamble\r\n" + body(b"x", b"").replace(b"--0f3c\r\n", b"--0f3c \t\r\n") + b"\r\nbye"
    assert read(cut(data, size)) == [(HEADERS, b"x"), (HEADERS, b"")]


@pytest.mark.parametrize("size", [1, 1000])
def test_parts_without_headers(size: int) -> None:
    assert read(cut(body(b"x", headers=b""), size)) == [({}, b"x")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"--",
        b"nothing",
        b"--0f3c",
        b"--0f3c\r\n",
        b"--0f3c\r\n\r\nx",
        b"--0f3c\r\n\r\nx\r\n--0f3",
        b"--0f3cx\r\n\r\nx\r\n--0f3c--",
        b"--0f3c-x\r\n\r\nx\r\n--0f3c--",
        b"--0f3c\r\nno colon\r\n\r\nx\r\n--0f3c--",
        b"--0f3c" + b" " * 1000 + b"\r\n\r\nx\r\n--0f3c--",
        b"--0f3c\r\nA: " + b"a" * 20_000 + b"\r\n\r\nx\r\n--0f3c--",
        b"--0f3c\r\nA: " + b"a" * 20_000,
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_malformed_bodies(data: bytes, size: int) -> None:
    with pytest.raises(MultipartError):
        read(cut(data, size))


@pytest.mark.parametrize("boundary", ["", "é", "a" * 300])
def test_boundaries_that_cannot_be(boundary: str) -> None:
    with pytest.raises(MultipartError):
        MultipartReader(boundary)


@given(st.lists(st.binary(max_size=50) | st.sampled_from([b"--0f3c", b"\r\n", b"--", b":"])))
def test_garbage_is_read_or_refused(pieces: list[bytes]) -> None:
    try:
        read(pieces)
    except MultipartError:
        return
