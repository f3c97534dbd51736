"""Connections that carry only so many bytes a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

__all__ = ["BandwidthLimit", "ThrottledResponse", "throttled_request"]

_PIECES_PER_SECOND = 10
_MAX_PIECE = 64 * 1024
_MAX_LATE = 0.05
"""How many seconds a timer may ring late and be made up for."""


class BandwidthLimit:
    """Lets bytes through at a rate, in both directions together, and never faster.

    Parameters
    ----------
    rate : int
        Bytes per second.
    clock, sleep : callable
        What time it is, in seconds from any moment; and what waits for some seconds.
    """

    def __init__(
        self,
        rate: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free = clock()
        self._late = 0.0
        self.piece = max(1, min(rate // _PIECES_PER_SECOND, _MAX_PIECE))

    async def take(self, size: int) -> None:
        """Return when this many bytes have had their time."""
        now = self._clock()
        self._free = max(self._free, now - self._late) + size / self._rate
        await self._sleep(self._free - now)
        self._late = max(0.0, min(self._clock() - self._free, _MAX_LATE))


def throttled_request(request: Request, limit: BandwidthLimit) -> Request:
    """Return a request whose body is read at a rate."""

    async def receive() -> Message:
        message = await request.receive()
        if body := message.get("body"):
            await limit.take(len(body))
        return message

    return Request(request.scope, receive)


class ThrottledResponse(Response):
    """An answer whose body is sent at a rate."""

    def __init__(self, whole: Response, limit: BandwidthLimit) -> None:
        super().__init__(status_code=whole.status_code)
        self.raw_headers = whole.raw_headers
        self._whole = whole
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_slowly(message: Message) -> None:
            body = memoryview(message.get("body", b""))
            last = max(0, len(body) - self._limit.piece)
            for start in range(0, last, self._limit.piece):
                piece = body[start : start + self._limit.piece]
                await self._send(send, {**message, "more_body": True}, piece)
            rest = -(-last // self._limit.piece) * self._limit.piece
            await self._send(send, message, body[rest:])

        await self._whole(scope, receive, send_slowly)

    async def _send(self, send: Send, message: Message, body: memoryview) -> None:
        if message["type"] == "http.response.body":
            await self._limit.take(len(body))
            message = {**message, "body": bytes(body)}
        await send(message)
