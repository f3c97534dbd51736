"""Deletion of studies, series and instances (Healthcare API, ``dicomWeb.studies.delete`` etc.).

Until the operation of a study or series has ended, no instance is let into it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.jobs import EMPTY, Job
from orthanc_gcp.emulator.healthcare.notifications import notifier
from orthanc_gcp.emulator.healthcare.operation_methods import begin_short
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.responses import json_answer
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.storage import DeletionTarget

__all__ = ["carry_out_deletion", "delete_instance", "delete_series", "delete_study"]

_ACTION = "DeleteInstances"


async def delete_study(context: RequestContext) -> Response:
    """Handle ``DELETE …/studies/{study}``, by an operation.

    Raises :class:`Refusal` when there is no such study (403 or 404), and as :func:`begin_short`
    does.
    """
    return await _delete_many(context)


async def delete_series(context: RequestContext) -> Response:
    """Handle ``DELETE …/studies/{study}/series/{series}``, as :func:`delete_study` does."""
    return await _delete_many(context)


async def delete_instance(context: RequestContext) -> Response:
    """Handle ``DELETE …/instances/{instance}``, which needs no operation.

    Raises :class:`Refusal` when there is no such instance (403 or 404).
    """
    await asyncio.to_thread(_delete_one, context)
    return json_answer({})


def carry_out_deletion(job: Job) -> dict[str, Any]:
    """Carry out the deletion of a study or series; return the operation's ``response``.

    Raises what :meth:`Job.check` does. What a crash interrupted is counted from how much there was
    at first.
    """
    if job.deletion is None:
        raise ValueError("there is nothing to delete")
    index, total = job.storage.index, job.parameters["total"]
    left = index.totals(*job.deletion).instances
    job.count(success=max(total - left, 0), pending=left)
    notify = notifier(
        job.storage.resources, StoreName.parse(job.parameters["name"]), job.clock, _ACTION
    )
    for batch in index.batches(*job.deletion):
        job.check()
        job.storage.delete(batch, notify)
        left -= len(batch)
        job.count(success=len(batch), pending=max(left, 0))
    return {"@type": f"type.googleapis.com/{EMPTY}"}


def _delete_one(context: RequestContext) -> None:
    notify = notifier(context.storage.resources, context.store, context.services.clock, _ACTION)
    context.storage.delete(context.instances(), notify)


async def _delete_many(context: RequestContext) -> Response:
    names = context.names
    target = DeletionTarget(context.store_id(), names["study"], names.get("series"))
    totals = await asyncio.to_thread(context.storage.index.totals, *target)
    if not totals.instances:
        raise context.missing_path()
    parameters = {"total": totals.instances, "name": str(context.store)}
    return await begin_short(context, parameters, target)
