"""Jobs: operations that have not ended, as the code that carries them out sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from orthanc_gcp.emulator.dicom.imaging_pool import ImagingPool
from orthanc_gcp.emulator.healthcare.cloud_storage import Buckets
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
    instance in until the end.
    """

    def __init__(
        self,
        storage: Storage,
        buckets: Buckets,
        imaging: ImagingPool,
        body: dict[str, Any],
        parameters: dict[str, Any],
        deletion: DeletionTarget | None,
        clock: Callable[[], float],
    ) -> None:
        self.clock = clock
        self.storage = storage
        self.buckets = buckets
        self.imaging = imaging
        self.parameters = parameters
        self.deletion = deletion
        self._body = body
        self._counter = {"success": 0, "failure": 0, "pending": 0}
        self._ending: Exception | None = None
        self._alarm = asyncio.Event()

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

    def check(self) -> None:
        """Raise what ends the job, if it is cancelled or the emulator stops.

        The one is an :class:`OperationError`, the other a :class:`StoppedError`.
        """
        if self._ending is not None:
            raise self._ending

    def body(self, **more: Any) -> dict[str, Any]:
        """Return what Google shows; numbers are text, and zeros are left out."""
        counter = {name: str(number) for name, number in self._counter.items() if number}
        metadata = {**self._body["metadata"], **({"counter": counter} if counter else {})}
        return {**self._body, "metadata": {**metadata, **more.pop("metadata", {})}, **more}

    def cancel(self) -> None:
        self._body["metadata"]["cancelRequested"] = True
        self._end(OperationError(Code.CANCELLED, "The operation was cancelled."))

    def stop(self) -> None:
        self._end(StoppedError())

    async def wait(self, seconds: float) -> None:
        """Let seconds pass; raise what ends the job meanwhile, as :meth:`check` does."""
        try:
            async with asyncio.timeout(seconds):
                await self._alarm.wait()
        except TimeoutError:
            pass
        self.check()

    def _end(self, ending: Exception) -> None:
        if self._ending is None:
            self._ending = ending
            self._alarm.set()
