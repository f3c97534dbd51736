"""Receipts: who sent what of a study to where, when, and what became of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.standstill import Standstill
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, events, transfers

__all__ = ["MOST_EVENTS", "InstanceReceipt", "Receipt", "ReceiptEvent", "digest_of_all", "receipts"]

MOST_EVENTS = 10_000
"""So many of the newest events of a study are in a receipt."""


@dataclass(frozen=True)
class InstanceReceipt:
    """What became of one instance; moments are seconds since 1970, UTC.

    Attributes
    ----------
    sha256
        Of the bytes that were sent, in hexadecimal digits; None before.
    sent_as
        In whose name it was sent, to Google.
    source
        The ledger's name for the Orthanc that it was sent from.
    """

    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    sha256: str | None
    state: State
    reason: str | None
    detail: str | None
    sent_as: str | None
    worker: str | None
    source: str
    received_at: float
    acknowledged_at: float | None
    confirmed_at: float | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Instance": self.sop_instance_uid,
            "Bytes": self.size_bytes,
            "Sha256": self.sha256,
            "State": self.state.value,
            "Reason": self.reason,
            "Detail": self.detail,
            "SentBy": self.sent_as,
            "Worker": self.worker,
            "Source": self.source,
            "Received": utc(self.received_at),
            "Acknowledged": utc(self.acknowledged_at),
            "Confirmed": utc(self.confirmed_at),
        }


@dataclass(frozen=True)
class ReceiptEvent:
    """Something that happened to an instance, or to the whole study where it names none."""

    occurred_at: float
    kind: str
    sop_instance_uid: str
    detail: str | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Time": utc(self.occurred_at),
            "Kind": self.kind,
            "Instance": self.sop_instance_uid,
            "Detail": self.detail,
        }


@dataclass(frozen=True)
class Receipt:
    """What became of a study at one account.

    Attributes
    ----------
    instances
        By series, and by SOP Instance UID.
    events
        The newest, in the order in which they happened.
    older_events
        How many more there were.
    """

    account: str
    study_instance_uid: str
    instances: tuple[InstanceReceipt, ...]
    events: tuple[ReceiptEvent, ...]
    older_events: int

    @property
    def confirmed(self) -> list[InstanceReceipt]:
        """Those that were seen in the store."""
        return [one for one in self.instances if one.state is State.CONFIRMED]

    @property
    def complete(self) -> bool:
        """Whether the current version of each instance is confirmed."""
        old = sum(one.state is State.SUPERSEDED for one in self.instances)
        return len(self.confirmed) == len(self.instances) - old

    @property
    def sha256(self) -> str | None:
        """One SHA-256 over all that is confirmed; see :func:`digest_of_all`."""
        confirmed = self.confirmed
        if not confirmed:
            return None
        return digest_of_all((one.sop_instance_uid, one.sha256) for one in confirmed)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        every = self.instances
        return {
            "Account": self.account,
            "Study": self.study_instance_uid,
            "Complete": self.complete,
            "Instances": len(every),
            "Bytes": sum(one.size_bytes for one in every),
            "States": dict(Counter(one.state.value for one in every)),
            "Sha256": self.sha256,
            "SentBy": _all(one.sent_as for one in every),
            "Workers": _all(one.worker for one in every),
            "Sources": _all(one.source for one in every),
            "Received": _span(one.received_at for one in every),
            "Acknowledged": _span(one.acknowledged_at for one in every),
            "Confirmed": _span(one.confirmed_at for one in every),
            "Series": [
                {"Series": series, "Instances": [one.as_json() for one in own]}
                for series, own in groupby(every, lambda one: one.series_instance_uid)
            ],
            "Events": [event.as_json() for event in self.events],
            "OlderEvents": self.older_events,
        }


_COLUMNS = [transfers.c[name] for name in InstanceReceipt.__dataclass_fields__]


def digest_of_all(digests: Iterable[tuple[str, str | None]]) -> str:
    """One SHA-256 over instances, each a SOP Instance UID and the SHA-256 of its file.

    It is that of the lines ``UID SHA-256``, each with a line feed, sorted by bytes, none twice.
    """
    lines = sorted({f"{instance} {digest}\n".encode() for instance, digest in digests})
    return hashlib.sha256(b"".join(lines)).hexdigest()


def receipts(
    ledger: Ledger, study: str, account: str | None = None, standstill: Standstill | None = None
) -> list[Receipt]:
    """The receipt of a study, by its Study Instance UID, from each account.

    Parameters
    ----------
    account
        From this one only.
    standstill
        Says why instances that are not done yet are not.

    Raises
    ------
    KeyError
        Nothing of the study was ever to be sent there.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of = transfers.c
    query = sql.select(of.account, of.id, *_COLUMNS).where(of.study_instance_uid == study)
    if account is not None:
        query = query.where(of.account == account)
    query = query.order_by(of.account, of.series_instance_uid, of.sop_instance_uid, of.id)
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
        if not rows:
            raise KeyError(study)
        why = {} if standstill is None else standstill.of([row.id for row in rows])
        return [
            Receipt(
                name,
                study,
                tuple(_instance(row, why.get(row.id, row.detail)) for row in own),
                *_events(connection, name, study),
            )
            for name, own in groupby(rows, lambda row: str(row.account))
        ]


def _instance(row: sql.Row[Any], detail: str | None) -> InstanceReceipt:
    values = {name: getattr(row, name) for name in InstanceReceipt.__dataclass_fields__}
    return InstanceReceipt(**{**values, "state": State(row.state), "detail": detail})


def _events(
    connection: sql.Connection, account: str, study: str
) -> tuple[tuple[ReceiptEvent, ...], int]:
    """The newest events, and how many more there are."""
    mine = (events.c.study_instance_uid == study) & (events.c.account == account)
    columns = [events.c[name] for name in ReceiptEvent.__dataclass_fields__]
    query = sql.select(*columns).where(mine).order_by(events.c.id.desc()).limit(MOST_EVENTS)
    newest = [ReceiptEvent(*row) for row in connection.execute(query)]
    total = connection.scalar(sql.select(sql.func.count()).select_from(events).where(mine)) or 0
    return tuple(reversed(newest)), max(0, total - len(newest))


def _all(names: Iterable[str | None]) -> list[str]:
    return sorted({name for name in names if name})


def _span(moments: Iterable[float | None]) -> list[str | None]:
    """The first and the last; nothing where nothing happened yet."""
    known = [moment for moment in moments if moment is not None]
    return [utc(min(known)), utc(max(known))] if known else []
