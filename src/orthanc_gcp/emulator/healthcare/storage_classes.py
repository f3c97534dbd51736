"""Storage classes of instances (Healthcare API, "DICOM storage class")."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.healthcare.instance_filter import check_filter, selected_instances
from orthanc_gcp.emulator.healthcare.jobs import Job
from orthanc_gcp.emulator.healthcare.notifications import notifier
from orthanc_gcp.emulator.healthcare.operation_methods import begin_short
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.requests import read_object
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.instances import STANDARD, StorageClass

__all__ = [
    "UnknownStorageClassError",
    "change_storage_class",
    "set_blob_storage_settings",
    "storage_class",
    "wanted_class",
]

_CLASSES = frozenset({STANDARD, "NEARLINE", "COLDLINE", "ARCHIVE"})


class UnknownStorageClassError(ValueError):
    """A storage class that there is not."""


def storage_class(name: str | None, moment: float) -> StorageClass | None:
    """Return a storage class since a moment, in seconds since 1970; nothing for the default one.

    Raises :class:`UnknownStorageClassError`.
    """
    if name is None:
        return None
    if name not in _CLASSES:
        raise UnknownStorageClassError(name)
    return None if name == STANDARD else StorageClass(name, moment)


def wanted_class(body: dict[str, Any], *, required: bool) -> str | None:
    """Return the class that ``blobStorageSettings`` of a body asks for.

    Raises :class:`Refusal` (400) when there is no such class, or none where one is required.
    """
    settings = body.get("blobStorageSettings") or {}
    name = settings.get("blobStorageClass") if isinstance(settings, dict) else ""
    if (name is None and not required) or (isinstance(name, str) and name in _CLASSES):
        return name
    raise Refusal(error(400, f"invalid blob_storage_class: {name!r}"))


async def set_blob_storage_settings(context: RequestContext) -> Response:
    """Handle ``setBlobStorageSettings`` of a store, a study, a series or an instance.

    Raises :class:`Refusal` for a wrong body (400), for what there is not (403 or 404), and as
    :func:`begin_short` does.
    """
    store, names = context.store_id(), context.names
    body = await read_object(context.request)
    wanted = wanted_class(body, required=True)
    uids = [names[level] for level in ("study", "series", "instance") if level in names]
    if uids and body.get("filterConfig"):
        raise Refusal(error(400, "filter_config takes a DICOM store as the resource"))
    if uids and not context.storage.index.totals(store, *uids).instances:
        raise context.missing_path()
    parameters = {
        "store": store,
        "name": str(context.store),
        "uids": uids,
        "class": wanted,
        "filter": check_filter(body),
        "version": context.version,
    }
    return await begin_short(context, parameters)


def change_storage_class(job: Job) -> dict[str, Any]:
    """Carry out ``setBlobStorageSettings``.

    Raises what :func:`selected_instances` and :meth:`Job.check` do.
    """
    storage_class = StorageClass(job.parameters["class"], job.clock())
    store = StoreName.parse(job.parameters["name"])
    notify = notifier(job.storage.resources, store, job.clock, "SetBlobSettings")
    for batch in selected_instances(job):
        job.check()
        files = [instance.file for instance in batch]
        job.storage.put_storage_class(files, storage_class, notify)
        job.count(success=len(batch))
    package = f"google.cloud.healthcare.{job.parameters['version']}.storageinfo"
    return {"@type": f"type.googleapis.com/{package}.SetBlobStorageSettingsResponse"}
