"""Files on disk and their index: what DICOM stores contain.

Small instances are in the database, next to their rows. A larger one is written to a file in
``staging``, which is moved to ``files`` once the index knows it, and moved back before the index
forgets it. So after a crash the index decides about each file that is left in staging: files that
it knows go (back) to ``files``, the others were never acknowledged and are deleted.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from filelock import BaseFileLock, FileLock, Timeout

from orthanc_gcp.emulator.resource_names import DatasetName, StoreName
from orthanc_gcp.emulator.storage.database import Database
from orthanc_gcp.emulator.storage.index import Index
from orthanc_gcp.emulator.storage.instances import Notify, StorageClass, StoredInstance
from orthanc_gcp.emulator.storage.operation_tables import OperationTables
from orthanc_gcp.emulator.storage.records import DetachedRecord, InstanceKey, Record
from orthanc_gcp.emulator.storage.resources import Resources
from orthanc_gcp.emulator.storage.search_lag import SearchLag
from orthanc_gcp.emulator.storage.uploads import Upload, UploadResult
from orthanc_gcp.emulator.system.files import file_of, open_to_read

__all__ = ["BeingDeletedError", "DeletionTarget", "DirectoryInUseError", "Storage"]

_DELETE_AT_ONCE = 100


class DirectoryInUseError(Exception):
    """Another emulator runs on the same directory."""


class BeingDeletedError(Exception):
    """An instance came for a study or series whose deletion has not ended."""


class DeletionTarget(NamedTuple):
    """A study, or one series of it, in the store of a row."""

    store: int
    study: str
    series: str | None


class Storage:
    """The files and the index of all stores in one directory.

    Parameters
    ----------
    directory : Path
        Where they are kept; it is made when it is not there.
    search_lag, clock : callable
        After how many seconds searches see a change, and what time it is.

    Raises
    ------
    DirectoryInUseError
        When another process has the directory.
    """

    def __init__(
        self,
        directory: Path,
        search_lag: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Images of patients may get here by mistake: nobody else is to read them.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(directory / "lock")
        self._files = directory / "files"
        self._staging = directory / "staging"
        for folder in (self._files, self._staging):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.database = Database(directory / "index.sqlite")
        self._forget()
        self.search_lag = SearchLag(self.database, directory / "searches", search_lag, clock)
        # A file moves when its entry in the index comes or goes: both or neither, for others.
        self._moving = threading.RLock()
        self._recover()
        # They were deleted while an instance arrived, or the end came in between.
        self._empty(self.resources.deleted_stores())

    def _forget(self) -> None:
        """Begin with nothing in memory."""
        self.index = Index(self.database)
        self.resources = Resources(self.database)
        self.operations = OperationTables(self.database)
        self._being_deleted: Counter[DeletionTarget] = Counter()

    def close(self) -> None:
        self.search_lag.close()
        self.database.close()
        self._lock.release()

    def begin(self) -> Upload:
        """Return where an instance that is about to arrive goes."""
        return Upload(self._staging)

    def keep(
        self,
        store: int,
        record: Record,
        upload: Upload,
        *,
        replace: bool = False,
        storage_class: StorageClass | None = None,
        notify: Notify | None = None,
    ) -> UploadResult:
        """Store an upload that is complete; what has its key already stays, or is replaced.

        Raises :class:`BeingDeletedError`, and stores nothing, between :meth:`begin_deletion` and
        :meth:`end_deletion` of its study or series.
        """
        replaced: str | None = None
        try:
            while not self._add(store, record, upload, replaced, storage_class, notify):
                present = self.index.instance(store, record.key)
                if present is None:
                    replaced = None  # it has been deleted this very moment: there is room now
                    continue
                same = present.sha256 == upload.stored_file().sha256
                if same or not replace:
                    upload.discard()
                    return UploadResult.IDENTICAL if same else UploadResult.DIFFERENT
                replaced = present.file
        except BaseException:
            upload.discard()
            raise
        upload.close()
        return UploadResult.STORED

    def swap(
        self, store: int, record: Record, upload: Upload, file: str, notify: Notify | None
    ) -> bool:
        """Put an upload in the place of a file, if that is still there; return whether it was.

        It goes into the same storage class. Raises :class:`BeingDeletedError` as :meth:`keep` does.
        """
        try:
            with self._moving:
                storage_class = self.index.storage_class(file)
                done = self._add(store, record, upload, file, storage_class, notify)
        except BaseException:
            upload.discard()
            raise
        if done:
            upload.close()
        else:
            upload.discard()
        return done

    def put_storage_class(
        self, files: Sequence[str], storage_class: StorageClass, notify: Notify | None
    ) -> None:
        """Put instances that are still there into a storage class."""
        with self._moving:
            self.index.put_storage_class(files, storage_class, notify)

    def _add(
        self,
        store: int,
        record: Record,
        upload: Upload,
        replaced: str | None,
        storage_class: StorageClass | None,
        notify: Notify | None,
    ) -> bool:
        with self._moving:
            if self._is_being_deleted(store, record.key):
                raise BeingDeletedError
            if replaced is not None:
                if not self.index.has_file(replaced):
                    return False
                self._withdraw(replaced)
            try:
                self._put(store, record, upload, replaced, storage_class, notify)
            except sqlite3.IntegrityError:
                return False
            # The index has it, so it must not go: while a full disk has no room for its entry in
            # the folder, it is found in staging, from where the next start moves it.
            with suppress(OSError):
                upload.move_to(self._files)
        if replaced is not None:
            (self._staging / replaced).unlink(missing_ok=True)
        return True

    def _put(
        self,
        store: int,
        record: Record,
        upload: Upload,
        replaced: str | None,
        storage_class: StorageClass | None,
        notify: Notify | None,
    ) -> None:
        """Enter an upload into the index."""
        file = upload.stored_file()
        if not self.search_lag.prepare():
            self.index.add(store, record, file, replaced, storage_class, notify)
            return
        detached = DetachedRecord.of(record)
        self.index.add(store, detached, file, replaced, storage_class, notify)
        # Searches need no content, and many changes may wait.
        about = (file._replace(content=None), replaced, storage_class)
        self.search_lag.repeat(lambda index: index.add(store, detached, *about))

    def begin_deletion(self, target: DeletionTarget) -> None:
        """Let no instance into a study or series until :meth:`end_deletion` was called as often."""
        with self._moving:
            self._being_deleted[target] += 1

    def end_deletion(self, target: DeletionTarget) -> None:
        with self._moving:
            self._being_deleted[target] -= 1
            self._being_deleted += Counter()  # drops what is at zero

    def _is_being_deleted(self, store: int, key: InstanceKey) -> bool:
        if not self._being_deleted:
            return False
        study = DeletionTarget(store, key.study, None)
        return (
            study in self._being_deleted or study._replace(series=key.series) in self._being_deleted
        )

    def open(self, file: str) -> int:
        """Return a descriptor of an instance's file; raise FileNotFoundError if it is deleted.

        What is in the database comes as a file in memory.
        """
        content = self.index.content(file)
        if content is not None:
            return file_of(content)
        # A file that the index knows may be still in staging, or leave it right now.
        for folder in (self._files, self._staging):
            with suppress(FileNotFoundError):
                return open_to_read(f"{folder}/{file}")
        return open_to_read(f"{self._files}/{file}")

    def open_current(self, store: int, instance: StoredInstance) -> tuple[StoredInstance, int]:
        """Return an instance as it is now, which may have been replaced since, and a descriptor.

        Raises FileNotFoundError if it is deleted.
        """
        while True:
            try:
                return instance, self.open(instance.file)
            except FileNotFoundError:
                found = self.index.instance(store, instance.key)
                if found is None or found.file == instance.file:
                    raise
                instance = found

    def delete(self, instances: Sequence[StoredInstance], notify: Notify | None = None) -> None:
        """Delete instances; in steps, so that uploads are not kept waiting."""
        for start in range(0, len(instances), _DELETE_AT_ONCE):
            self._delete(instances[start : start + _DELETE_AT_ONCE], notify)

    def delete_store(self, name: StoreName) -> None:
        """Delete a store and what is in it."""
        self._empty(self.resources.delete_store(name))

    def delete_dataset(self, name: DatasetName) -> None:
        """Delete a dataset and what is in it."""
        self._empty(self.resources.delete_dataset(name))

    def clear(self) -> None:
        """Delete everything; nobody else may use the storage meanwhile."""
        self.search_lag.close()
        self.resources.clear()
        self._forget()
        # They are in nobody's hands, so that their rows can go, too.
        self._empty(self.resources.deleted_stores())
        self.resources.forget_deleted_stores()

    def _empty(self, stores: Sequence[int]) -> None:
        for row in stores:
            for batch in self.index.batches(row, size=_DELETE_AT_ONCE):
                self._delete(batch, None)

    def _delete(self, instances: Sequence[StoredInstance], notify: Notify | None) -> None:
        with self._moving:
            for instance in instances:
                self._withdraw(instance.file)
            files = [instance.file for instance in instances]
            is_late = self.search_lag.prepare()
            self.index.remove(files, notify)
            if is_late:
                self.search_lag.repeat(lambda index: index.remove(files))
        for instance in instances:
            (self._staging / instance.file).unlink(missing_ok=True)

    def _withdraw(self, file: str) -> None:
        # Another request may have deleted it since the index was asked.
        with suppress(FileNotFoundError):
            (self._files / file).rename(self._staging / file)

    def _recover(self) -> None:
        for path in self._staging.iterdir():
            if self.index.has_file(path.name):
                path.rename(self._files / path.name)
            else:
                path.unlink()


def _lock(path: Path) -> BaseFileLock:
    lock = FileLock(path, mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DirectoryInUseError(f"another emulator is using {path.parent}") from error
    return lock
