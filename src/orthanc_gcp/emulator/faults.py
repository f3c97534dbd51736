"""Answers that come late, broken or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orthanc_gcp.emulator.grants import MAX_REQUEST_SIZE, GrantError
from orthanc_gcp.emulator.incoming import read_limited
from orthanc_gcp.emulator.protocol import TRANSPORT
from orthanc_gcp.emulator.recent_requests import NO_STATUS
from orthanc_gcp.emulator.switches import Fault

__all__ = ["answer_with"]

Handler = Callable[[Request], Awaitable[Response]]


async def answer_with(fault: Fault | None, handler: Handler, request: Request) -> Response:
    """Let a handler answer a request, unless or after a fault does."""
    if fault is None:
        return await handler(request)
    await asyncio.sleep(fault.delay)
    if fault.cut == "reset" or fault.status:
        # A client that is still sending would notice something else.
        await read_limited(request, MAX_REQUEST_SIZE)
    if fault.cut == "reset":
        return _Reset(status_code=NO_STATUS)
    if fault.status:
        return Response(fault.body.encode(), fault.status, media_type=fault.content_type)
    try:
        response = await handler(request)
    except GrantError as refusal:
        response = refusal.response
    return _Truncated(response) if fault.cut == "truncate" else response


class _Reset(Response):
    """No answer: the connection breaks."""

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        transport: asyncio.Transport = scope["extensions"][TRANSPORT]["transport"]
        connection: socket.socket = transport.get_extra_info("socket")
        # To linger for no time at all makes closing a reset (RST) instead of an end (FIN).
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()


class _Truncated(Response):
    """The first half of an answer that announces the whole."""

    def __init__(self, whole: Response) -> None:
        super().__init__(whole.body, whole.status_code)
        self.raw_headers = whole.raw_headers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        # The server closes the connection when more is announced and none comes.
        await send({"type": "http.response.body", "body": half, "more_body": True})
