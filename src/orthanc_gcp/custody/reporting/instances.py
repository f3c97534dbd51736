"""The instances of the ledger, page by page, each with what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.pages import Page, bounded, row_number
from orthanc_gcp.custody.reporting.standstill import Standstill
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSETTLED, Priority, State, transfers
from orthanc_gcp.ledger.selection import Selection

__all__ = ["InstanceStatus", "instances"]


@dataclass(frozen=True)
class InstanceStatus:
    """An instance on its way to one store of one account; moments are seconds since 1970, UTC.

    Attributes
    ----------
    store
        Its path; None of a ledger that did not write it down.
    source
        The ledger's name for the Orthanc that has it.
    sha256
        Of the bytes that were sent, in hexadecimal digits; None before.
    next_attempt_at
        Of what is delayed only.
    """

    account: str
    store: str | None
    source: str
    orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    sha256: str | None
    state: State
    priority: Priority
    attempts: int
    reason: str | None
    detail: str | None
    next_attempt_at: float | None
    received_at: float
    acknowledged_at: float | None
    confirmed_at: float | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Store": self.store,
            "Source": self.source,
            "Resource": self.orthanc_id,
            "Study": self.study_instance_uid,
            "Series": self.series_instance_uid,
            "Instance": self.sop_instance_uid,
            "Bytes": self.size_bytes,
            "Sha256": self.sha256,
            "State": self.state.value,
            "Priority": self.priority.name.capitalize(),
            "Attempts": self.attempts,
            "Reason": self.reason,
            "Detail": self.detail,
            "NextTry": utc(self.next_attempt_at),
            "Received": utc(self.received_at),
            "Acknowledged": utc(self.acknowledged_at),
            "Confirmed": utc(self.confirmed_at),
        }


_NAMES = [name for name in InstanceStatus.__dataclass_fields__ if name != "store"]
_COLUMNS = [transfers.c.destination_id, *(transfers.c[name] for name in _NAMES)]


def instances(
    ledger: Ledger,
    selection: Selection,
    after: str = "",
    limit: int = 100,
    standstill: Standstill | None = None,
) -> Page[InstanceStatus]:
    """Such instances in the order in which they were first written down.

    Parameters
    ----------
    after
        What the page before has as ``following``.
    standstill
        Says why those that are not done yet are not.

    Raises
    ------
    ValueError
        No page has such a ``following``.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    limit = bounded(limit)
    query = sql.select(transfers.c.id, *_COLUMNS).where(*selection.conditions)
    if after:
        query = query.where(transfers.c.id > row_number(after))
    with ledger.reading() as connection:
        rows = connection.execute(query.order_by(transfers.c.id).limit(limit)).all()
    following = str(rows[-1].id) if len(rows) == limit else None
    why = (
        {}
        if standstill is None
        else standstill.of([row.id for row in rows if row.state in UNSETTLED])
    )
    stores = {one.id: one.store for one in ledger.destinations.all()}
    return Page(
        tuple(
            _status(row, stores.get(row.destination_id), why.get(row.id, row.detail))
            for row in rows
        ),
        following,
    )


def _status(row: sql.Row[Any], store: str | None, detail: str | None) -> InstanceStatus:
    values = {"store": store, **{name: getattr(row, name) for name in _NAMES}}
    state = State(row.state)
    delayed = {} if state is State.DELAYED else {"next_attempt_at": None}
    return InstanceStatus(
        **{
            **values,
            "state": state,
            "priority": Priority(row.priority),
            "detail": detail,
            **delayed,
        }
    )
