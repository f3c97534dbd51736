"""Sending on demand: what somebody names goes to an account, whatever the rules say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["demand"]

_PORTION = 200


def demand(
    ledger: Ledger,
    archive: OrthancSource,
    account: str,
    resources: Iterable[str],
    on_arrival: Callable[[], None] = lambda: None,
) -> int:
    """Queue patients, studies, series and instances, named by Orthanc's identifiers.

    Returns how many instances are queued now that were not before; ``on_arrival`` is called
    whenever some are.

    Raises
    ------
    KeyError
        Orthanc has no such resource; nothing was queued.
    OrthancError
        Orthanc is away; what was queued before it went is sent.
    """
    members = archive.members(resources)
    source, queued = archive.name(), 0
    for start in range(0, len(members), _PORTION):
        described = archive.describe(members[start : start + _PORTION])
        queued += ledger.arrivals.record(
            [arrival_of(one, source, account, priority=Priority.DEMANDED) for one in described]
        )
        on_arrival()
    return queued
