"""Streams that announce more than the data set around them: no codec is given them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from pydicom.encaps import generate_frames

from orthanc_gcp.emulator.dicom.code_streams import (
    CodeStreamError,
    Extents,
    announced,
    longest_rle,
)
from tests.emulator.client import Client, read
from tests.emulator.dicom.imaging import MAX_MEMORY, compressed, peak_of_imaging, with_stream
from tests.emulator.frames import put

_PREFIX = "1.2.840.10008.1.2."
JPEG, JPEG_LS, JPEG_2000, HTJ2K = (_PREFIX + end for end in ("4.50", "4.80", "4.90", "4.201"))
Change = Callable[[bytes], bytes]


def stream_of(suffix: str) -> bytes:
    dataset = read(compressed(suffix)[0])
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def huge_jpeg(stream: bytes) -> bytes:
    """Return a JPEG or JPEG-LS stream that announces 65,000 rows and columns."""
    at = max(stream.find(bytes((0xFF, kind))) for kind in (0xC0, 0xC1, 0xC3, 0xF7))
    return stream[: at + 5] + struct.pack(">HH", 65_000, 65_000) + stream[at + 9 :]


def huge_jpeg_2000(stream: bytes) -> bytes:
    at = stream.index(b"\xff\x4f\xff\x51") + 8
    sizes = struct.pack(">8L", 30_000, 30_000, 0, 0, 30_000, 30_000, 0, 0)
    return stream[:at] + sizes + stream[at + 32 :]


def many_components(stream: bytes) -> bytes:
    at = stream.index(b"\xff\x4f\xff\x51") + 40
    return stream[:at] + struct.pack(">H", 16_000) + b"\x07\x01\x01" * 16_000


def two_sizes(stream: bytes) -> bytes:
    """Return a JPEG stream with a second frame header before the scan."""
    at = max(stream.find(bytes((0xFF, kind))) for kind in (0xC0, 0xC1))
    (length,) = struct.unpack_from(">H", stream, at + 2)
    whole = stream[at : at + 2 + length]
    return stream[:at] + whole + huge_jpeg(stream)[at:]


def in_boxes(change: Change) -> Change:
    """Return a change that puts the stream into a file of its own, behind a smaller one in vain."""

    def boxed(stream: bytes) -> bytes:
        small = struct.pack(">L4s", 8 + len(stream), b"uuid") + stream
        content = change(stream)
        jp2c = struct.pack(">L4sQ", 1, b"jp2c", 16 + len(content)) + content
        return b"\0\0\0\x0cjP  \r\n\x87\n" + small + jp2c

    return boxed


@pytest.mark.parametrize("suffix", ["4.50", "4.51", "4.70", "4.80", "4.81", "4.90", "4.91"])
def test_what_is_announced_is_what_is_decoded(suffix: str) -> None:
    pixels = compressed(suffix)[1]
    found = announced(stream_of(suffix), _PREFIX + suffix)
    assert found is not None
    assert (found.rows, found.columns) == pixels.shape[:2]
    assert found.components == (3 if pixels.ndim == 3 else 1)


@pytest.mark.parametrize(
    ("suffix", "change"),
    [
        ("4.50", huge_jpeg),
        ("4.50", two_sizes),
        ("4.51", huge_jpeg),
        ("4.70", huge_jpeg),
        ("4.80", huge_jpeg),
        ("4.90", huge_jpeg_2000),
        ("4.90", in_boxes(huge_jpeg_2000)),
        ("4.90", many_components),
        ("4.201", huge_jpeg_2000),
        ("5", lambda stream: stream[:64] + bytes(range(256)) * 100_000),
    ],
)
def test_bombs_are_refused(client: Client, suffix: str, change: Change) -> None:
    path = put(client, with_stream(compressed(suffix)[0], change))
    for resource in (f"{path}/1", f"{path}/1/rendered"):
        answer = client.get(resource)
        assert answer.status == 400
        assert b"Traceback" not in answer.data
    assert 0 < peak_of_imaging() < MAX_MEMORY


def test_a_stream_in_the_boxes_of_a_file() -> None:
    stream = stream_of("4.90")
    assert announced(in_boxes(lambda same: same)(stream), JPEG_2000) == announced(stream, JPEG_2000)


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_2000, HTJ2K])
@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc0",
        b"\xff\xd8\xff\xda",
        b"\xff\xd8\xff\xde\0\x0b\x08\0\x01\0\x01\x01",
        b"\xff" * 100_000,
        b"\xff\x4f\xff\x51\0\x29",
        b"\xff\x4f\xff\x51" + bytes(60),
        b"\0\0\0\x0cjP  ",
        b"\0\0\0\x0cjP  " + bytes(100),
    ],
)
def test_heads_that_cannot_be_read(syntax: str, stream: bytes) -> None:
    with pytest.raises(CodeStreamError):
        announced(stream, syntax)


def test_fill_bytes_and_garbage_between_segments() -> None:
    frame = b"\xff\xc0\0\x0b\x08\0\x10\0\x20\x01\x01\x11\0"
    for between in (b"", b"\xff\xff", b"\0\x12\xff\0", b"\xff\xd0", b"\xff\xe0\0\x04\xff\xc0"):
        assert announced(b"\xff\xd8" + between + frame, JPEG) == Extents(16, 32, 1)


def test_frames_that_announce_nothing() -> None:
    assert announced(b"\x01\0\0\0", _PREFIX + "5") is None
    assert announced(b"", _PREFIX + "8.1") is None


def test_no_rle_frame_is_as_long_as_that() -> None:
    dataset = read(compressed("5")[0])
    frame = next(generate_frames(dataset.PixelData, number_of_frames=2))
    assert len(frame) < longest_rle(len(dataset.pixel_array[0].tobytes()))
