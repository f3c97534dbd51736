"""An account as a place to send to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.ledger.schema import Priority

__all__ = ["INSTANCE_BACKOFF", "Destination"]

INSTANCE_BACKOFF = Backoff(0.25, 60.0)
"""For an instance that is to be sent again."""


@dataclass(frozen=True)
class Destination:
    """An account as a place to send to: its store, its pace and its caps."""

    account: str
    store: DicomStore
    upsert: DicomStore
    """The same store by a version of the API that can replace instances."""
    pace: CongestionWindow
    replaces: bool
    verify: str
    takers: Callable[[Priority], Sequence[Callable[[int], None]]]
    """Rate caps on bytes, one set for each request, by the priority of all that it carries."""
    request: Callable[[], None]
    """Waits for its turn under the cap on requests."""
