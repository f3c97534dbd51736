"""Long-running operations (``google.longrunning.Operation``, AIP-151).

An operation is on disk, with what it takes to carry it out, before it is announced: one that has
not ended when the emulator stops goes on when it starts again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.healthcare.jobs import Code, Job, OperationError, StoppedError
from orthanc_gcp.emulator.healthcare.service_agent import ServiceAgent
from orthanc_gcp.emulator.http.timestamps import timestamp
from orthanc_gcp.emulator.resource_names import DatasetName
from orthanc_gcp.emulator.storage.storage import DeletionTarget, Storage

__all__ = ["Operations", "TooManyOperationsError"]

logger = logging.getLogger(__name__)

RETENTION = 30 * 24 * 3600
"""How many seconds an operation can be read after its end (Healthcare API, operations)."""
MAX_UNFINISHED = 1000
_AT_ONCE = 16
_TRY_AGAIN = 1.0
"""Seconds until the end of an operation is written again when the disk had no room for it."""


class TooManyOperationsError(Exception):
    """So many operations have not ended that no other can begin."""


Work = Callable[[Job], dict[str, Any]]
"""Carries a job out in a thread of its own; returns the operation's ``response``, or raises
:class:`OperationError`."""


class Operations:
    """All operations; those that have not ended are carried out here.

    Parameters
    ----------
    agent : ServiceAgent
        Who reads and writes Cloud Storage.
    work : mapping
        What carries out the jobs of each method.
    clock : callable
        Google's time.
    """

    def __init__(
        self,
        storage: Storage,
        agent: ServiceAgent,
        imaging: ImagingPool,
        fault_settings: FaultSettings,
        clock: Callable[[], float],
        work: Mapping[str, Work],
    ) -> None:
        self._storage = storage
        self._agent = agent
        self._imaging = imaging
        self._fault_settings = fault_settings
        self._clock = clock
        self._work = work
        self._pool = ThreadPoolExecutor(_AT_ONCE, "operation")
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}

    def start(
        self,
        dataset: DatasetName,
        rpc: str,
        parameters: dict[str, Any],
        deletion: DeletionTarget | None = None,
    ) -> str:
        """Begin an operation of a dataset by the method ``rpc``; return its name.

        Nothing is let into what ``deletion`` names until the end. Raises
        :class:`TooManyOperationsError`.
        """
        if len(self._running) >= MAX_UNFINISHED:
            raise TooManyOperationsError
        name = f"{dataset}/operations/{secrets.randbelow(9 * 10**18) + 10**18}"
        package = ".".join(rpc.split(".")[:4])
        body = {
            "name": name,
            "metadata": {
                "@type": f"type.googleapis.com/{package}.OperationMetadata",
                "apiMethodName": rpc,
                "createTime": timestamp(self._clock()),
            },
        }
        job = {"parameters": parameters, "deletion": deletion}
        self._storage.operations.begin(name, dataset, body, job)
        self._launch(body, parameters, deletion, self._fault_settings.current.operation_delay)
        return name

    @property
    def unfinished(self) -> int:
        """How many operations have not ended."""
        return len(self._running)

    def resume(self) -> None:
        """Go on with what had not ended when the emulator stopped."""
        tables = self._storage.operations
        tables.forget(timestamp(self._clock() - RETENTION))
        for body, job in tables.jobs():
            deletion = None if job["deletion"] is None else DeletionTarget(*job["deletion"])
            self._launch(body, job["parameters"], deletion, 0)

    async def stop(self) -> None:
        """Leave off, so that :meth:`resume` can go on."""
        for job, _ in self._running.values():
            job.stop()
        await self.settle(*self._running)
        self._pool.shutdown()

    async def cancel_everything(self) -> None:
        """Cancel whatever has not ended, and return when it has; nothing can begin after that."""
        for job, _ in self._running.values():
            job.cancel()
        await self.settle(*self._running)
        self._pool.shutdown()

    async def settle(self, *names: str) -> None:
        """Return when these operations have ended."""
        tasks = [self._running[name][1] for name in names if name in self._running]
        if tasks:
            await asyncio.wait(tasks)

    def get(self, name: str) -> dict[str, Any] | None:
        """Return an operation as Google shows it, unless it ended too long ago."""
        body = self._storage.operations.body(name)
        return None if body is None else self._shown(body)

    def of_dataset(self, dataset: DatasetName, after: str = "") -> Iterator[dict[str, Any]]:
        """Yield the operations of a dataset by name, those after a name."""
        for body in self._storage.operations.of_dataset(dataset, after):
            shown = self._shown(body)
            if shown is not None:
                yield shown

    def cancel(self, name: str) -> None:
        """Let an operation end as soon as it can; nothing happens when it has."""
        if name in self._running:
            self._running[name][0].cancel()

    def cancel_all(self, dataset: DatasetName) -> None:
        """Cancel the operations of a dataset."""
        for body in self._storage.operations.of_dataset(dataset):
            self.cancel(body["name"])

    def _launch(
        self,
        body: dict[str, Any],
        parameters: dict[str, Any],
        deletion: DeletionTarget | None,
        delay: float,
    ) -> None:
        services = (self._storage, self._agent, self._imaging, self._fault_settings)
        job = Job(*services, body, parameters, deletion, self._clock)
        if deletion is not None:
            self._storage.begin_deletion(deletion)
        self._running[job.name] = (job, asyncio.create_task(self._carry_out(job, delay)))

    async def _carry_out(self, job: Job, delay: float) -> None:
        try:
            outcome = await self._outcome(job, delay)
        except StoppedError:
            return
        job.count()
        if not self._end(job, outcome):
            self._running[job.name] = job, asyncio.create_task(self._end_later(job, outcome))

    async def _end_later(self, job: Job, outcome: dict[str, Any]) -> None:
        """Let an operation end once that can be written, when the disk has room again."""
        while not job.is_stopped:
            await asyncio.sleep(_TRY_AGAIN)
            if self._end(job, outcome):
                return

    def _end(self, job: Job, outcome: dict[str, Any]) -> bool:
        """Let an operation end; return whether that could be written."""
        ended = {"metadata": {"endTime": timestamp(self._clock())}, "done": True}
        try:
            self._storage.operations.end(job.name, job.body(**ended, **outcome))
        except sqlite3.Error as error:
            logger.warning("cannot write the end of %s yet: %s", job.name, error)
            return False
        # It is written first: otherwise a restart could delete what was stored since the end.
        if job.deletion is not None:
            # Before the end can be seen: who has seen it may store again.
            self._storage.end_deletion(job.deletion)
        del self._running[job.name]
        return True

    async def _outcome(self, job: Job, delay: float) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        try:
            await job.wait(delay)
            self._fail_on_demand(job)
            response = await loop.run_in_executor(self._pool, self._work[job.method], job)
        except StoppedError:
            raise
        except OperationError as error:
            return {"error": {"code": error.code, "message": str(error)}}
        except Exception:
            logger.exception("cannot carry out %s", job.method)
            return {"error": {"code": Code.INTERNAL, "message": "Internal error encountered."}}
        return {"response": response}

    def _fail_on_demand(self, job: Job) -> None:
        code = self._fault_settings.current.operation_failure
        if code is not None:
            job.count(failure=job.parameters.get("total", 0))
            raise OperationError(code, "the operation failed on demand")

    def _shown(self, body: dict[str, Any]) -> dict[str, Any] | None:
        running = self._running.get(body["name"])
        if running is not None:
            return running[0].body()
        end = body["metadata"].get("endTime", "")
        return None if end and end < timestamp(self._clock() - RETENTION) else body
