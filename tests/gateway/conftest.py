"""A gateway in this process, in front of a store of the emulator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.transport import AssociationSocket

from orthanc_gcp import configuration
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.gateway.gateway import Gateway
from orthanc_gcp.gateway.retrieve.limits import LimitsOf, unlimited
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import Client
from tests.emulator.conftest import (
    client,
    identities,
    shared_client,
    shared_emulator,
    shared_folder,
)
from tests.support.ledgers import clock, sqlite_ledger

__all__ = [
    "client",
    "clock",
    "identities",
    "shared_client",
    "shared_emulator",
    "shared_folder",
    "sqlite_ledger",
]

STORE_PARTS = ("Project", "Location", "Dataset", "DicomStore")
WORKSTATION = {"ws": ["WORKSTATION", "127.0.0.1", 104]}


def configured(
    client: Client, credentials: Path, gateway: dict[str, Any] | None = None, **orthanc: Any
) -> dict[str, Any]:
    """A configuration for the store of a client, with a gateway on a free port."""
    address, _, rest = client.web.partition("/v1/")
    path = rest.removesuffix("/dicomWeb").split("/")
    account = {
        **dict(zip(STORE_PARTS, path[1::2], strict=True)),
        "ServiceAccountFile": str(credentials / "service-account.json"),
    }
    section = {
        "BaseUrl": f"{address}/v1/",
        "Accounts": {"google": account},
        "Gateway": {"Aets": {"GOOGLE": "google"}, "Port": 0, **(gateway or {})},
    }
    return {"DicomModalities": WORKSTATION, "GoogleCloudPlatform": section, **orthanc}


@dataclass
class Running:
    """A gateway, and where it is."""

    gateway: Gateway
    thread: threading.Thread

    @property
    def port(self) -> int:
        return self.gateway.port


@pytest.fixture(autouse=True)
def sockets_of_peers_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom leaves one open, until it is garbage, whose other side has gone first."""
    shut_down = AssociationSocket._shutdown_socket

    def closed(self: AssociationSocket) -> None:
        connection = self.socket
        shut_down(self)
        if connection is not None:
            connection.close()

    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", closed)


@pytest.fixture
def start(client: Client, shared_folder: Path) -> Iterator[Callable[..., Running]]:
    """A maker of gateways, which are stopped in the end."""
    made: list[Running] = []

    def begin(
        gateway: dict[str, Any] | None = None,
        rest: OrthancRest | None = None,
        limits: LimitsOf = unlimited,
        **orthanc: Any,
    ) -> Running:
        settings = configuration.read(configured(client, shared_folder, gateway, **orthanc))
        assert not [one for one in settings.problems if one.error], settings.problems
        running = Gateway(settings, SystemClock(), rest, lambda *_: limits)
        thread = threading.Thread(target=running.run)
        thread.start()
        made.append(Running(running, thread))
        return made[-1]

    yield begin
    for one in made:
        one.gateway.stop()
        one.thread.join(20)
        assert not one.thread.is_alive()
