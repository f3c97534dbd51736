"""The worker of an Orthanc that has accounts and no rule: started when something is to come back.

Without a rule nothing is sent, so that none runs at first. It is started by the first request to
retrieve, and where a retrieval has not ended that was begun before Orthanc was restarted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.plugin.unattended import NO_WORKER, Unattended
from orthanc_gcp.plugin.worker_client import WorkerClient

__all__ = ["RETRIEVAL_ACTIONS", "DemandedWorker"]

RETRIEVAL_ACTIONS = ("retrieve", "retrievals", "prefetch")
READY_WITHIN = 20.0
"""Seconds that one who asks waits for a worker that is being started."""
_LOOK_EVERY = 0.1
_STARTING = 503
_STOPPING = "Orthanc is stopping"


class DemandedWorker:
    """In the place of a worker, until there is something for one to do.

    Parameters
    ----------
    make
        Makes the worker; it is started here.
    unattended
        Says what waits of former rules; None where nothing can.
    """

    def __init__(self, make: Callable[[], WorkerClient], unattended: Unattended | None) -> None:
        self._make, self._unattended = make, unattended
        self._lock = threading.Lock()
        self._worker: WorkerClient | None = None
        self._stopping = threading.Event()
        self._ready = False

    def start(self) -> None:
        """Find out what waits."""
        if self._unattended is not None:
            self._unattended.start()

    def stop(self) -> None:
        """Stop whatever runs, and start nothing any more."""
        with self._lock:
            self._stopping.set()
            worker = self._worker
        if self._unattended is not None:
            self._unattended.stop()
        if worker is not None:
            worker.stop()

    def wake(self) -> WorkerClient:
        """Start the worker, unless it runs.

        Raises
        ------
        WorkerUnavailableError
            Orthanc is about to stop.
        RuntimeError
            No thread can be started for it just now.
        """
        with self._lock:
            if self._stopping.is_set():
                raise WorkerUnavailableError(_STOPPING)
            if self._worker is None:
                made = self._make()
                made.start()
                self._worker = made
            return self._worker

    def call(
        self,
        method: str,
        parts: tuple[str, ...],
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> tuple[int, Any]:
        """What the worker answers to whoever wants something back; it is started for them.

        Raises
        ------
        WorkerUnavailableError
            It is about something else, or the worker does not answer.
        """
        if parts[-1] in RETRIEVAL_ACTIONS:
            return self._ask(self.wake(), method, parts, query, body)
        if self._unattended is None:
            raise WorkerUnavailableError(NO_WORKER)
        return self._unattended.call(method, parts, query, body)

    def _ask(
        self,
        worker: WorkerClient,
        method: str,
        parts: tuple[str, ...],
        query: Mapping[str, str] | None,
        body: bytes,
    ) -> tuple[int, Any]:
        """Ask it, as soon as it has a ledger to answer from."""
        deadline = time.monotonic() + (0 if self._ready else READY_WITHIN)
        while True:
            try:
                status, answer = worker.call(method, parts, query, body)
                if status != _STARTING:
                    self._ready = True
                    return status, answer
                if time.monotonic() >= deadline:
                    return status, answer
            except WorkerUnavailableError:
                if time.monotonic() >= deadline:
                    raise
            if self._stopping.wait(_LOOK_EVERY):
                raise WorkerUnavailableError(_STOPPING)
