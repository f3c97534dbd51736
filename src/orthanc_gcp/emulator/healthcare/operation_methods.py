"""Long-running operations over HTTP: how they are announced, read, listed and cancelled."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.operations import TooManyOperationsError
from orthanc_gcp.emulator.healthcare.paging import page
from orthanc_gcp.emulator.healthcare.request_context import Call
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer
from orthanc_gcp.emulator.storage.storage import Place

__all__ = ["begin_long", "begin_short", "cancel_operation", "get_operation", "list_operations"]


async def begin_short(
    call: Call, parameters: dict[str, Any], place: Place | None = None
) -> Response:
    """Announce an operation; without a delay, it has ended by then."""
    delay = call.services.fault_settings.current.operation_delay
    name = _start(call, parameters, place)
    if not delay:
        await call.services.operations.settle(name)
    return json_answer({"name": name})


async def begin_long(call: Call, parameters: dict[str, Any]) -> Response:
    """Announce an operation that goes on in the background."""
    return json_answer({"name": _start(call, parameters, None)})


async def get_operation(call: Call) -> Response:
    """Handle ``operations.get``."""
    return json_answer(_operation(call))


async def list_operations(call: Call) -> Response:
    """Handle ``operations.list``."""
    if call.request.query_params.get("returnPartialSuccess") == "true":
        raise Refusal(error(501, "return_partial_success is not supported"))
    call.require_dataset()
    find = partial(call.services.operations.of_dataset, call.dataset)
    return json_answer(await asyncio.to_thread(page, call.request, "operations", find))


async def cancel_operation(call: Call) -> Response:
    """Handle ``operations.cancel``; what has ended stays as it is."""
    call.services.operations.cancel(_operation(call)["name"])
    return json_answer({})


def _start(call: Call, parameters: dict[str, Any], place: Place | None) -> str:
    try:
        return call.services.operations.start(call.dataset, call.rpc, parameters, place)
    except TooManyOperationsError:
        raise Refusal(error(429, "Too many operations have not ended.")) from None


def _operation(call: Call) -> dict[str, Any]:
    name = f"{call.dataset}/operations/{call.names['operation']}"
    body = call.services.operations.get(name)
    if body is None:
        call.require_dataset()
        raise Refusal(error(404, f"operation not found: {name}"))
    return body
