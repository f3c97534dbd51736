"""Changes of metadata: a JSON Patch (RFC 6902) for an instance, or for all of a series or study.

Source: Healthcare API v1beta1, ``dicomWeb.studies.updateMetadata`` etc.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import struct
from contextlib import suppress
from itertools import chain
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.dicom.listing import choose_listing
from orthanc_gcp.emulator.dicom.reader import InvalidDicomError
from orthanc_gcp.emulator.dicomweb.file_editing import EditedFile, edit
from orthanc_gcp.emulator.dicomweb.json_patch import PatchError, PatchOperation, read_patch
from orthanc_gcp.emulator.dicomweb.wado import retrieve_metadata
from orthanc_gcp.emulator.healthcare.jobs import EMPTY, Code, Job, OperationError
from orthanc_gcp.emulator.healthcare.notifications import notifier
from orthanc_gcp.emulator.healthcare.operation_methods import begin_short
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.requests import MAX_CONTROL_BODY, parse_json, read_limited
from orthanc_gcp.emulator.http.responses import Refusal, error
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.storage.instances import InstanceChange, Notify, StoredInstance
from orthanc_gcp.emulator.storage.operation_tables import mark_changed
from orthanc_gcp.emulator.storage.storage import BeingDeletedError, Storage
from orthanc_gcp.emulator.storage.uploads import Upload
from orthanc_gcp.emulator.system.files import read_at

__all__ = ["change_instances", "update_metadata"]

_ACTION = "UpdateMetadata"
_BLOCK = 512 * 1024


async def update_metadata(context: RequestContext) -> Response:
    """Handle ``PATCH …/metadata`` of a study, a series or an instance.

    Raises :class:`Refusal` when the body is no patch, or does not fit the instance (400), when
    there is nothing of that name (403 or 404), or while it is being deleted (409). What does not
    fit the instances of a study or series is the error of the operation.
    """
    store = context.store_id()
    patch = await _read_patch(context)
    if "instance" not in context.names:
        return await _update_many(context, store, patch)
    choose_listing(context.request)  # which refuses what the answer cannot be
    await asyncio.to_thread(_update_one, context, patch)
    return await retrieve_metadata(context)


def change_instances(job: Job) -> dict[str, Any]:
    """Carry out the change of a study or series, one instance after the other.

    An instance that was changed before a crash is not changed again. Raises :class:`OperationError`
    at the end when some could not be changed, and what :meth:`Job.check` does.
    """
    parameters, index = job.parameters, job.storage.index
    changes = read_patch(json.loads(parameters["patch"]))
    update = MetadataUpdate(
        job.storage, parameters["store"], changes, parameters["url"], _marker(job)
    )
    done, problem = job.storage.operations.changed(job.name), None
    left = max(parameters["total"] - done, 0)
    job.count(success=done, pending=left)
    for instance in chain.from_iterable(index.batches(parameters["store"], *parameters["uids"])):
        job.check()
        if job.storage.operations.is_changed(job.name, instance.key):
            continue  # those that are changed come last, and are met again
        left = max(left - 1, 0)
        try:
            job.count(success=update.change(instance), pending=left)
        except (BeingDeletedError, PatchError) as failure:
            problem = problem or _reason(failure)
            job.count(failure=1, pending=left)
    if problem is not None:
        raise OperationError(Code.INVALID_ARGUMENT, problem)
    return {"@type": f"type.googleapis.com/{EMPTY}"}


async def _update_many(context: RequestContext, store: int, patch: str) -> Response:
    uids = [context.names[level] for level in ("study", "series") if level in context.names]
    totals = await asyncio.to_thread(context.storage.index.totals, store, *uids)
    if not totals.instances:
        raise context.missing_path()
    parameters = {
        "store": store,
        "name": str(context.store),
        "uids": uids,
        "patch": patch,
        "url": context.dicomweb_url,
        "total": totals.instances,
    }
    return await begin_short(context, parameters)


def _update_one(context: RequestContext, patch: str) -> None:
    """Change the only instance; refuse what does not fit it."""
    notify = notifier(context.storage.resources, context.store, context.services.clock, _ACTION)
    changes = read_patch(json.loads(patch))
    update = MetadataUpdate(
        context.storage, context.store_id(), changes, context.dicomweb_url, notify
    )
    (instance,) = context.instances()
    try:
        done = update.change(instance)
    except PatchError as failure:
        raise Refusal(error(400, _reason(failure))) from failure
    except BeingDeletedError as failure:
        raise Refusal(error(409, _reason(failure), name="ABORTED")) from failure
    if not done:
        raise context.missing_path()


async def _read_patch(context: RequestContext) -> str:
    """Return the JSON Patch that a request brings, or refuse what is none."""
    body = await read_limited(context.request, MAX_CONTROL_BODY)
    try:
        patch = body.decode(json.detect_encoding(body))
        read_patch(await asyncio.to_thread(parse_json, body))
    except PatchError as refusal:
        raise Refusal(error(400, f"invalid JSON patch: {refusal}")) from refusal
    except (ValueError, RecursionError):
        raise Refusal(error(400, "Invalid JSON payload received.")) from None
    return patch


def _marker(job: Job) -> Notify:
    """Return what notes which instances an operation has changed, and notifies of them."""
    store = StoreName.parse(job.parameters["name"])
    notify = notifier(job.storage.resources, store, job.clock, _ACTION)

    def mark(sql: sqlite3.Connection, change: InstanceChange) -> None:
        mark_changed(sql, job.name, change.key)
        if notify is not None:
            notify(sql, change)

    return mark


def _reason(failure: Exception) -> str:
    if isinstance(failure, BeingDeletedError):
        return "the study or series is being deleted"
    return f"the patch cannot be applied: {failure}"


class MetadataUpdate:
    """One change of instances of a store; ``url`` is the store's, for its bulk data."""

    def __init__(
        self,
        storage: Storage,
        store: int,
        changes: list[PatchOperation],
        url: str,
        notify: Notify | None,
    ) -> None:
        self._storage = storage
        self._store = store
        self._changes = changes
        self._url = url
        self._notify = notify

    def change(self, instance: StoredInstance) -> bool:
        """Change an instance; return whether it is still there.

        Raises :class:`PatchError` when the patch does not fit it, and :class:`BeingDeletedError`.
        """
        storage = self._storage
        present: StoredInstance | None = instance
        while present is not None:
            with suppress(FileNotFoundError):
                if self._replace(present):
                    return True
            # Somebody else has replaced or deleted it meanwhile.
            found = storage.index.instance(self._store, instance.key)
            present = None if found == present else found
        return False

    def _replace(self, instance: StoredInstance) -> bool:
        storage = self._storage
        bulk_data = f"{self._url}/{instance.key.path}/bulkdata/"
        with os.fdopen(storage.open(instance.file), "rb") as file:
            try:
                edited = edit(file, self._changes, bulk_data)
            except (InvalidDicomError, struct.error) as invalid:
                raise PatchError("the file cannot be read") from invalid
            if edited is None:
                return True
            upload = storage.begin()
            try:
                _write(upload, edited, file.fileno())
                record = upload.read_record()
            except InvalidDicomError as invalid:
                upload.discard()
                raise PatchError(str(invalid)) from invalid
            except BaseException:
                upload.discard()
                raise
        return storage.swap(self._store, record, upload, instance.file, self._notify)


def _write(upload: Upload, edited: EditedFile, descriptor: int) -> None:
    upload.write(memoryview(edited.head))
    at = edited.rest
    while block := read_at(descriptor, _BLOCK, at):
        upload.write(memoryview(block))
        at += len(block)
