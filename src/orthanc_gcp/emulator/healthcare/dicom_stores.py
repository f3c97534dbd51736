"""DICOM stores (REST reference of the Healthcare API)."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.notifications import check_topics
from orthanc_gcp.emulator.healthcare.paging import page
from orthanc_gcp.emulator.healthcare.request_context import Call
from orthanc_gcp.emulator.http.requests import field_mask, read_object
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer
from orthanc_gcp.emulator.resource_names import STORE_ID

__all__ = [
    "create_store",
    "delete_store",
    "get_store",
    "list_stores",
    "patch_store",
    "require_resource",
]

_CHANGEABLE = ("labels", "notificationConfig", "notificationConfigs", "streamConfigs")


async def get_store(call: Call) -> Response:
    """Handle ``dicomStores.get``."""
    body = call.storage.index.store_body(call.store)
    if body is None:
        call.require_dataset()
        raise Refusal(error(404, f"DICOM store not found: {call.store}"))
    return json_answer(body)


async def list_stores(call: Call) -> Response:
    """Handle ``dicomStores.list``."""
    call.require_dataset()
    find = partial(call.storage.index.list_stores, call.dataset)
    return json_answer(await asyncio.to_thread(page, call.request, "dicomStores", find))


async def create_store(call: Call) -> Response:
    """Handle ``dicomStores.create``."""
    call.require_dataset()
    store_id = call.request.query_params.get("dicomStoreId", "")
    if not STORE_ID.fullmatch(store_id):
        raise Refusal(error(400, f"invalid dicom_store_id: {store_id!r}"))
    body = await read_object(call.request)
    name = call.dataset.store(store_id)
    check_topics(body)
    body = {**body, "name": str(name)}
    if not call.storage.index.create_store(name, body):
        raise Refusal(error(409, f"already exists: {name}"))
    return json_answer(body)


async def patch_store(call: Call) -> Response:
    """Handle ``dicomStores.patch``: only what ``updateMask`` names changes."""
    require_resource(call)
    mask = field_mask(call.request, _CHANGEABLE)
    given = await read_object(call.request)
    check_topics(given)
    body = dict(call.storage.index.store_body(call.store) or {})
    for field in mask:
        body[field] = given.get(field)
    body = {field: value for field, value in body.items() if value}
    call.storage.index.put_store_body(call.store, body)
    return json_answer(body)


async def delete_store(call: Call) -> Response:
    """Handle ``dicomStores.delete``: the store is gone at once, with all that is in it."""
    call.store_id()
    call.services.policies.set(call.store, [])
    await asyncio.to_thread(call.storage.delete_store, call.store)
    return json_answer({})


def require_resource(call: Call) -> None:
    """Refuse a call on a store or a dataset that there is not."""
    if not call.resource_exists():
        raise call.missing(str(call.resource))
