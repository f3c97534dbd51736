"""A gateway that can move to destinations of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.gateway.retrieve import delivery, staging
from tests.gateway.conftest import WORKSTATION, Running
from tests.support.ledgers import clock, sqlite_ledger

__all__ = ["clock", "sqlite_ledger"]

QUICK = Backoff(0.01, 0.05)


@pytest.fixture
def gateway(start: Callable[..., Running]) -> Callable[..., Running]:
    """A maker of gateways whose only destination is on a port."""

    def begin(port: int, modality: dict[str, Any] | None = None, **options: Any) -> Running:
        own = {"AET": "DEST", "Host": "127.0.0.1", "Port": port, **(modality or {})}
        return start(DicomModalities={**WORKSTATION, "dest": own}, **options)

    return begin


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again soon."""
    monkeypatch.setattr(delivery, "BACKOFF", QUICK)
    monkeypatch.setattr(staging, "BACKOFF", QUICK)


@pytest.fixture
def faults(shared_emulator: Any, client: Any) -> Iterator[Callable[..., None]]:
    """Sets fault rules for the store of a test; none in the end."""

    def change(*rules: dict[str, Any]) -> None:
        own = [{**one, "path": f"{client.store_name}/.*{one.get('path', '')}"} for one in rules]
        shared_emulator.fault_settings.change(faults=own)

    yield change
    shared_emulator.fault_settings.change(faults=[])
