"""Fault injection: answers that come late, broken or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.faults.bandwidth import (
    BandwidthLimit,
    ThrottledResponse,
    throttled_request,
)
from orthanc_gcp.emulator.faults.broken_connections import (
    ConnectionReset,
    TruncatedResponse,
    until_reset,
)
from orthanc_gcp.emulator.faults.fault_settings import SettingValues
from orthanc_gcp.emulator.faults.rules import ActiveFault, Fault
from orthanc_gcp.emulator.http.requests import MAX_REQUEST_SIZE, read_limited, skip_body
from orthanc_gcp.emulator.http.responses import GrantError, Refusal, front_end_page, usual_error

__all__ = ["answer_call", "answer_token_request"]

Handler = Callable[[Request], Awaitable[Response]]
CallHandler = Callable[[Request, ActiveFault | None], Awaitable[Response]]


async def answer_token_request(fault: Fault | None, handler: Handler, request: Request) -> Response:
    """Let a token endpoint answer a request, unless or after a fault does."""
    if fault is None:
        return await handler(request)
    await asyncio.sleep(fault.delay)
    if fault.comes_first:
        # A client that is still sending would notice something else.
        await read_limited(request, MAX_REQUEST_SIZE)
    if fault.cut == "reset":
        return ConnectionReset()
    if fault.status:
        body = (fault.body or "").encode()
        return Response(body, fault.status, media_type=fault.content_type)
    try:
        response = await handler(request)
    except GrantError as refusal:
        response = refusal.response
    return TruncatedResponse(response, None, reset=False) if fault.cut == "truncate" else response


async def answer_call(settings: SettingValues, handler: CallHandler, request: Request) -> Response:
    """Let a method of the API answer a request, as well as the fault settings allow."""
    if settings.bandwidth is None:
        return await _answer_call(settings, handler, request)
    limit = BandwidthLimit(settings.bandwidth)
    response = await _answer_call(settings, handler, throttled_request(request, limit))
    return ThrottledResponse(response, limit)


async def _answer_call(settings: SettingValues, handler: CallHandler, request: Request) -> Response:
    active = settings.faults.fault_of(request.method, request.scope["path"])
    await asyncio.sleep(settings.latency + (active.fault.delay if active else 0))
    if active is None:
        return await _answer(handler, request, None)
    fault = active.fault
    if fault.comes_first:
        if fault.read_body:
            await skip_body(request)
        return _failure(fault)
    if fault.cut == "resetRequest":
        await _answer(handler, until_reset(request, fault.after_bytes), active)
        return ConnectionReset()
    response = await _answer(handler, request, active)
    if fault.store_then_fail:
        return _failure(fault)
    if fault.cut:
        return TruncatedResponse(response, fault.after_bytes, reset=fault.cut == "resetAnswer")
    return response


async def _answer(handler: CallHandler, request: Request, active: ActiveFault | None) -> Response:
    try:
        return await handler(request, active)
    except Refusal as refusal:
        return refusal.response


def _failure(fault: Fault) -> Response:
    """Return what is answered in place of the truth; without a status, the connection breaks."""
    if not fault.status:
        return ConnectionReset()
    if fault.html:
        response = front_end_page(fault.status)
    elif fault.body is not None:
        response = Response(fault.body.encode(), fault.status, media_type=fault.content_type)
    else:
        response = usual_error(fault.status)
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response
