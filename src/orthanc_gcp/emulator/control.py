"""The control plane: DICOM stores and operations (REST reference of the Healthcare API)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.calls import Call
from orthanc_gcp.emulator.incoming import MAX_CONTROL_BODY, page_size, parse_object, read_limited
from orthanc_gcp.emulator.names import STORE_ID
from orthanc_gcp.emulator.notifications import check_topics
from orthanc_gcp.emulator.responses import Refusal, error, json_answer

__all__ = [
    "cancel_operation",
    "create_store",
    "delete_store",
    "get_operation",
    "get_store",
    "list_operations",
    "list_stores",
    "patch_store",
    "read_object",
    "require_resource",
]

_CHANGEABLE = ("labels", "notificationConfig", "notificationConfigs", "streamConfigs")


async def get_store(call: Call) -> Response:
    """Handle ``dicomStores.get``."""
    body = call.storage.index.store_body(call.store)
    if body is None:
        _require_dataset(call)
        raise Refusal(error(404, f"DICOM store not found: {call.store}"))
    return json_answer(body)


async def list_stores(call: Call) -> Response:
    """Handle ``dicomStores.list``."""
    return _page(call, "dicomStores", call.storage.index.list_stores)


async def create_store(call: Call) -> Response:
    """Handle ``dicomStores.create``."""
    _require_dataset(call)
    store_id = call.request.query_params.get("dicomStoreId", "")
    if not STORE_ID.fullmatch(store_id):
        raise Refusal(error(400, f"invalid dicom_store_id: {store_id!r}"))
    body = await read_object(call)
    name = call.dataset.store(store_id)
    check_topics(body)
    body = {**body, "name": str(name)}
    if not call.storage.index.create_store(name, body):
        raise Refusal(error(409, f"already exists: {name}"))
    return json_answer(body)


async def patch_store(call: Call) -> Response:
    """Handle ``dicomStores.patch``: only what ``updateMask`` names changes."""
    require_resource(call)
    mask = [field for field in call.request.query_params.get("updateMask", "").split(",") if field]
    unknown = [field for field in mask if field not in _CHANGEABLE]
    if unknown or not mask:
        raise Refusal(error(400, f"invalid update_mask: {','.join(unknown)!r}"))
    given = await read_object(call)
    check_topics(given)
    body = dict(call.storage.index.store_body(call.store) or {})
    for field in mask:
        body[field] = given.get(field)
    body = {field: value for field, value in body.items() if value}
    call.storage.index.put_store_body(call.store, body)
    return json_answer(body)


async def delete_store(call: Call) -> Response:
    """Handle ``dicomStores.delete``: the store is gone at once, with all that is in it."""
    store_id = call.store_id()
    call.services.policies.set(call.store, [])
    await asyncio.to_thread(call.storage.delete_store, call.store, store_id)
    return json_answer({})


async def get_operation(call: Call) -> Response:
    """Handle ``operations.get``."""
    return json_answer(_operation(call))


async def list_operations(call: Call) -> Response:
    """Handle ``operations.list``; a filter is not looked at."""
    return _page(call, "operations", call.storage.index.operations)


async def cancel_operation(call: Call) -> Response:
    """Handle ``operations.cancel``: every operation has ended by then, so nothing happens."""
    _operation(call)
    return json_answer({})


def require_resource(call: Call) -> None:
    """Refuse a call on a store or a dataset that there is not."""
    if not call.resource_exists():
        raise call.missing(str(call.resource))


async def read_object(call: Call) -> dict[str, Any]:
    """Return the JSON object that a request brings."""
    return parse_object(await read_limited(call.request, MAX_CONTROL_BODY))


def _operation(call: Call) -> dict[str, Any]:
    name = f"{call.dataset}/operations/{call.names['operation']}"
    body = call.storage.index.operation(name)
    if body is None:
        _require_dataset(call)
        raise Refusal(error(404, f"operation not found: {name}"))
    return body


def _page(call: Call, field: str, find: Callable[..., list[dict[str, Any]]]) -> Response:
    """Return a page of a dataset's resources; its token is the last name on it."""
    _require_dataset(call)
    query = call.request.query_params
    size = page_size(call.request)
    found = find(call.dataset, query.get("pageToken", ""), size + 1)
    resources = found[:size]
    answer: dict[str, Any] = {field: resources} if resources else {}
    if len(found) > size:
        answer["nextPageToken"] = resources[-1]["name"]
    return json_answer(answer)


def _require_dataset(call: Call) -> None:
    if not call.storage.index.has_dataset(call.dataset):
        raise call.missing(str(call.dataset))
