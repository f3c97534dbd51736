"""The gateway as Orthanc sees it: its life, its status, and its figures as metrics."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.plugin.worker_client import WorkerClient
from orthanc_gcp.worker.samples import GATEWAY_UP, Sample, of_gateway

__all__ = ["GatewayClient", "NoGateway"]


class GatewayClient(WorkerClient):
    """Runs a gateway and asks it; as the worker, one that does not answer is started again."""

    what = "gateway"
    up = GATEWAY_UP

    def status(self) -> dict[str, Any]:
        """What it says of itself, or why it says nothing."""
        with suppress(WorkerUnavailableError):
            status, shown = self.call("GET", ("gateway",))
            if status == 200 and isinstance(shown, dict):
                return shown
        problem = self._process.problem
        return {"State": "Stopped" if problem else "Starting", "Problem": problem or None}

    def _samples(self) -> Iterable[Sample]:
        status, shown = self.call("GET", ("gateway",))
        if status != 200:
            raise WorkerUnavailableError("it cannot say how it is")
        return list(of_gateway(shown))


class NoGateway:
    """In the place of a gateway that is configured, and cannot run.

    Parameters
    ----------
    problem
        Why.
    """

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def start(self) -> None:
        """Do nothing: it was logged."""

    def stop(self) -> None:
        """Do nothing."""

    def status(self) -> dict[str, Any]:
        """Why there is none."""
        return {"State": "Stopped", "Problem": self._problem}
