"""The worker as Orthanc sees it: its life, what it answers, and its figures as metrics."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.plugin.worker_process import WorkerProcess
from orthanc_gcp.transport.deadlines import bound_exchanges
from orthanc_gcp.worker.samples import WORKER_UP, Sample, of_transfers

__all__ = ["WorkerClient"]

_log = logging.getLogger(__name__)

REFRESH_EVERY = 5.0
_TIMEOUT = 5.0
_SEND_TIMEOUT = 120.0
"""A patient with many studies is described by Orthanc before it is queued."""


class WorkerClient:
    """Runs a worker and asks it.

    Parameters
    ----------
    secret
        What the worker's API is asked with.
    show
        Shows samples as metrics.
    """

    def __init__(
        self, process: WorkerProcess, secret: str, show: Callable[[Iterable[Sample]], None]
    ) -> None:
        self._process, self._show = process, show
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self._http = urllib3.PoolManager(maxsize=4, retries=False)
        bound_exchanges(self._http)
        self._stopping = threading.Event()
        self._metrics = threading.Thread(target=self._refresh, name="gcp-metrics", daemon=True)

    def start(self) -> None:
        """Start the worker, and keep the metrics fresh."""
        self._process.start()
        self._metrics.start()

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
    ) -> tuple[int, Any]:
        """Ask the worker: its status, and its answer from JSON.

        Parameters
        ----------
        parts
            The path below ``/gcp``, not quoted.

        Raises
        ------
        WorkerUnavailableError
            It does not run, or does not answer.
        """
        port = self._process.port
        if port is None:
            raise WorkerUnavailableError("the worker does not run just now: see Orthanc's log")
        path = "/".join(quote(part, safe="") for part in parts)
        url = f"http://127.0.0.1:{port}/gcp/{path}?{urlencode(query or {})}"
        try:
            answer = self._http.request(
                method,
                url,
                body=body or None,
                headers=self._headers,
                timeout=_SEND_TIMEOUT if parts[-1] == "send" else _TIMEOUT,
                redirect=False,
            )
            return answer.status, json.loads(answer.data)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            words = f"the worker does not answer just now ({type(error).__name__})"
            raise WorkerUnavailableError(words) from None

    def _refresh(self) -> None:
        while not self._stopping.wait(REFRESH_EVERY):
            try:
                status, overview = self.call("GET", ("transfers",))
            except WorkerUnavailableError:
                status, overview = 503, []
            answers = status == 200
            self._show([Sample(WORKER_UP, answers), *(of_transfers(overview) if answers else ())])
