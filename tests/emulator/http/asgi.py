"""Requests and answers of ASGI, without a server between them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope


def make_request(
    *pieces: bytes,
    path: str = "/",
    query: str = "",
    headers: Iterable[tuple[str, str]] = (),
    server: tuple[str, int] = ("127.0.0.1", 8085),
    scheme: str = "http",
) -> Request:
    """Return a request whose body arrives in pieces."""
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "server": server,
        "scheme": scheme,
    }
    waiting = [{"type": "http.request", "body": body, "more_body": True} for body in pieces]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    return Request(scope, receive)


def run(awaited: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(awaited)


def send(response: Response, request: Request, stays: bool = True) -> list[Message]:
    """Return what a response sends to a client that stays, or that has left already."""
    sent: list[Message] = []

    async def receive() -> Message:
        if stays:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def collect(message: Message) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    run(response(request.scope, receive, collect))
    return sent
