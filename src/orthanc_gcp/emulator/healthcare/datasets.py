"""Datasets (Healthcare API, REST Resource ``projects.locations.datasets``).

Handlers raise :class:`Refusal` for a location, dataset or body that is none.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.jobs import Code, Job, OperationError
from orthanc_gcp.emulator.healthcare.locations import require_project
from orthanc_gcp.emulator.healthcare.operation_methods import begin_short
from orthanc_gcp.emulator.healthcare.paging import result_page
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.requests import field_mask, read_object
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer
from orthanc_gcp.emulator.resource_names import STORE_ID, DatasetName

__all__ = [
    "add_dataset",
    "create_dataset",
    "delete_dataset",
    "get_dataset",
    "list_datasets",
    "patch_dataset",
]

_CHANGEABLE = ("timeZone",)
_SETTABLE = (*_CHANGEABLE, "encryptionSpec")


async def list_datasets(context: RequestContext) -> Response:
    """Handle ``datasets.list``."""
    await require_project(context)
    find = partial(context.storage.resources.datasets, context.location)
    return json_answer(await asyncio.to_thread(result_page, context.request, "datasets", find))


async def get_dataset(context: RequestContext) -> Response:
    """Handle ``datasets.get``."""
    return json_answer(_body(context))


async def create_dataset(context: RequestContext) -> Response:
    """Handle ``datasets.create``, by an operation.

    Raises :class:`Refusal` for a project that there is not (403 or 404), for a wrong name or body
    (400), when there is such a dataset or will be (409), and as :func:`begin_short` does.
    """
    await require_project(context)
    dataset_id = context.request.query_params.get("datasetId", "")
    if not STORE_ID.fullmatch(dataset_id):
        raise Refusal(error(400, f"invalid dataset_id: {dataset_id!r}"))
    given = await read_object(context.request)
    name = context.location.dataset(dataset_id)
    body = {"name": str(name), **{field: given[field] for field in _SETTABLE if given.get(field)}}
    _check(body)
    if context.storage.resources.has_dataset(name) or _is_being_created(context, name):
        raise Refusal(error(409, f"already exists: {name}"))
    context = replace(context, names={**context.names, "dataset": dataset_id})
    return await begin_short(context, {"body": body, "version": context.version})


async def patch_dataset(context: RequestContext) -> Response:
    """Handle ``datasets.patch``: only what ``updateMask`` names changes."""
    body = _body(context)
    mask = field_mask(context.request, _CHANGEABLE)
    given = await read_object(context.request)
    body = {**body, **{field: given.get(field) for field in mask}}
    body = {field: value for field, value in body.items() if value}
    _check(body)
    context.storage.resources.put_dataset_body(context.dataset, body)
    return json_answer(body)


async def delete_dataset(context: RequestContext) -> Response:
    """Handle ``datasets.delete``: it is gone at once, with its stores and its operations."""
    context.require_dataset()
    services, dataset = context.services, context.dataset
    services.operations.cancel_all(dataset)
    for body in list(context.storage.resources.list_stores(dataset)):
        services.policies.set(dataset.store(body["name"].rpartition("/")[2]), [])
    services.policies.set(dataset, [])
    await asyncio.to_thread(context.storage.delete_dataset, dataset)
    return json_answer({})


def add_dataset(job: Job) -> dict[str, Any]:
    """Carry out ``datasets.create``; return the operation's ``response``.

    Raises :class:`OperationError` when there is such a dataset by now.
    """
    body, version = job.parameters["body"], job.parameters["version"]
    _, project, _, location, _, dataset = body["name"].split("/")
    if not job.storage.resources.create_dataset(DatasetName(project, location, dataset), body):
        raise OperationError(Code.ALREADY_EXISTS, f"already exists: {body['name']}")
    kind = f"type.googleapis.com/google.cloud.healthcare.{version}.dataset.Dataset"
    return {"@type": kind, **body}


def _is_being_created(context: RequestContext, name: DatasetName) -> bool:
    operations = context.services.operations.of_dataset(name)
    return any(
        operation["metadata"]["apiMethodName"].endswith(".CreateDataset")
        for operation in operations
        if not operation.get("done")
    )


def _body(context: RequestContext) -> dict[str, Any]:
    body = context.storage.resources.dataset_body(context.dataset)
    if body is None:
        raise context.missing(str(context.dataset))
    return body


def _check(body: dict[str, Any]) -> None:
    zone = body.get("timeZone", "UTC")
    if zone == "UTC":
        return
    try:
        ZoneInfo(zone)
    except (TypeError, ValueError, OSError, KeyError):
        raise Refusal(error(400, f"invalid time_zone: {zone!r}")) from None
