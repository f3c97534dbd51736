"""How much a store, a study, a series or an instance holds (Healthcare API, ``DicomStoreMetrics``).

Sizes are in bytes. Google's values lag behind what is stored; here they do not. Handlers raise
:class:`Refusal` (403 or 404) when there is no such resource.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.responses import json_answer
from orthanc_gcp.emulator.http.timestamps import timestamp
from orthanc_gcp.emulator.storage.index import Totals
from orthanc_gcp.emulator.storage.instances import STANDARD, StorageClass
from orthanc_gcp.emulator.storage.records import resource_path

__all__ = ["get_series_metrics", "get_storage_info", "get_store_metrics", "get_study_metrics"]


async def get_store_metrics(context: RequestContext) -> Response:
    """Handle ``dicomStores.getDICOMStoreMetrics``."""
    totals = await asyncio.to_thread(context.storage.index.totals, context.store_id())
    counts = {"studyCount": totals.studies, "seriesCount": totals.series}
    return json_answer({"name": str(context.store), **_metrics(totals, counts)})


async def get_study_metrics(context: RequestContext) -> Response:
    """Handle ``studies.getStudyMetrics``."""
    totals = await asyncio.to_thread(_totals, context)
    study = f"{context.store}/dicomWeb/{resource_path(context.names['study'])}"
    return json_answer({"study": study, **_metrics(totals, {"seriesCount": totals.series})})


async def get_series_metrics(context: RequestContext) -> Response:
    """Handle ``series.getSeriesMetrics``."""
    totals = await asyncio.to_thread(_totals, context)
    names = context.names
    path = resource_path(names["study"], names["series"])
    series = f"{context.store}/dicomWeb/{path}"
    return json_answer({"series": series, **_metrics(totals, {})})


async def get_storage_info(context: RequestContext) -> Response:
    """Handle ``instances.getStorageInfo``."""
    totals = await asyncio.to_thread(_totals, context)
    instance, file = context.open_instance()
    with file:
        found = context.storage.index.storage_class(instance.file)
        if found is None:
            found = StorageClass(STANDARD, os.fstat(file.fileno()).st_mtime)
    blob = {
        "sizeBytes": str(instance.size),
        "storageClass": found.name,
        "storageClassUpdateTime": timestamp(found.updated),
    }
    return json_answer(
        {
            "referencedResource": f"{context.store}/dicomWeb/{instance.key.path}",
            "blobStorageInfo": blob,
            "structuredStorageInfo": {"sizeBytes": str(totals.structured_size)},
        }
    )


def _totals(context: RequestContext) -> Totals:
    """Return what the resource of the path holds, or refuse because it does not exist."""
    names = context.names
    totals = context.storage.index.totals(
        context.store_id(), names["study"], names.get("series"), names.get("instance")
    )
    if not totals.instances:
        raise context.missing_path()
    return totals


def _metrics(totals: Totals, counts: dict[str, int]) -> dict[str, Any]:
    """Return the numbers: 64-bit ones are text in Google's JSON, and zero is left out."""
    numbers = {
        **counts,
        "instanceCount": totals.instances,
        "structuredStorageSizeBytes": totals.structured_size,
        "blobStorageSizeBytes": totals.blob_size,
    }
    return {name: str(number) for name, number in numbers.items() if number}
