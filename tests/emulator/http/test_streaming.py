"""Bodies that leave block by block."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from orthanc_gcp.emulator.http.streaming import BLOCK, Streamed, file_blocks, part_head
from tests.emulator.http.asgi import make_request, run, send


class Body:
    """Blocks, and what became of them."""

    def __init__(self, *blocks: bytes) -> None:
        self.given: list[bytes] = []
        self.is_closed = False
        self._blocks = blocks

    async def read(self) -> AsyncGenerator[bytes, None]:
        try:
            for block in self._blocks:
                self.given.append(block)
                yield block
                await asyncio.sleep(0)
        finally:
            self.is_closed = True


def test_a_body_of_unknown_length() -> None:
    body = Body(b"ab", b"c")
    start, *rest = send(Streamed(body.read(), "text/plain"), make_request())
    names = [name for name, _ in start["headers"]]
    assert (start["status"], b"content-length" in names) == (200, False)
    assert [(m["body"], m["more_body"]) for m in rest] == [
        (b"ab", True),
        (b"c", True),
        (b"", False),
    ]
    assert body.is_closed


def test_a_body_whose_length_is_announced() -> None:
    response = Streamed(Body(b"abc").read(), "text/plain", {"Content-Length": "3"})
    start, *_ = send(response, make_request())
    assert (b"content-length", b"3") in start["headers"]


def test_a_client_that_has_left() -> None:
    body = Body(*[b"x"] * 100)
    sent = send(Streamed(body.read(), "text/plain"), make_request(), stays=False)
    assert len(body.given) < 10
    assert len(sent) < 10
    assert sent[-1].get("more_body") is not False
    assert body.is_closed


async def collected(blocks: AsyncGenerator[bytes, None]) -> list[bytes]:
    return [block async for block in blocks]


@pytest.mark.parametrize(
    ("start", "size", "lengths"),
    [
        (0, 2 * BLOCK + 5, [BLOCK, BLOCK, 5]),
        (BLOCK, 10, [10]),
        (2 * BLOCK, 10**9, [BLOCK, 5]),
        (0, 0, []),
    ],
)
def test_ranges_of_a_file(tmp_path: Path, start: int, size: int, lengths: list[int]) -> None:
    content = os.urandom(3 * BLOCK + 5)
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        blocks = run(collected(file_blocks(file.fileno(), start, size)))
        assert file.tell() == 0
    assert [len(block) for block in blocks] == lengths
    assert b"".join(blocks) == content[start : start + size]


def test_the_head_of_a_part() -> None:
    assert part_head("b", "a/c") == b"--b\r\nContent-Type: a/c\r\n\r\n"
    assert part_head("b", "a/c; x=1\r\nY: é") == b"--b\r\nContent-Type: a/c; x=1??Y: ?\r\n\r\n"


def test_a_media_type_ends_no_header() -> None:
    start, *_ = send(Streamed(Body(b"x").read(), "a/c; x=1\r\nY: é"), make_request())
    assert (b"content-type", b"a/c; x=1??Y: ?") in start["headers"]
