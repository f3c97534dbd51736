"""The worker as Orthanc sees it: its life, what it answers, and its figures as metrics."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3 import HTTPConnectionPool

from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.logs import places
from orthanc_gcp.plugin.worker_process import WorkerProcess
from orthanc_gcp.transport.unix_socket import pool_of
from orthanc_gcp.worker.samples import WORKER_UP, Sample, of_transfers

__all__ = ["WorkerClient"]

_log = logging.getLogger(__name__)

REFRESH_EVERY, HEALTH_TIMEOUT = 5.0, 5.0
FROZEN_AFTER, FROZEN_TRIES = 25.0, 3
"""Seconds without an answer, and failures one after another, after which a worker is killed: time
alone does not tell, as another plugin's call may hold the interpreter for as long."""
_CONNECTIONS = 4
_TIMEOUT = 5.0
_SEND_TIMEOUT = 120.0
"""A patient with many studies is described by Orthanc before it is queued."""


class WorkerClient:
    """Runs a worker and asks it; one that does not answer any more is killed, and started again.

    Parameters
    ----------
    secret
        What the worker's API is asked with.
    show
        Shows samples as metrics.
    """

    what = "worker"
    up = WORKER_UP

    def __init__(
        self, process: WorkerProcess, secret: str, show: Callable[[Iterable[Sample]], None]
    ) -> None:
        self._process, self._show = process, show
        self._headers = {
            "Authorization": f"Bearer {secret}",
            "Content-Type": "application/json",
            # One that is kept may be ended by the worker in the moment in which it is used again.
            "Connection": "close",
        }
        self._lock = threading.Lock()
        self._pool: tuple[Path | int, HTTPConnectionPool] | None = None
        self._stopping = threading.Event()
        self._health = _Health()
        self._last: list[Sample] = []
        self._defect = ""
        self._metrics = threading.Thread(target=self._refresh, name="gcp-metrics", daemon=True)

    def start(self) -> None:
        """Start the worker, and keep the metrics fresh.

        Raises
        ------
        RuntimeError
            No threads can be started for that: neither is done.
        """
        self._metrics.start()
        try:
            self._process.start()
        except RuntimeError:
            self._stopping.set()
            raise

    def stop(self) -> None:
        """Stop the worker."""
        self._stopping.set()
        self._process.stop()

    def call(
        self,
        method: str,
        parts: tuple[str, ...],
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float | None = None,
    ) -> tuple[int, Any]:
        """Ask the worker: its status, and its answer from JSON.

        Parameters
        ----------
        parts
            The path below ``/gcp``, not quoted.
        timeout
            Seconds for it; None for as long as this takes as a rule.

        Raises
        ------
        WorkerUnavailableError
            It does not run, or does not answer.
        """
        path = "/gcp/" + "/".join(quote(part, safe="") for part in parts)
        if timeout is None:
            timeout = _SEND_TIMEOUT if parts[-1] in ("send", "retrieve", "prefetch") else _TIMEOUT
        return self._ask(method, f"{path}?{urlencode(query or {})}", body, timeout)

    def _ask(self, method: str, path: str, body: bytes, timeout: float) -> tuple[int, Any]:
        pool = self._connections()
        try:
            answer = pool.request(
                method,
                path,
                body=body or None,
                headers=self._headers,
                timeout=timeout,
                redirect=False,
            )
            return answer.status, json.loads(answer.data)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            words = f"the {self.what} does not answer just now ({type(error).__name__})"
            raise WorkerUnavailableError(words) from None

    def _connections(self) -> HTTPConnectionPool:
        """Those to the process that runs just now."""
        place = self._process.socket
        if place is None:
            words = f"the {self.what} does not run just now: see Orthanc's log"
            raise WorkerUnavailableError(words)
        with self._lock:
            if self._pool is None or self._pool[0] != place:
                self._pool = place, pool_of(place, _CONNECTIONS)
            return self._pool[1]

    def _refresh(self) -> None:
        while not self._stopping.wait(REFRESH_EVERY if self._health.is_good else 1.0):
            try:
                self._show(self._seen())
            except Exception as error:  # as of a worker of another version: it is watched on
                self._note_defect(error)

    def _seen(self) -> list[Sample]:
        with suppress(WorkerUnavailableError):
            if self._answers():
                return [Sample(self.up, 1.0), *self._samples()]
        return [Sample(self.up, 0.0)]

    def _note_defect(self, error: Exception) -> None:
        found = f"unexpected {type(error).__name__}\n{places(error)}"
        if found != self._defect:
            _log.error("how the %s is cannot be shown: %s", self.what, found)
        self._defect = found

    def _samples(self) -> Iterable[Sample]:
        """What else is measured; raises WorkerUnavailableError where it cannot be."""
        status, overview = self.call("GET", ("transfers",))
        if status != 200:
            raise WorkerUnavailableError("its ledger is away")
        found = list(of_transfers(overview))
        accounts = {one.labels["account"] for one in found}
        gone = [one for one in self._last if one.labels["account"] not in accounts]
        self._last = found
        # Orthanc keeps what was written last.
        return [*found, *(replace(one, value=0.0) for one in gone)]

    def _answers(self) -> bool:
        """Whether the worker answers at all, whatever is the matter with its ledger."""
        place = self._process.socket
        try:
            self._ask("GET", "/health", b"", HEALTH_TIMEOUT)
        except WorkerUnavailableError:
            silent = self._health.failed(place, time.monotonic())
            if silent is not None and not self._stopping.is_set():
                _log.error("the %s has not answered for %.0f s: it is killed", self.what, silent)
                self._process.kill()
            return False
        self._health.answered(place, time.monotonic())
        return True


class _Health:
    """For how long one process, which its socket tells from others, has not answered."""

    def __init__(self) -> None:
        self._place: Path | int | None = None
        self._last, self._failures = 0.0, 0

    @property
    def is_good(self) -> bool:
        """Whether the last question was answered, or there is nobody to ask."""
        return not self._failures

    def answered(self, place: Path | int | None, now: float) -> None:
        """It has answered."""
        self._place, self._last, self._failures = place, now, 0

    def failed(self, place: Path | int | None, now: float) -> float | None:
        """It has not; for how many seconds, if that is too long."""
        if place is None or place != self._place:
            self.answered(place, now)
            return None
        self._failures += 1
        silent = now - self._last
        if self._failures < FROZEN_TRIES or silent < FROZEN_AFTER:
            return None
        self.answered(None, now)
        return silent
