"""Objects: files of buckets, with what Cloud Storage says of them.

Files that somebody put into the folder are objects as well: they have a generation by their time,
and checksums when they are not too long to be read for that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from orthanc_gcp.emulator.cloud_storage.answers import (
    invalid,
    no_such_bucket,
    no_such_object,
    refusal,
)
from orthanc_gcp.emulator.cloud_storage.buckets import Buckets, UnavailableError, UnfinishedObject
from orthanc_gcp.emulator.cloud_storage.checksums import Checksums
from orthanc_gcp.emulator.cloud_storage.object_fields import MAX_FIELDS, patched
from orthanc_gcp.emulator.cloud_storage.object_uri import InvalidUriError, ObjectUri, steps
from orthanc_gcp.emulator.cloud_storage.preconditions import Preconditions
from orthanc_gcp.emulator.storage.object_table import ObjectRecord, ObjectTable
from orthanc_gcp.emulator.system.files import read_at

__all__ = ["Objects", "StoredObject", "object_uri"]

MAX_HASHED = 256 * 1024 * 1024
"""How long a file may be that is read for its checksums only, in bytes."""
_BLOCK = 1024 * 1024
_ABSENT = 0, 0
_NO_ROOM = "The emulator's folder has no room for it: a folder and a file would have one name."


@dataclass(frozen=True)
class StoredObject:
    """An object that is there: ``size`` in bytes, and what is known of it."""

    uri: ObjectUri
    size: int
    record: ObjectRecord


class Objects:
    """The objects of all buckets.

    Methods raise :class:`Refusal` for a bucket or object that there is not (404), for a
    precondition that does not hold (412), and for a name that no file can have (400).
    """

    def __init__(self, buckets: Buckets, table: ObjectTable, clock: Callable[[], float]) -> None:
        self._buckets, self._table, self._clock = buckets, table, clock
        self._lock = threading.RLock()

    def open(self, uri: ObjectUri, preconditions: Preconditions) -> tuple[BinaryIO, StoredObject]:
        """Return the content of an object, which stays as it is, and what is known of it."""
        file = self._open(uri)
        try:
            known = self._known(uri, file)
            record = known.record
            _require(uri, preconditions, record.generation, record.metageneration)
        except BaseException:
            file.close()
            raise
        return file, known

    def get(self, uri: ObjectUri, preconditions: Preconditions) -> StoredObject:
        """Return what is known of an object."""
        file, known = self.open(uri, preconditions)
        file.close()
        return known

    def listed(self, uri: ObjectUri) -> StoredObject | None:
        """Return what is known of an object without reading it; nothing when it is gone."""
        try:
            with self._buckets.open(uri) as file:
                status = os.fstat(file.fileno())
        except UnavailableError:
            return None
        return StoredObject(uri, status.st_size, self._record(uri, status))

    def finish(
        self,
        unfinished: UnfinishedObject,
        uri: ObjectUri,
        checksums: Checksums,
        fields: dict[str, Any],
        preconditions: Preconditions,
    ) -> StoredObject:
        """Let an object be there that has been written."""
        with self._lock:
            before = self._current(uri)
            _require(uri, preconditions, *before)
            status, now = unfinished.status(), self._clock()
            if status.st_size != checksums.size:
                raise refusal(503, "backendError", "The file was changed while it was written.")
            record = ObjectRecord(
                _identity(status),
                max(status.st_mtime_ns // 1000, before[0] + 1),
                1,
                now,
                now,
                checksums.md5,
                checksums.crc32c,
                fields,
            )
            try:
                self._buckets.finish(unfinished, uri)
            except UnavailableError as problem:
                message = (
                    "The emulator's folder has no room for it: a folder and a file of one name."
                )
                raise refusal(409, "conflict", message) from problem
            self._table.put(uri.bucket, uri.name, record)
        return StoredObject(uri, status.st_size, record)

    def update(
        self, uri: ObjectUri, given: dict[str, Any], preconditions: Preconditions
    ) -> StoredObject:
        """Change what a client can say of an object; its content stays."""
        with self._lock:
            known = self.get(uri, preconditions)
            fields = patched(known.record.fields, given)
            if len(str(fields)) > MAX_FIELDS:
                raise invalid("The metadata of the object are too long.")
            record = replace(
                known.record,
                metageneration=known.record.metageneration + 1,
                updated=self._clock(),
                fields=fields,
            )
            self._table.put(uri.bucket, uri.name, record)
        return replace(known, record=record)

    def delete(self, uri: ObjectUri, preconditions: Preconditions) -> None:
        """Remove an object."""
        with self._lock:
            before = self._current(uri)
            if before == _ABSENT:
                raise self._missing(uri)
            _require(uri, preconditions, *before)
            with suppress(UnavailableError):
                self._buckets.delete(uri)
            self._table.remove(uri.bucket, uri.name)

    def _open(self, uri: ObjectUri) -> BinaryIO:
        try:
            with self._buckets.open(uri) as file:
                return os.fdopen(os.dup(file.fileno()), "rb")
        except UnavailableError as problem:
            raise self._missing(uri) from problem

    def _missing(self, uri: ObjectUri) -> Exception:
        try:
            self._buckets.bucket_status(uri.bucket)
        except UnavailableError:
            return no_such_bucket()
        return no_such_object(uri.bucket, uri.name)

    def _current(self, uri: ObjectUri) -> tuple[int, int]:
        """Return generation and metageneration of the object that is there."""
        known = self.listed(uri)
        return _ABSENT if known is None else (known.record.generation, known.record.metageneration)

    def _known(self, uri: ObjectUri, file: BinaryIO) -> StoredObject:
        status = os.fstat(file.fileno())
        record = self._record(uri, status)
        if record.md5 is None and status.st_size <= MAX_HASHED:
            checksums = Checksums()
            while block := read_at(file.fileno(), _BLOCK, checksums.size):
                checksums.update(block)
            record = replace(record, md5=checksums.md5, crc32c=checksums.crc32c)
            if record.file == _identity(os.fstat(file.fileno())):
                self._remember(uri, record)
        return StoredObject(uri, status.st_size, record)

    def _remember(self, uri: ObjectUri, record: ObjectRecord) -> None:
        with self._lock:
            now = self._table.get(uri.bucket, uri.name)
            if now is None or now.generation < record.generation:
                self._table.put(uri.bucket, uri.name, record)

    def _record(self, uri: ObjectUri, status: os.stat_result) -> ObjectRecord:
        """Return what is known of a file; of one that came by another way, what it shows."""
        known, identity = self._table.get(uri.bucket, uri.name), _identity(status)
        if known is not None and known.file == identity:
            return known
        generation = status.st_mtime_ns // 1000
        if known is not None:
            generation = max(generation, known.generation + 1)
        modified = status.st_mtime
        return ObjectRecord(identity, generation, 1, modified, modified, None, None, {})


def object_uri(bucket: str, name: str) -> ObjectUri:
    """Return the address of an object; raise :class:`Refusal` (400) for a name that is none."""
    try:
        steps(name)
    except InvalidUriError as problem:
        message = f"The emulator's folder has no room for an object of this name: {problem}"
        raise invalid(message) from problem
    return ObjectUri(bucket, name)


def _identity(status: os.stat_result) -> str:
    return f"{status.st_ino}/{status.st_size}/{status.st_mtime_ns}"


def _require(
    uri: ObjectUri, preconditions: Preconditions, generation: int, metageneration: int
) -> None:
    if preconditions.generation not in (None, generation):
        raise no_such_object(uri.bucket, uri.name)
    if not preconditions.hold(generation, metageneration):
        message = "At least one of the pre-conditions you specified did not hold."
        raise refusal(412, "conditionNotMet", message, location="If-Match")
