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
from orthanc_gcp.ledger.destinations import AccountStore
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSETTLED, State, events, transfers
from orthanc_gcp.reasons import TransferReason

__all__ = ["MOST_EVENTS", "InstanceReceipt", "Receipt", "ReceiptEvent", "digest_of_all", "receipts"]

MOST_EVENTS = 10_000
"""So many of the newest events of a study are in a receipt."""


@dataclass(frozen=True)
class InstanceReceipt:
    """What became of one instance; moments are seconds since 1970, UTC.

    Attributes
    ----------
    store
        The path of the store that it was to be sent to; None of a ledger that did not write it
        down.
    is_current
        Whether that is the store that the account is by now.
    sha256
        Of the bytes that were sent, in hexadecimal digits; None before.
    sent_as
        In whose name it was sent, to Google.
    source
        The ledger's name for the Orthanc that it was sent from.
    """

    store: str | None
    is_current: bool
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

    @property
    def uids(self) -> tuple[str, str]:
        """Those of its series and itself."""
        return self.series_instance_uid, self.sop_instance_uid

    @property
    def is_handed_over(self) -> bool:
        """Whether another Orthanc, or account, sends it in place of this one."""
        is_so = self.reason == TransferReason.HANDED_OVER
        return is_so and self.state is State.WITHDRAWN

    def is_no_newer(self, other: InstanceReceipt) -> bool:
        """Whether it is the same as another version, or was received no later."""
        is_same = self.sha256 is not None and self.sha256 == other.sha256
        return is_same or self.received_at <= other.received_at

    def is_replaced_by(self, other: InstanceReceipt) -> bool:
        """Whether another version, which is confirmed, is in its place in the same store.

        It may have been received earlier: what came from the store itself counts as older.
        """
        mine, then = self.confirmed_at or self.acknowledged_at, other.confirmed_at
        is_later = mine is not None and then is not None and mine < then
        return is_later or self.is_no_newer(other)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Instance": self.sop_instance_uid,
            "Store": self.store,
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
    store
        The path of the store that the account is by now; None where that is not known.
    instances
        By series, and by SOP Instance UID; those for former stores, too.
    events
        The newest, in the order in which they happened.
    older_events
        How many more there were.
    confirmed_elsewhere
        What other accounts have confirmed of it in the same store.
    """

    account: str
    store: str | None
    study_instance_uid: str
    instances: tuple[InstanceReceipt, ...]
    events: tuple[ReceiptEvent, ...]
    older_events: int
    confirmed_elsewhere: tuple[InstanceReceipt, ...] = ()

    @property
    def confirmed(self) -> list[InstanceReceipt]:
        """Those that were seen in the store that the account is by now."""
        return [one for one in self.instances if one.is_current and one.state is State.CONFIRMED]

    @property
    def complete(self) -> bool:
        """Whether the current version of each instance is confirmed, and in the current store.

        It may have been received while the account was another store.
        What is superseded may be so by what another account has sent to the same store. What was
        handed over to another Orthanc, or account, which has it, too, is what that has sent there.
        """
        mine, there = _by_uids(self.confirmed), _by_uids(self.confirmed_elsewhere)

        def is_there(one: InstanceReceipt) -> bool:
            own, others = mine.get(one.uids, []), there.get(one.uids, [])
            if not one.is_current:
                return any(map(one.is_no_newer, own))
            if one.is_handed_over:
                return bool(own) or any(map(one.is_no_newer, others))
            if one.state is State.SUPERSEDED:
                return any(map(one.is_replaced_by, own + others))
            return one.state is State.CONFIRMED

        return all(map(is_there, self.instances))

    @property
    def sha256(self) -> str | None:
        """One SHA-256 over all that is confirmed there; see :func:`digest_of_all`."""
        confirmed = self.confirmed
        if not confirmed:
            return None
        return digest_of_all((one.sop_instance_uid, one.sha256) for one in confirmed)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        every = self.instances
        return {
            "Account": self.account,
            "Store": self.store,
            "Study": self.study_instance_uid,
            "Complete": self.complete,
            "Instances": len(every),
            "Bytes": sum(one.size_bytes for one in every),
            "Stores": self._by_store(),
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

    def _by_store(self) -> list[dict[str, Any]]:
        """What is confirmed in which store, the current one first."""
        found: dict[tuple[bool, str], list[InstanceReceipt]] = {}
        for one in self.instances:
            found.setdefault((not one.is_current, one.store or ""), []).append(one)
        return [
            {
                "Store": store or None,
                "Current": not former,
                "Instances": len(own),
                "Confirmed": sum(one.state is State.CONFIRMED for one in own),
            }
            for (former, store), own in sorted(found.items())
        ]


_BESIDE = ("store", "is_current")
_NAMES = [name for name in InstanceReceipt.__dataclass_fields__ if name not in _BESIDE]
_COLUMNS = [transfers.c.destination_id, *(transfers.c[name] for name in _NAMES)]


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
    known = ledger.destinations.all()
    current = ledger.destinations.current(known)
    stores = {one.id: one.store for one in known}
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
        if not rows:
            raise KeyError(study)
        unsettled = [row.id for row in rows if row.state in UNSETTLED]
        why = standstill.of(unsettled) if standstill is not None else {}
        found = []
        for name, own in groupby(rows, lambda row: str(row.account)):
            now = current.get(name)
            number = now.id if now else None
            every = tuple(
                _instance(
                    row,
                    stores.get(row.destination_id),
                    why.get(row.id, row.detail),
                    is_current=row.destination_id == number,
                )
                for row in own
            )
            store = _store(ledger, name, now)
            happened = _events(connection, name, study)
            elsewhere = _confirmed_elsewhere(connection, known, now, study)
            found.append(Receipt(name, store, study, every, *happened, elsewhere))
        return found


def _store(ledger: Ledger, account: str, now: AccountStore | None) -> str | None:
    """The path of the store that an account is, also while no worker has sent there."""
    named = ledger.destinations.stores.get(account)
    return named.path if named else now.store if now else None


def _instance(
    row: sql.Row[Any], store: str | None, detail: str | None, *, is_current: bool
) -> InstanceReceipt:
    values = {name: getattr(row, name) for name in _NAMES}
    values |= {
        "store": store,
        "is_current": is_current,
        "state": State(row.state),
        "detail": detail,
    }
    return InstanceReceipt(**values)


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


def _by_uids(
    instances: Iterable[InstanceReceipt],
) -> dict[tuple[str, str], list[InstanceReceipt]]:
    found: dict[tuple[str, str], list[InstanceReceipt]] = {}
    for one in instances:
        found.setdefault(one.uids, []).append(one)
    return found


def _confirmed_elsewhere(
    connection: sql.Connection, known: Iterable[AccountStore], now: AccountStore | None, study: str
) -> tuple[InstanceReceipt, ...]:
    """What other accounts have confirmed of a study in a store."""
    if now is None or now.name is None:
        return ()
    same = [one.id for one in known if one.name == now.name and one.id != now.id]
    of = transfers.c
    query = sql.select(*_COLUMNS).where(
        of.study_instance_uid == study,
        of.destination_id.in_(same),
        of.state == State.CONFIRMED,
    )
    rows = connection.execute(query)
    return tuple(_instance(row, now.store, None, is_current=True) for row in rows)


def _all(names: Iterable[str | None]) -> list[str]:
    return sorted({name for name in names if name})


def _span(moments: Iterable[float | None]) -> list[str | None]:
    """The first and the last; nothing where nothing happened yet."""
    known = [moment for moment in moments if moment is not None]
    return [utc(min(known)), utc(max(known))] if known else []
