"""Sending on demand: what somebody names goes to an account, whatever the rules say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from orthanc_gcp.custody.intake.identity import source_of
from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.errors import OrthancUnavailableError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import portions
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import Description, OrthancSource

__all__ = ["send_on_demand"]

_PORTION = 200


def send_on_demand(
    ledger: Ledger,
    orthanc: OrthancSource,
    account: str,
    resources: Iterable[str],
    on_arrival: Callable[[], None] = lambda: None,
    announce: Callable[[str, int], None] = lambda _account, _instances: None,
) -> int:
    """Queue patients, studies, series and instances; how many instances were not queued before.

    Instances are looked up by Orthanc's ``/tools/bulk-content``. What is not there any more, as it
    was deleted meanwhile, is left out.

    Parameters
    ----------
    resources
        Orthanc's identifiers, of any level.
    on_arrival
        Called whenever some were queued.
    announce
        Called with the account, and by how many more, or less, instances are about to be queued.

    Raises
    ------
    KeyError
        Orthanc has no such resource; nothing was queued.
    OrthancError
        Orthanc cannot be read from just now, or which index it has is not clear; what was queued
        before is sent.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away; what was queued before is sent.
    """
    members = orthanc.members(resources)
    source, queued = source_of(ledger, orthanc), 0
    left = len(members)
    announce(account, left)
    try:
        for some in portions(members, _PORTION):
            described = _described(ledger, orthanc, source, some)
            queued += ledger.arrivals.record(
                [arrival_of(one, source, account, priority=Priority.DEMANDED) for one in described]
            )
            left -= len(some)
            announce(account, -len(some))
            on_arrival()
    finally:
        if left:
            announce(account, -left)
            on_arrival()
    return queued


def _described(
    ledger: Ledger, orthanc: OrthancSource, source: str, instances: Sequence[str]
) -> list[Description]:
    """What Orthanc has of some instances, which it had a moment ago.

    What it has not counts as deleted only where it has the index of before, when it is asked again,
    and afterwards: it may be started without its volume for a moment.

    Raises
    ------
    OrthancError
        It has another one, or cannot be read from.
    """
    found = orthanc.describe(instances)
    if len(found) < len(instances):
        _require(ledger, orthanc, source)
        found = orthanc.describe(instances)
    if len(found) < len(instances):
        _require(ledger, orthanc, source)
    return found


def _require(ledger: Ledger, orthanc: OrthancSource, source: str) -> None:
    if source_of(ledger, orthanc) != source:
        raise OrthancUnavailableError("Orthanc has another index than a moment ago")
