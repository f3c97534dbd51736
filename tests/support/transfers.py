"""Instances on their way through a ledger, without an Orthanc and a store."""

from __future__ import annotations

from typing import Any

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Outcome
from orthanc_gcp.ledger.schema import State, events


def arrive(
    ledger: Ledger,
    count: int = 1,
    *,
    account: str = "a",
    study: str = "1.1",
    prefix: str = "",
    size: int = 100,
    **more: Any,
) -> None:
    """So many instances of one series of a study, from Orthanc ``o``."""
    arrivals = [
        NewTransfer(
            account=account,
            orthanc_id=f"{prefix or study}-{number}",
            study_instance_uid=study,
            series_instance_uid=f"{study}.1",
            sop_instance_uid=f"{study}.1.{number}",
            size_bytes=size,
            **{"source": "o", "received_at": ledger.now(), **more},
        )
        for number in range(count)
    ]
    ledger.arrivals.record(arrivals)


def settle(
    ledger: Ledger,
    state: State,
    count: int = 1000,
    account: str = "a",
    source: str = "o",
    **outcome: Any,
) -> list[int]:
    """What becomes of those that wait; their rows."""
    claimed = ledger.queue.claim(
        account, source, "b", "w", most_instances=count, most_bytes=10**9, most_batches=9
    )
    ledger.queue.settle("b", [Outcome(row.id, state, **outcome) for row in claimed])
    return [row.id for row in claimed]


def confirm(ledger: Ledger, **more: Any) -> None:
    """Those that wait were sent, and were seen in the store."""
    rows = settle(ledger, State.ACKNOWLEDGED, sha256="d", **more)
    ledger.confirmations.confirm(dict.fromkeys(rows, ledger.now()))


def events_of(ledger: Ledger, kind: str) -> list[Any]:
    """The events of a kind, oldest first."""
    with ledger.reading() as connection:
        return list(connection.execute(events.select().where(events.c.kind == kind)))
