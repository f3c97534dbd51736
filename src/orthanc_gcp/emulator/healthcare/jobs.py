"""Jobs: operations that have not ended, as the code that carries them out sees them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.healthcare.service_agent import ServiceAgent
from orthanc_gcp.emulator.storage.storage import DeletionTarget, Storage

__all__ = ["EMPTY", "Code", "Job", "OperationError", "StoppedError"]

EMPTY = "google.protobuf.Empty"
"""The type of a response that says nothing."""


class Code(IntEnum):
    """How operations end (``google.rpc.Code``): a bucket that is missing may not be seen."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    INTERNAL = 13


class OperationError(Exception):
    """Ends an operation with an error: ``code`` is one of ``google.rpc.Code``, not of HTTP."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class StoppedError(Exception):
    """The emulator stops; the operation goes on when it starts again."""


class Job:
    """An operation that has not ended, as the code that carries it out sees it.

    ``body`` is what Google shows of it; ``parameters`` are JSON, and ``deletion`` is what lets no
    instance in until the end. ``agent`` reads and writes Cloud Storage. ``is_stopped`` says whether
    the emulator stops.
    """

    def __init__(
        self,
        storage: Storage,
        agent: ServiceAgent,
        imaging: ImagingPool,
        fault_settings: FaultSettings,
        body: dict[str, Any],
        parameters: dict[str, Any],
        deletion: DeletionTarget | None,
        clock: Callable[[], float],
    ) -> None:
        self.clock = clock
        self.storage = storage
        self.agent = agent
        self.imaging = imaging
        self.fault_settings = fault_settings
        self.parameters = parameters
        self.deletion = deletion
        self._body = body
        self._counter = {"success": 0, "failure": 0, "pending": 0}
        self.is_stopped = False
        self._ending: Exception | None = None
        self._alarm = asyncio.Event()
        self._has_ended = threading.Event()
        self._paid: int | None = None

    @property
    def name(self) -> str:
        return str(self._body["name"])

    @property
    def method(self) -> str:
        """The last part of Google's name for what began it."""
        return str(self._body["metadata"]["apiMethodName"]).rpartition(".")[2]

    def count(self, *, success: int = 0, failure: int = 0, pending: int = 0) -> None:
        """Add to the counters; ``pending`` is set."""
        self._counter["success"] += success
        self._counter["failure"] += failure
        self._counter["pending"] = pending

    @property
    def failures(self) -> int:
        """How many instances have failed."""
        return self._counter["failure"]

    def check(self) -> None:
        """Raise what ends the job, if it is cancelled or the emulator stops.

        The one is an :class:`OperationError`, the other a :class:`StoppedError`. Returns no sooner
        than the throughput of operations allows, after what was counted since the last time.
        """
        self._pace()
        self._raise_ending()

    def _raise_ending(self) -> None:
        if self._ending is not None:
            raise self._ending

    def _pace(self) -> None:
        counted = self._counter["success"] + self._counter["failure"]
        # What had been counted before the emulator was started again has had its time.
        new = 0 if self._paid is None else counted - self._paid
        self._paid = counted
        throughput = self.fault_settings.current.operation_throughput
        if new and throughput is not None:
            self._has_ended.wait(new / throughput)

    def body(self, **more: Any) -> dict[str, Any]:
        """Return what Google shows; numbers are text, and zeros are left out."""
        counter = {name: str(number) for name, number in self._counter.items() if number}
        metadata = {**self._body["metadata"], **({"counter": counter} if counter else {})}
        return {**self._body, "metadata": {**metadata, **more.pop("metadata", {})}, **more}

    def cancel(self) -> None:
        self._body["metadata"]["cancelRequested"] = True
        self._end(OperationError(Code.CANCELLED, "The operation was cancelled."))

    def stop(self) -> None:
        self.is_stopped = True
        self._end(StoppedError())

    async def wait(self, seconds: float) -> None:
        """Let seconds pass; raise what ends the job meanwhile, as :meth:`check` does."""
        try:
            async with asyncio.timeout(seconds):
                await self._alarm.wait()
        except TimeoutError:
            pass
        self._raise_ending()

    def _end(self, ending: Exception) -> None:
        if self._ending is None:
            self._ending = ending
            self._alarm.set()
            self._has_ended.set()
