"""A gateway with the API that the plugin asks."""

from __future__ import annotations

import socket
from typing import Any

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import Settings
from orthanc_gcp.gateway.gateway import Gateway
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.worker.gateway.api import application
from orthanc_gcp.worker.gateway.limits import limits_of
from orthanc_gcp.worker.handshake import WorkerInput
from orthanc_gcp.worker.listener import Listener

__all__ = ["GatewayService", "make"]


class GatewayService:
    """Runs a gateway, and answers about it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listener: Listener | None = None

    def listen(self, secret: str, at: socket.socket) -> None:
        """Offer the API to those who know the secret, from :meth:`run` on."""

        def status() -> dict[str, Any]:
            return self._gateway.status().as_json()

        self._listener = Listener(application(status, secret, self._gateway.for_orthanc), at)

    def run(self) -> None:
        """Serve workstations until :meth:`stop`."""
        if self._listener is not None:
            self._listener.start()
        try:
            self._gateway.run()
        finally:
            if self._listener is not None:
                self._listener.stop()

    def stop(self) -> None:
        """End :meth:`run`, from any thread."""
        self._gateway.stop()


def make(settings: Settings, orthanc: OrthancRest | None, _given: WorkerInput) -> GatewayService:
    """The gateway of a configuration.

    Raises
    ------
    ConfigurationError
        As :class:`orthanc_gcp.gateway.gateway.Gateway`.
    """
    return GatewayService(Gateway(settings, SystemClock(), orthanc, limits_of))
