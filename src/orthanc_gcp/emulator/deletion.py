"""Deletion of studies, series and instances (Healthcare API, ``dicomWeb.studies.delete`` etc.).

The instances of a study or series are gone before its operation is announced, so a client that
polls finds the operation done at once.
"""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from orthanc_gcp.emulator.calls import Call
from orthanc_gcp.emulator.notifications import announcer
from orthanc_gcp.emulator.operations import record_done, record_failed
from orthanc_gcp.emulator.responses import json_answer

__all__ = ["delete_instance", "delete_series", "delete_study"]


async def delete_study(call: Call) -> Response:
    """Handle ``DELETE …/studies/{study}``."""
    return await _delete_many(call)


async def delete_series(call: Call) -> Response:
    """Handle ``DELETE …/studies/{study}/series/{series}``."""
    return await _delete_many(call)


async def delete_instance(call: Call) -> Response:
    """Handle ``DELETE …/instances/{instance}``, which needs no operation."""
    await asyncio.to_thread(_delete, call)
    return json_answer({})


async def _delete_many(call: Call) -> Response:
    started = call.services.clock()
    failure = call.services.switches.state.operation_failure
    if failure is not None:
        return json_answer(record_failed(call, started, failure, len(call.instances())))
    count = await asyncio.to_thread(_delete, call)
    return json_answer(record_done(call, started, count))


def _delete(call: Call) -> int:
    instances = call.instances()
    call.storage.delete(instances, announcer(call, "DeleteInstances"))
    return len(instances)
