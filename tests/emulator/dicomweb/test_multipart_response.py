"""Answers of several parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from orthanc_gcp.emulator.dicomweb.multipart_response import Part, multipart_response
from tests.emulator.client import AS_STORED, Client, make_dicom, split
from tests.emulator.faults.connections import Raw
from tests.emulator.images import GRADIENT, image, put


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
    # The head of the answer, head and content of the first part, head and a block of the second.
    _, body = answer(two_parts(closed), leave_after=5)
    assert b"two" in body
    assert b"three" not in body
    assert closed == ["blocks", "parts"]


def test_boundaries_are_sent_apart_from_content(client: Client) -> None:
    """In chunks of their own, with the line breaks around them: dcmweb drops those chunks."""
    pixels = [bytes([n]) * size for n, size in enumerate((7, 1, 300_000))]
    study = generate_uid()
    files = [make_dicom(pixel, StudyInstanceUID=study) for pixel in pixels]
    client.store(*files)
    answer = chunks(client, f"/studies/{study}", AS_STORED)
    content = [chunk for boundary, chunk in answer if not boundary]
    # A file leaves in blocks of 256 KiB.
    assert [*content[:2], content[2] + content[3]] == files
    for boundary, chunk in answer:
        assert boundary == chunk.startswith((b"--", b"\r\n--"))
    assert answer[-1][1].endswith(b"--\r\n")


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/frames/1,2", "multipart/related; type=application/octet-stream; transfer-syntax=*"),
        ("/frames/1,2", "multipart/related; type=image/png"),
        ("/frames/1,2/rendered", "multipart/related; type=image/jpeg"),
        ("/bulkdata/7FE00010", "multipart/related; type=application/octet-stream"),
        ("/metadata", "multipart/related; type=application/dicom+xml"),
    ],
)
def test_chunks_of_other_parts(client: Client, path: str, accept: str) -> None:
    instance = put(client, image(np.array([GRADIENT, GRADIENT + 1])))
    answer = chunks(client, instance + path, accept)
    parts = [part for _, part in split(client.get(instance + path, accept))]
    assert b"".join(content for boundary, content in answer if not boundary) == b"".join(parts)
    assert sum(boundary for boundary, _ in answer) == len(parts) + 1


def chunks(client: Client, path: str, accept: str) -> list[tuple[bool, bytes]]:
    """Return each chunk of an answer as the connection has it, and whether it has the boundary."""
    raw = Raw(client)
    with raw.socket:
        raw.send("GET", path, store=client.store_name, Accept=accept, Connection="close")
        head, _, rest = raw.receive().partition(b"\r\n\r\n")
    boundary = head.partition(b"boundary=")[2].partition(b"\r\n")[0]
    found = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        found.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    assert found.pop() == b""
    return [(boundary in chunk, chunk) for chunk in found]
