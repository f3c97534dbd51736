"""Import of instances from Cloud Storage, and export to it (``dicomStores.import``, ``.export``).

Cloud Storage is a folder here. De-identification and BigQuery are not emulated.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from starlette.responses import Response

from orthanc_gcp.emulator.cloud_storage.buckets import UnavailableError
from orthanc_gcp.emulator.cloud_storage.object_uri import InvalidUriError, ObjectUri
from orthanc_gcp.emulator.dicom.imaging_errors import ImagingError
from orthanc_gcp.emulator.dicom.imaging_jobs import Transcoding
from orthanc_gcp.emulator.dicom.reader import InvalidDicomError
from orthanc_gcp.emulator.dicom.transfer_syntaxes import AS_STORED, KNOWN, can_convert
from orthanc_gcp.emulator.healthcare.instance_filter import (
    check_filter,
    selected_instances,
)
from orthanc_gcp.emulator.healthcare.jobs import Code, Job, OperationError
from orthanc_gcp.emulator.healthcare.notifications import IMPORT, notifier
from orthanc_gcp.emulator.healthcare.operation_methods import begin_long
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.healthcare.service_agent import ServiceAgent
from orthanc_gcp.emulator.healthcare.storage_classes import storage_class, wanted_class
from orthanc_gcp.emulator.http.media_types import parse_media_type
from orthanc_gcp.emulator.http.negotiation import DICOM
from orthanc_gcp.emulator.http.requests import read_object
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.instances import Notify, StoredInstance
from orthanc_gcp.emulator.storage.records import path_segment
from orthanc_gcp.emulator.storage.storage import BeingDeletedError
from orthanc_gcp.emulator.storage.uploads import Upload, UploadResult

__all__ = ["export_instances", "import_instances", "read_objects", "write_objects"]

logger = logging.getLogger(__name__)

_NO_OBJECTS = "the import pattern '{}' resolves to zero GCS objects"
_BLOCK = 512 * 1024
MAX_OBJECT = 100 * 10**9
"""The bytes that a file may have (Healthcare API, quotas and limits)."""
DIFFERENT = (
    "An instance already exists in this DICOM Store with the same Study/Series/SOPInstance UID, "
    "but the DICOM files differ (checksum mismatch)."
)


async def import_instances(context: RequestContext) -> Response:
    """Handle ``dicomStores.import``, by an operation.

    Raises :class:`Refusal` when there is no such store (403 or 404), for a wrong body and for a
    pattern that no object matches (400), when the service agent may not list the bucket (403), and
    as :func:`begin_long` does.
    """
    store = context.store_id()
    body = await read_object(context.request)
    uri = _uri(body, "gcsSource", "uri")
    try:
        uri.pattern()
    except InvalidUriError as problem:
        raise Refusal(error(400, str(problem))) from problem
    if not uri.name:
        raise Refusal(error(400, f"the URI names no objects: {str(uri)!r}"))
    wanted = wanted_class(body, required=False)
    await asyncio.to_thread(_require_objects, context.services.agent, uri)
    parameters = {
        "store": store,
        "name": str(context.store),
        "uri": str(uri),
        "class": wanted,
        "version": context.version,
    }
    return await begin_long(context, parameters)


async def export_instances(context: RequestContext) -> Response:
    """Handle ``dicomStores.export``, by an operation.

    Raises as :func:`import_instances` does, and for BigQuery (501).
    """
    store = context.store_id()
    body = await read_object(context.request)
    if body.get("bigqueryDestination"):
        raise Refusal(error(501, "The emulator has no BigQuery."))
    uri = _uri(body, "gcsDestination", "uriPrefix")
    parameters = {
        "store": store,
        "uids": [],
        "uri": str(uri),
        "transfer_syntax": _transfer_syntax(body["gcsDestination"].get("mimeType")),
        "filter": check_filter(body),
        "version": context.version,
    }
    return await begin_long(context, parameters)


def _require_objects(agent: ServiceAgent, uri: ObjectUri) -> None:
    try:
        if next(agent.find(uri), None) is not None:
            return
    except UnavailableError as problem:
        raise Refusal(error(403, str(problem))) from problem
    raise Refusal(error(400, _NO_OBJECTS.format(uri)))


def read_objects(job: Job) -> dict[str, Any]:
    """Carry out an import: what is stored already, and the same, is a success again.

    Raises :class:`OperationError` when the bucket, every object or the store is missing, and what
    :meth:`Job.check` does. An object that cannot be stored is counted as a failure.
    """
    uri = ObjectUri.parse(job.parameters["uri"])
    store = StoreName.parse(job.parameters["name"])
    notify = notifier(job.storage.resources, store, job.clock, IMPORT)
    number = 0
    try:
        for number, name in enumerate(job.agent.find(uri), 1):
            job.check()
            if job.storage.resources.store_id(store) != job.parameters["store"]:
                raise OperationError(Code.NOT_FOUND, "the DICOM store was deleted")
            _count(job, number, _import_one(job, ObjectUri(uri.bucket, name), notify))
    except UnavailableError as problem:
        raise OperationError(Code.PERMISSION_DENIED, str(problem)) from problem
    if not number:
        raise OperationError(Code.INVALID_ARGUMENT, _NO_OBJECTS.format(uri))
    return _response(job, "ImportDicomDataResponse")


def write_objects(job: Job) -> dict[str, Any]:
    """Carry out an export; objects that are there already are replaced.

    Raises :class:`OperationError` when the bucket is missing or the filter is wrong, and what
    :meth:`Job.check` does. An instance that cannot be had is counted as a failure.
    """
    prefix = ObjectUri.parse(job.parameters["uri"])
    instances = (instance for batch in selected_instances(job) for instance in batch)
    for number, instance in enumerate(instances, 1):
        job.check()
        _count(job, number, _export_one(job, prefix, instance))
    return _response(job, "ExportDicomDataResponse")


def _import_one(job: Job, uri: ObjectUri, notify: Notify | None) -> str | None:
    """Store an object; return why it failed, if it did."""
    upload = job.storage.begin()
    try:
        _fill(upload, job, uri)
        record = upload.read_record()
        wanted = storage_class(job.parameters["class"], job.clock())
        outcome = job.storage.keep(
            job.parameters["store"], record, upload, storage_class=wanted, notify=notify
        )
    except BeingDeletedError:
        reason = "the study or series is being deleted"
    except UnavailableError:
        reason = "the object is gone, or may not be read"
    except InvalidDicomError as problem:
        reason = str(problem)
    except BaseException:
        upload.discard()
        raise
    else:
        return DIFFERENT if outcome is UploadResult.DIFFERENT else None
    upload.discard()
    return reason


def _fill(upload: Upload, job: Job, uri: ObjectUri) -> None:
    with job.agent.open(uri) as file:
        if os.fstat(file.fileno()).st_size > MAX_OBJECT:
            raise InvalidDicomError("the file is too large to be imported")
        while block := file.read(_BLOCK):
            job.check()
            upload.write(memoryview(block))
    if not upload.size:
        raise InvalidDicomError("empty DICOM instance found")


def _export_one(job: Job, prefix: ObjectUri, instance: StoredInstance) -> str | None:
    """Write an object; return why it failed, if it did."""
    key = instance.key
    folder = f"{prefix.name}/" if prefix.name else ""
    uids = "/".join(map(path_segment, (key.study, key.series, key.instance)))
    path = f"{folder}{uids}.dcm"
    try:
        with (
            _source(job, instance) as source,
            job.agent.create(ObjectUri(prefix.bucket, path)) as target,
        ):
            while block := source.read(_BLOCK):
                job.check()
                target.write(block)
    except UnavailableError as problem:
        raise OperationError(Code.PERMISSION_DENIED, str(problem)) from problem
    except FileNotFoundError:
        return "the instance was deleted meanwhile"
    except InvalidUriError:
        return "the UIDs are too long for the name of an object"
    except ImagingError as problem:
        return str(problem)
    return None


@contextmanager
def _source(job: Job, instance: StoredInstance) -> Iterator[BinaryIO]:
    """Open an instance in the transfer syntax that an export asks for."""
    wanted = job.parameters["transfer_syntax"]
    instance, descriptor = job.storage.open_current(job.parameters["store"], instance)
    with os.fdopen(descriptor, "rb") as file:
        if not can_convert([instance.transfer_syntax], wanted):
            raise ImagingError(f"the instance cannot be had in {wanted}")
        if wanted in (AS_STORED, instance.transfer_syntax):
            yield file
        else:
            with job.imaging.begin(Transcoding(wanted), file.fileno()).result() as made:
                yield made


def _count(job: Job, number: int, failure: str | None) -> None:
    if failure is None:
        job.count(success=1)
    else:
        job.count(failure=1)
        if _is_logged(job):
            # By its number in the order of names: names of files may contain those of patients.
            logger.warning("%s: file %d: %s", job.name, number, failure)


def _is_logged(job: Job) -> bool:
    """Return whether the latest failure gets into the log, as far as that is to be complete."""
    share = 1 - job.fault_settings.current.unlogged_errors
    return _whole(job.failures * share) > _whole((job.failures - 1) * share)


def _whole(number: float) -> int:
    return int(number + 1e-9)


def _uri(body: dict[str, Any], field: str, name: str) -> ObjectUri:
    given = body.get(field)
    try:
        return ObjectUri.parse(given.get(name) if isinstance(given, dict) else None)
    except InvalidUriError as problem:
        raise Refusal(error(400, f"{field}.{name}: {problem}")) from problem


def _transfer_syntax(mime_type: Any) -> str:
    """Return what an export is asked for; by default, what is stored."""
    if not mime_type:
        return AS_STORED
    media_type = parse_media_type(mime_type if isinstance(mime_type, str) else "")
    wanted = media_type.parameters.get("transfer-syntax", AS_STORED)
    if media_type.full != DICOM or wanted not in KNOWN:
        raise Refusal(error(400, f"unsupported mime_type: {mime_type!r}"))
    return wanted


def _response(job: Job, name: str) -> dict[str, Any]:
    package = f"google.cloud.healthcare.{job.parameters['version']}.dicom"
    return {"@type": f"type.googleapis.com/{package}.{name}"}
