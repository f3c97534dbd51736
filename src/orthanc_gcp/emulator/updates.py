"""Changes of metadata: a JSON Patch for an instance, or for all of a series or a study.

Source: Healthcare API v1beta1, ``dicomWeb.studies.updateMetadata`` etc.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress

from starlette.responses import Response

from orthanc_gcp.emulator.calls import Call
from orthanc_gcp.emulator.dicom_models import choose_listing
from orthanc_gcp.emulator.dicom_reader import InvalidDicomError
from orthanc_gcp.emulator.editing import EditedFile, edit
from orthanc_gcp.emulator.incoming import MAX_CONTROL_BODY, read_limited
from orthanc_gcp.emulator.index import Announce, StoredInstance
from orthanc_gcp.emulator.json_patch import Change, PatchError, read_patch
from orthanc_gcp.emulator.notifications import announcer
from orthanc_gcp.emulator.operations import record_done, record_failed
from orthanc_gcp.emulator.responses import Refusal, error, json_answer
from orthanc_gcp.emulator.storage import Upload
from orthanc_gcp.emulator.wado import retrieve_metadata

__all__ = ["update_metadata"]

_BLOCK = 512 * 1024


async def update_metadata(call: Call) -> Response:
    """Handle ``PATCH …/metadata`` of a study, a series or an instance."""
    call.store_id()
    changes = _read_changes(await read_limited(call.request, MAX_CONTROL_BODY))
    update = Update(call, changes)
    if "instance" not in call.names:
        return json_answer(await asyncio.to_thread(update.all))
    choose_listing(call.request)  # which refuses what the answer cannot be
    await asyncio.to_thread(update.one)
    return await retrieve_metadata(call)


def _read_changes(body: bytes) -> list[Change]:
    try:
        return read_patch(json.loads(body))
    except PatchError as refusal:
        raise Refusal(error(400, f"invalid JSON patch: {refusal}")) from refusal
    except (ValueError, RecursionError):
        raise Refusal(error(400, "Invalid JSON payload received.")) from None


class Update:
    """One change of the instances that a path names."""

    def __init__(self, call: Call, changes: list[Change]) -> None:
        self._call = call
        self._changes = changes
        self._store = call.store_id()
        self._announce: Announce | None = announcer(call, "UpdateMetadata")

    def one(self) -> None:
        """Change the only instance; refuse what does not fit it."""
        (instance,) = self._call.instances()
        try:
            done = self._change(instance)
        except PatchError as refusal:
            raise Refusal(error(400, f"the patch cannot be applied: {refusal}")) from refusal
        if not done:
            raise self._call.missing_path()

    def all(self) -> dict[str, str]:
        """Change one instance after the other; return the operation."""
        started = self._call.services.clock()
        failure = self._call.services.switches.state.operation_failure
        if failure is not None:
            return record_failed(self._call, started, failure, len(self._call.instances()))
        done, failures = 0, []
        for instance in self._call.instances():
            try:
                done += self._change(instance)
            except PatchError as refusal:
                failures.append(f"the patch cannot be applied: {refusal}")
        return record_done(self._call, started, done, failures)

    def _change(self, instance: StoredInstance) -> bool:
        """Change an instance; tell whether it is still there."""
        storage = self._call.storage
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
        storage = self._call.storage
        bulk_data = f"{self._call.instance_url(instance.key)}/bulkdata/"
        with os.fdopen(storage.open(instance.file), "rb") as file:
            edited = edit(file, self._changes, bulk_data)
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
        return storage.swap(self._store, record, upload, instance.file, self._announce)


def _write(upload: Upload, edited: EditedFile, descriptor: int) -> None:
    upload.write(memoryview(edited.head))
    at = edited.rest
    while block := os.pread(descriptor, _BLOCK, at):
        upload.write(memoryview(block))
        at += len(block)
