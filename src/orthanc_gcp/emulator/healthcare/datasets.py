"""Datasets (REST reference of the Healthcare API)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.locations import require_location
from orthanc_gcp.emulator.healthcare.operation_methods import begin_short
from orthanc_gcp.emulator.healthcare.operations import Job, OperationError
from orthanc_gcp.emulator.healthcare.paging import page
from orthanc_gcp.emulator.healthcare.request_context import Call
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
_ALREADY_EXISTS = 6


async def list_datasets(call: Call) -> Response:
    """Handle ``datasets.list``."""
    await require_location(call)
    find = partial(call.storage.index.datasets, call.location)
    return json_answer(await asyncio.to_thread(page, call.request, "datasets", find))


async def get_dataset(call: Call) -> Response:
    """Handle ``datasets.get``."""
    return json_answer(_body(call))


async def create_dataset(call: Call) -> Response:
    """Handle ``datasets.create``, by an operation."""
    await require_location(call)
    dataset_id = call.request.query_params.get("datasetId", "")
    if not STORE_ID.fullmatch(dataset_id):
        raise Refusal(error(400, f"invalid dataset_id: {dataset_id!r}"))
    given = await read_object(call.request)
    name = call.location.dataset(dataset_id)
    body = {"name": str(name), **{field: given[field] for field in _SETTABLE if given.get(field)}}
    _check(body)
    if call.storage.index.has_dataset(name):
        raise Refusal(error(409, f"already exists: {name}"))
    call = replace(call, names={**call.names, "dataset": dataset_id})
    return await begin_short(call, {"body": body, "version": call.version})


async def patch_dataset(call: Call) -> Response:
    """Handle ``datasets.patch``: only what ``updateMask`` names changes."""
    body = _body(call)
    mask = field_mask(call.request, _CHANGEABLE)
    given = await read_object(call.request)
    body = {**body, **{field: given.get(field) for field in mask}}
    body = {field: value for field, value in body.items() if value}
    _check(body)
    call.storage.index.put_dataset_body(call.dataset, body)
    return json_answer(body)


async def delete_dataset(call: Call) -> Response:
    """Handle ``datasets.delete``: it is gone at once, with its stores and its operations."""
    call.require_dataset()
    services, dataset = call.services, call.dataset
    services.operations.cancel_all(dataset)
    for body in list(call.storage.index.list_stores(dataset)):
        services.policies.set(dataset.store(body["name"].rpartition("/")[2]), [])
    services.policies.set(dataset, [])
    await asyncio.to_thread(call.storage.delete_dataset, dataset)
    return json_answer({})


def add_dataset(job: Job) -> dict[str, Any]:
    """Carry out ``datasets.create``."""
    body, version = job.parameters["body"], job.parameters["version"]
    _, project, _, location, _, dataset = body["name"].split("/")
    if not job.storage.index.create_dataset(DatasetName(project, location, dataset), body):
        raise OperationError(_ALREADY_EXISTS, f"already exists: {body['name']}")
    kind = f"type.googleapis.com/google.cloud.healthcare.{version}.dataset.Dataset"
    return {"@type": kind, **body}


def _body(call: Call) -> dict[str, Any]:
    body = call.storage.index.dataset_body(call.dataset)
    if body is None:
        raise call.missing(str(call.dataset))
    return body


def _check(body: dict[str, Any]) -> None:
    zone = body.get("timeZone", "UTC")
    if zone == "UTC":
        return
    try:
        ZoneInfo(zone)
    except (TypeError, ValueError, OSError, KeyError):
        raise Refusal(error(400, f"invalid time_zone: {zone!r}")) from None
