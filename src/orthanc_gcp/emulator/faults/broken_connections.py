"""Connections that break: before an answer, in the middle of it, or while a request arrives."""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from orthanc_gcp.emulator.http.protocol import TRANSPORT, reset_connection
from orthanc_gcp.emulator.http.recent_requests import NO_STATUS

__all__ = ["ConnectionReset", "TruncatedResponse", "until_reset"]

_UNANNOUNCED = 64 * 1024
"""After how many bytes a body of unknown length is cut."""


class ConnectionReset(Response):
    """No answer: the connection breaks."""

    def __init__(self) -> None:
        super().__init__(status_code=NO_STATUS)

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        reset_connection(scope)


class TruncatedResponse(Response):
    """The first bytes of an answer that announces the whole.

    Parameters
    ----------
    after : int or None
        How many bytes of its body are sent, but never all; if None, half of them.
    reset : bool
        Whether the connection is reset then (RST); otherwise it ends (FIN).
    """

    def __init__(self, whole: Response, after: int | None, *, reset: bool) -> None:
        super().__init__(status_code=whole.status_code)
        self.raw_headers = whole.raw_headers
        self._whole = whole
        self._after = after
        self._is_reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = self.headers.get("content-length")
        if self.status_code != 204 and length != "0":
            await self._send_some(scope, receive, send, None if length is None else int(length))
        elif not self._is_reset:
            # There is nothing to cut but the head.
            scope["extensions"][TRANSPORT]["transport"].close()
        if self._is_reset:
            reset_connection(scope)

    async def _send_some(
        self, scope: Scope, receive: Receive, send: Send, length: int | None
    ) -> None:
        left = _UNANNOUNCED if length is None else length // 2
        if self._after is not None:
            left = self._after if length is None else min(self._after, length - 1)

        async def send_less(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.body":
                body = bytes(message.get("body", b"")[:left])
                left -= len(body)
                is_last = not (left and message.get("more_body"))
                message = {**message, "body": body, "more_body": True}
                # The server closes the connection when more is announced and none comes.
                await send(message)
                if is_last:
                    raise _EnoughError
                return
            await send(message)

        with suppress(_EnoughError):
            await self._whole(scope, receive, send_less)


class _EnoughError(Exception):
    """No more of the answer is to be sent."""


def until_reset(request: Request, after: int | None) -> Request:
    """Return a request whose connection is reset after some bytes of its body.

    By default that is half of the announced length, or 64 KiB when none is announced. A body that
    is shorter comes whole.
    """
    length = request.headers.get("content-length", "")
    left = int(length) // 2 if length.isdecimal() else _UNANNOUNCED
    if after is not None:
        left = after

    async def receive_less() -> Message:
        nonlocal left
        if not left:
            reset_connection(request.scope)
            return {"type": "http.disconnect"}
        message = await request.receive()
        body = message.get("body", b"")
        if len(body) < left:
            left -= len(body)
            return message
        message, left = {**message, "body": body[:left], "more_body": True}, 0
        return message

    return Request(request.scope, receive_less)
