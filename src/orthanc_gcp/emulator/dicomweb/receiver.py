"""The receiving end of a store transaction (PS3.18 section 10.5), in constant memory.

While a thread hashes and writes one block, the next one arrives: that uses the second core, and
bounds the memory to two blocks. Instances that are too small to gain from it are stored at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from orthanc_gcp.emulator.dicom.reader import DEFLATED, InvalidDicomError
from orthanc_gcp.emulator.dicomweb.stow_response import StowResponse
from orthanc_gcp.emulator.faults.rules import InstanceFate
from orthanc_gcp.emulator.storage.instances import Notify, StorageClass
from orthanc_gcp.emulator.storage.records import Record
from orthanc_gcp.emulator.storage.storage import BeingDeletedError, Storage
from orthanc_gcp.emulator.storage.uploads import Upload, UploadResult

__all__ = ["Receiver"]

BLOCK = 512 * 1024
MAX_PIECES = 4096
"""How many pieces a block has at most, for clients that send a byte at a time."""
SMALL = 128 * 1024

Block = list[memoryview]

_DEFLATED = DEFLATED.encode()


class Receiver:
    """Stores one instance after the other, given their bytes.

    Parameters
    ----------
    study : str or None
        The only study whose instances are stored, if there is one.
    replace : bool
        Whether instances that are there already are replaced.
    storage_class : StorageClass or None
        Where the instances go, if it is not the usual one.
    notify : callable or None
        Publishes each instance that is stored.

    Attributes
    ----------
    fate : callable
        Gives what becomes of the next instance; for failures on demand.
    conflicts : collection of UploadResult
        What is reported as a failure.
    """

    def __init__(
        self,
        storage: Storage,
        store: int,
        results: StowResponse,
        study: str | None,
        *,
        replace: bool,
        storage_class: StorageClass | None = None,
        notify: Notify | None,
    ) -> None:
        self.fate: Callable[[], InstanceFate] = lambda: InstanceFate.STORED
        self.conflicts: Collection[UploadResult] = (UploadResult.DIFFERENT, UploadResult.IDENTICAL)
        self._replace = replace
        self._storage_class = storage_class
        self._notify = notify
        self._storage = storage
        self._store = store
        self._results = results
        self._study = study
        self._upload: Upload | None = None
        self._block: Block = []
        self._block_size = 0
        self._job: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Say that the bytes that follow are those of a new instance."""
        self._upload = self._storage.begin()

    async def write(self, data: memoryview) -> None:
        """Take some bytes of the instance."""
        self._block.append(data)
        self._block_size += len(data)
        full = self._block_size >= BLOCK or len(self._block) >= MAX_PIECES
        if full and self._upload is not None:
            await self._submit(_write, self._upload)

    async def end(self) -> None:
        """Say that the instance is complete."""
        upload, self._upload = self._upload, None
        if upload is None:
            return
        if upload.size or self._job or self._block_size > SMALL or _may_inflate(self._block):
            await self._submit(self._finish, upload)
        else:
            self._finish(upload, self._take_block())

    async def close(self) -> None:
        """Forget an instance that did not arrive whole; return when all others are stored."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.discard()
        await self._settle()

    async def _settle(self) -> None:
        """Return when everything that has ended is stored."""
        if self._job is not None:
            await self._job
            self._job = None

    async def _submit(self, job: Callable[[Upload, Block], None], upload: Upload) -> None:
        """Leave the block to another thread, after the block before."""
        block = self._take_block()
        try:
            await self._settle()
        except BaseException:
            upload.discard()
            raise
        self._job = asyncio.get_running_loop().run_in_executor(None, job, upload, block)

    def _take_block(self) -> Block:
        block, self._block, self._block_size = self._block, [], 0
        return block

    def _finish(self, upload: Upload, block: Block) -> None:
        """Write the rest of an instance and store it, unless something is wrong with it."""
        try:
            _write(upload, block)
            record = upload.read_record()
        except InvalidDicomError as error:
            upload.discard()
            self._results.add_failed(f"invalid DICOM instance: {error}")
            return
        except BaseException:
            upload.discard()
            raise
        if self._study not in (None, record.key.study):
            upload.discard()
            detail = "the StudyInstanceUID is not the one of the request's path"
            self._results.add_failed(detail, record.sop_class, record.key)
            return
        fate = self.fate()
        if fate is not InstanceFate.STORED:
            upload.discard()
            if fate is InstanceFate.LOST:
                self._results.add_stored(record.sop_class, record.key)
            else:
                self._results.add_failed("internal error", record.sop_class, record.key)
            return
        self._keep(record, upload)

    def _keep(self, record: Record, upload: Upload) -> None:
        try:
            outcome = self._storage.keep(
                self._store,
                record,
                upload,
                replace=self._replace,
                storage_class=self._storage_class,
                notify=self._notify,
            )
        except BeingDeletedError:
            detail = "the study or series is being deleted"
            self._results.add_failed(detail, record.sop_class, record.key)
            return
        if outcome in self.conflicts:
            self._results.add_failed("already exists", record.sop_class, record.key)
        else:
            self._results.add_stored(record.sop_class, record.key)


def _may_inflate(block: Block) -> bool:
    """Return whether an instance may become a thousand times as long when it is read."""
    return _DEFLATED in b"".join(block)


def _write(upload: Upload, block: Block) -> None:
    for piece in block:
        upload.write(piece)
