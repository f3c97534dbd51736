"""Which store each account is, written down when a worker starts, and said where it is another."""

from __future__ import annotations

import logging

from orthanc_gcp.custody.reporting.destinations import DestinationStatus, destinations
from orthanc_gcp.ledger.destinations import Registration
from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["register_stores"]

_log = logging.getLogger(__name__)


def register_stores(ledger: Ledger) -> None:
    """Write down where a worker sends from now on; the log says what is a change.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    for one in ledger.destinations.register():
        if one.adopted:
            _log.warning(
                "account %s: what the ledger has of it counts as sent to %s, which it is now",
                one.now.account,
                one.now.name,
            )
        elif one.before is not None:
            (before,) = destinations(ledger, [one.before.id])
            _log.warning("%s", _change(one, before))


def _change(one: Registration, before: DestinationStatus) -> str:
    counts, there = before.counts, before.destination.name or "a store that is not known"
    return (
        f"account {one.now.account}: its destination is {one.now.name} from now on, and was "
        f"{there}, for which {before.open_instances} instances are open, "
        f"{counts.quarantined.instances} in quarantine and {counts.confirmed.instances} confirmed. "
        "None of these is sent to the other store: what is open waits until the account is "
        f"{there} again, or until a person hands it over or closes it (orthanc-gcp destinations), "
        "and a backfill sends what Orthanc has"
    )
