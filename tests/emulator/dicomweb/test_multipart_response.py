"""Answers of several parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from orthanc_gcp.emulator.dicomweb.multipart_response import Part, multipart_response


async def blocks(*contents: bytes, closed: list[str]) -> AsyncGenerator[bytes, None]:
    try:
        for content in contents:
            yield content
    finally:
        closed.append("blocks")


async def two_parts(closed: list[str], *, fails: bool = False) -> AsyncGenerator[Part, None]:
    try:
        yield Part("image/png", b"one")
        if fails:
            raise LookupError
        yield Part("image/jpeg", blocks(b"two", b"three", closed=closed))
    finally:
        closed.append("parts")


def answer(parts: AsyncGenerator[Part, None], leave_after: int = 1000) -> tuple[str, bytes]:
    """Send an answer; return its type and its bytes. The client leaves after some messages."""
    sent: list[MutableMapping[str, Any]] = []
    left = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if len(sent) == leave_after:
            left.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    response = multipart_response("image/*", parts)
    asyncio.run(_call(response, receive, send))
    return response.headers["content-type"], b"".join(m.get("body", b"") for m in sent)


async def _call(response: Any, receive: Any, send: Any) -> None:
    await response({"type": "http"}, receive, send)


def test_parts_stand_between_boundaries() -> None:
    closed: list[str] = []
    content_type, body = answer(two_parts(closed))
    start, boundary = content_type.split("boundary=")
    assert start == 'multipart/related; type="image/*"; '
    assert body.decode().split(f"--{boundary}") == [
        "",
        "\r\nContent-Type: image/png\r\n\r\none\r\n",
        "\r\nContent-Type: image/jpeg\r\n\r\ntwothree\r\n",
        "--\r\n",
    ]
    assert closed == ["blocks", "parts"]


def test_an_error_breaks_the_answer_off() -> None:
    closed: list[str] = []
    with pytest.raises(LookupError):
        answer(two_parts(closed, fails=True))
    assert closed == ["parts"]


def test_a_client_that_leaves_closes_what_is_open() -> None:
    closed: list[str] = []
    # The head of the answer, three pieces of the first part, head and first block of the second.
    _, body = answer(two_parts(closed), leave_after=6)
    assert b"two" in body
    assert b"three" not in body
    assert closed == ["blocks", "parts"]
