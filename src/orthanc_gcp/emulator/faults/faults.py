"""Answers that come late, broken or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.faults.bandwidth import Pace, Paced, paced_request
from orthanc_gcp.emulator.faults.broken_connections import Reset, Shortened, until_reset
from orthanc_gcp.emulator.faults.rules import Fault, Strike
from orthanc_gcp.emulator.faults.switches import State
from orthanc_gcp.emulator.http.requests import MAX_REQUEST_SIZE, read_limited, skip_body
from orthanc_gcp.emulator.http.responses import GrantError, Refusal, front_end_page, usual_error

__all__ = ["answer_call", "answer_with"]

Handler = Callable[[Request], Awaitable[Response]]
CallHandler = Callable[[Request, Strike | None], Awaitable[Response]]


async def answer_with(fault: Fault | None, handler: Handler, request: Request) -> Response:
    """Let a token endpoint answer a request, unless or after a fault does."""
    if fault is None:
        return await handler(request)
    await asyncio.sleep(fault.delay)
    if fault.comes_first:
        # A client that is still sending would notice something else.
        await read_limited(request, MAX_REQUEST_SIZE)
    if fault.cut == "reset":
        return Reset()
    if fault.status:
        body = (fault.body or "").encode()
        return Response(body, fault.status, media_type=fault.content_type)
    try:
        response = await handler(request)
    except GrantError as refusal:
        response = refusal.response
    return Shortened(response, None, reset=False) if fault.cut == "truncate" else response


async def answer_call(state: State, handler: CallHandler, request: Request) -> Response:
    """Let a method of the API answer a request, as well as the switches allow."""
    if state.bandwidth is None:
        return await _answer_call(state, handler, request)
    pace = Pace(state.bandwidth)
    response = await _answer_call(state, handler, paced_request(request, pace))
    return Paced(response, pace)


async def _answer_call(state: State, handler: CallHandler, request: Request) -> Response:
    strike = state.faults.strike(request.method, request.scope["path"])
    await asyncio.sleep(state.latency + (strike.fault.delay if strike else 0))
    if strike is None:
        return await _answer(handler, request, None)
    fault = strike.fault
    if fault.comes_first:
        if fault.read_body:
            await skip_body(request)
        return _failure(fault)
    if fault.cut == "resetRequest":
        await _answer(handler, until_reset(request, fault.after_bytes), strike)
        return Reset()
    response = await _answer(handler, request, strike)
    if fault.store_then_fail:
        return _failure(fault)
    if fault.cut:
        return Shortened(response, fault.after_bytes, reset=fault.cut == "resetAnswer")
    return response


async def _answer(handler: CallHandler, request: Request, strike: Strike | None) -> Response:
    try:
        return await handler(request, strike)
    except Refusal as refusal:
        return refusal.response


def _failure(fault: Fault) -> Response:
    """Return what is answered in place of the truth; without a status, the connection breaks."""
    if not fault.status:
        return Reset()
    if fault.html:
        response = front_end_page(fault.status)
    elif fault.body is not None:
        response = Response(fault.body.encode(), fault.status, media_type=fault.content_type)
    else:
        response = usual_error(fault.status)
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response
