"""DICOM stores (Healthcare API, REST Resource ``projects.locations.datasets.dicomStores``).

Handlers raise :class:`Refusal` for a dataset, store or body that is none.
"""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.notifications import check_topics
from orthanc_gcp.emulator.healthcare.paging import result_page
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
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


async def get_store(context: RequestContext) -> Response:
    """Handle ``dicomStores.get``.

    Raises :class:`Refusal` when there is no such store (404) or dataset (403 or 404).
    """
    body = context.storage.resources.store_body(context.store)
    if body is None:
        raise context.missing(str(context.store))
    return json_answer(body)


async def list_stores(context: RequestContext) -> Response:
    """Handle ``dicomStores.list``."""
    context.require_dataset()
    find = partial(context.storage.resources.list_stores, context.dataset)
    return json_answer(await asyncio.to_thread(result_page, context.request, "dicomStores", find))


async def create_store(context: RequestContext) -> Response:
    """Handle ``dicomStores.create``.

    Raises :class:`Refusal` for a dataset that there is not (403 or 404), for a wrong name or body
    (400), and when there is such a store (409).
    """
    context.require_dataset()
    store_id = context.request.query_params.get("dicomStoreId", "")
    if not STORE_ID.fullmatch(store_id):
        raise Refusal(error(400, f"invalid dicom_store_id: {store_id!r}"))
    body = await read_object(context.request)
    name = context.dataset.store(store_id)
    check_topics(body)
    body = {**body, "name": str(name)}
    if not context.storage.resources.create_store(name, body):
        raise Refusal(error(409, f"already exists: {name}"))
    return json_answer(body)


async def patch_store(context: RequestContext) -> Response:
    """Handle ``dicomStores.patch``: only what ``updateMask`` names changes."""
    require_resource(context)
    mask = field_mask(context.request, _CHANGEABLE)
    given = await read_object(context.request)
    check_topics(given)
    body = dict(context.storage.resources.store_body(context.store) or {})
    for field in mask:
        body[field] = given.get(field)
    body = {field: value for field, value in body.items() if value}
    context.storage.resources.put_store_body(context.store, body)
    return json_answer(body)


async def delete_store(context: RequestContext) -> Response:
    """Handle ``dicomStores.delete``: the store is gone at once, with all that is in it."""
    context.store_id()
    context.services.policies.set(context.store, [])
    await asyncio.to_thread(context.storage.delete_store, context.store)
    return json_answer({})


def require_resource(context: RequestContext) -> None:
    """Raise :class:`Refusal` (403 or 404) when there is no such store or dataset."""
    if not context.resource_exists():
        raise context.missing(str(context.resource))
