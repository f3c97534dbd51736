"""Long-running operations over HTTP: begun, read, listed and cancelled (AIP-151).

Handlers raise :class:`Refusal` for an operation (404) or dataset (403 or 404) that there is not.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.operations import TooManyOperationsError
from orthanc_gcp.emulator.healthcare.paging import result_page
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer, quota_exceeded
from orthanc_gcp.emulator.storage.storage import DeletionTarget

__all__ = ["begin_long", "begin_short", "cancel_operation", "get_operation", "list_operations"]


async def begin_short(
    context: RequestContext, parameters: dict[str, Any], deletion: DeletionTarget | None = None
) -> Response:
    """Begin an operation and answer its name; without a delay, it has ended by then.

    ``parameters`` are JSON. Raises :class:`Refusal` (429) when too many have not ended: more than
    the fault setting ``maxOperations`` allows, or than are carried out at all.
    """
    delay = context.services.fault_settings.current.operation_delay
    name = _start(context, parameters, deletion)
    if not delay:
        await context.services.operations.settle(name)
    return json_answer({"name": name})


async def begin_long(context: RequestContext, parameters: dict[str, Any]) -> Response:
    """Begin an operation that goes on in the background, and answer its name.

    Raises :class:`Refusal` (429) as :func:`begin_short` does.
    """
    return json_answer({"name": _start(context, parameters, None)})


async def get_operation(context: RequestContext) -> Response:
    """Handle ``operations.get``."""
    return json_answer(_operation(context))


async def list_operations(context: RequestContext) -> Response:
    """Handle ``operations.list``.

    Raises :class:`Refusal` for a dataset that there is not (403 or 404), for partial success (501),
    and as :func:`result_page` does.
    """
    if context.request.query_params.get("returnPartialSuccess") == "true":
        raise Refusal(error(501, "return_partial_success is not supported"))
    context.require_dataset()
    find = partial(context.services.operations.of_dataset, context.dataset)
    return json_answer(await asyncio.to_thread(result_page, context.request, "operations", find))


async def cancel_operation(context: RequestContext) -> Response:
    """Handle ``operations.cancel``; what has ended stays as it is."""
    context.services.operations.cancel(_operation(context)["name"])
    return json_answer({})


def _start(
    context: RequestContext, parameters: dict[str, Any], deletion: DeletionTarget | None
) -> str:
    services = context.services
    limit = services.fault_settings.current.max_operations
    if limit is not None and services.operations.unfinished >= limit and "store" in context.names:
        number = services.identities.pools.project_number
        raise Refusal(quota_exceeded(number, limit, None, "dicom_store_lro_ops"))
    try:
        return services.operations.start(context.dataset, context.rpc, parameters, deletion)
    except TooManyOperationsError:
        raise Refusal(error(429, "Too many operations have not ended.")) from None


def _operation(context: RequestContext) -> dict[str, Any]:
    name = f"{context.dataset}/operations/{context.names['operation']}"
    body = context.services.operations.get(name)
    if body is None:
        context.require_dataset()
        raise Refusal(error(404, f"operation not found: {name}"))
    return body
