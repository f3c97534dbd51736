"""How far each account is."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.custody.reporting.counts import TransferCounts
from orthanc_gcp.custody.reporting.destinations import DestinationStatus, destinations
from orthanc_gcp.custody.reporting.losses import lost_changes_of
from orthanc_gcp.custody.reporting.operations import paused_accounts
from orthanc_gcp.custody.reporting.problems import Problem
from orthanc_gcp.custody.reporting.rates import ConfirmationRate
from orthanc_gcp.custody.reporting.standstill import WORTH_A_WORD, Standstill
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.database import change_mark
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import IS_OWED, State, transfers
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["AccountOverview", "Overview", "delays"]

UNSEEN = 600.0
"""Seconds after which it is said why what a store has acknowledged is not seen there."""
EXPLAIN_EVERY = 20.0
"""Seconds between two questions why something is not done."""
SHARE, FRESH = 25, 30.0
"""Rows are counted again after so many times as long as that takes, and so many seconds at most:
those of a large ledger are many, and whoever asks for metrics asks every few seconds."""
UNCHANGED_FOR = 60.0
"""Seconds for which they are not counted again where nothing was written to the database."""
_OF_ONE = (
    StoreReason.BAD_REQUEST,
    StoreReason.LENGTH_REQUIRED,
    StoreReason.TOO_LARGE,
    TransferReason.ABSENT,
    TransferReason.CONFLICT,
    TransferReason.DIFFERENT,
    TransferReason.INVALID,
    TransferReason.MISSING,
    TransferReason.REFUSED,
    TransferReason.REPLACING,
    TransferReason.UNCOMPARED,
    TransferReason.UNEXPECTED,
)
"""Reasons why an instance is tried again that say nothing of others."""
_OF_ONE_APART = (StoreReason.FORBIDDEN, StoreReason.NOT_FOUND, TransferReason.ORTHANC)
"""Reasons that say nothing of others only where it is sent apart from them."""


@dataclass(frozen=True)
class AccountOverview:
    """How far an account is.

    Attributes
    ----------
    oldest_unsent_seconds
        For how long the oldest instance that is not sent has been to be sent; backfills may wait.
    oldest_unsent_detail
        Why it is not, if that has lasted for a minute.
    oldest_acknowledged_seconds
        For how long the oldest that the store has acknowledged has not been seen there.
    bytes_per_second, instances_per_second
        What was confirmed, as the mean of the last minute.
    estimated_end
        When all that is known will be confirmed, in seconds since 1970; None while it is unknown.
    problem
        Why nothing can be sent to it just now, or the first of the problems.
    problems
        What keeps instances where they are until a person does something.
    lost_changes
        Changes of Orthanc that may have been of instances which it recycled before they were read,
        and which nobody has acknowledged yet.
    unprotected_patients
        Patients that Orthanc may recycle before all of them is confirmed, of whatever account.
    store
        The path of the store that it is by now, which all this is about; None where that is not
        known.
    former
        The stores that it was before, of those that the ledger has something for.
    """

    account: str
    paused: bool = False
    counts: TransferCounts = field(default_factory=TransferCounts)
    oldest_unsent_seconds: float | None = None
    oldest_unsent_detail: str | None = None
    oldest_acknowledged_seconds: float | None = None
    bytes_per_second: float = 0.0
    instances_per_second: float = 0.0
    estimated_end: float | None = None
    problem: str | None = None
    problems: tuple[Problem, ...] = ()
    lost_changes: int = 0
    unprotected_patients: int = 0
    store: str | None = None
    former: tuple[DestinationStatus, ...] = ()

    def with_problems(self, *problems: Problem) -> AccountOverview:
        """The same, with these problems alone."""
        return replace(self, problem=problems[0].message if problems else None, problems=problems)

    @property
    def quarantined_instances(self) -> int:
        """So many are in quarantine, those for former stores with them."""
        former = sum(one.counts.quarantined.instances for one in self.former)
        return self.counts.quarantined.instances + former

    @property
    def lost_instances(self) -> int:
        """So many are lost, those for former stores with them."""
        return self.counts.lost.instances + sum(one.counts.lost.instances for one in self.former)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        oldest, unseen = self.oldest_unsent_seconds, self.oldest_acknowledged_seconds
        return {
            "Account": self.account,
            "Paused": self.paused,
            **self.counts.as_json(),
            "OldestUnsentSeconds": None if oldest is None else round(oldest, 3),
            "OldestUnsentDetail": self.oldest_unsent_detail,
            "OldestAcknowledgedSeconds": None if unseen is None else round(unseen, 3),
            "BytesPerSecond": round(self.bytes_per_second, 1),
            "InstancesPerSecond": round(self.instances_per_second, 3),
            "EstimatedEnd": utc(self.estimated_end),
            "LostChanges": self.lost_changes,
            "UnprotectedPatients": self.unprotected_patients,
            "Problem": self.problem,
            "Problems": [one.as_json() for one in self.problems],
            "Store": self.store,
            "FormerStores": [one.as_json() for one in self.former],
        }


@dataclass(frozen=True)
class _Counted:
    """What the rows of a ledger say; moments are seconds since 1970, UTC."""

    counts: Mapping[str, TransferCounts] = field(default_factory=dict)
    former: Mapping[str, Sequence[DestinationStatus]] = field(default_factory=dict)
    oldest: Mapping[str, float | None] = field(default_factory=dict)
    acknowledged: Mapping[str, float | None] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    unprotected: int = 0


class Overview:
    """Reads from the ledger how far all accounts are; safe for several threads.

    Parameters
    ----------
    standstill
        Says what is not done for long, and why.
    """

    def __init__(self, ledger: Ledger, standstill: Standstill | None = None) -> None:
        self._ledger, self._standstill = ledger, standstill
        self._lock = threading.Lock()
        self._rates: dict[str, ConfirmationRate] = defaultdict(ConfirmationRate)
        self._counted = _Counted()
        self._mark: Hashable = None
        self._explanations: dict[str, tuple[float, str | None, str | None]] = {}
        self._read_at = float("-inf")
        self._fresh = 0.0

    def accounts(
        self,
        names: Iterable[str] = (),
        problems: Mapping[str, str | None] | None = None,
        found: Sequence[Problem] = (),
    ) -> list[AccountOverview]:
        """How far each account is, by name; of a large ledger the figures are some seconds old.

        Parameters
        ----------
        names
            The configured ones, which are there even while the ledger has nothing for them.
        problems
            Account -> why nothing can be sent to it just now.
        found
            What needs a person.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        with self._lock:
            now = self._ledger.now()
            self._count(now)
            read = self._figures(now)
            paused = paused_accounts(self._ledger)
        stores = {name: one.store for name, one in self._ledger.destinations.current().items()}
        stores |= {name: one.path for name, one in self._ledger.destinations.stores.items()}
        overviews = []
        for name in sorted({*read, *names}):
            own = tuple(one for one in found if one.concerns(name))
            first = own[0].message if own else None
            shown = read.get(name, AccountOverview(name))
            overviews.append(
                replace(
                    shown,
                    paused=name in paused,
                    problem=(problems or {}).get(name) or first or shown.problem,
                    problems=own,
                    store=stores.get(name),
                )
            )
        return overviews

    def forget(self) -> None:
        """Figures have changed: the next time they are read, however fresh they are."""
        with self._lock:
            self._read_at = float("-inf")

    def _count(self, now: float) -> None:
        """Count the rows, unless that was done lately, or nothing has changed since."""
        age = now - self._read_at
        if 0 <= age < self._fresh:
            return
        mark = change_mark(self._ledger.engine)
        if 0 <= age < UNCHANGED_FOR and mark is not None and mark == self._mark:
            return
        began = time.perf_counter()
        self._counted, self._read_at, self._mark = self._read_rows(), now, mark
        self._fresh = min(FRESH, SHARE * (time.perf_counter() - began))

    def _read_rows(self) -> _Counted:
        current = self._ledger.destinations.current()
        of_all = destinations(self._ledger)
        former: dict[str, list[DestinationStatus]] = {one.destination.account: [] for one in of_all}
        counts = {}
        for one in of_all:
            account = one.destination.account
            if account in current and current[account].id == one.destination.id:
                counts[account] = one.counts
            elif one.counts != TransferCounts():
                former[account].append(one)
        with self._ledger.reading() as connection:
            oldest = {
                name: _oldest_unsent(connection, current[name].id)
                for name, own in counts.items()
                if own.unfinished.instances
            }
            acknowledged = {
                name: _oldest_acknowledged(connection, current[name].id)
                for name, own in counts.items()
                if own.acknowledged.instances
            }
        lost, unprotected = lost_changes_of(self._ledger), Patients(self._ledger).unprotected()
        return _Counted(counts, former, oldest, acknowledged, lost, unprotected)

    def _figures(self, now: float) -> dict[str, AccountOverview]:
        read = self._counted
        found = {
            name: replace(
                self._account(name, own, read.oldest.get(name), now),
                former=former,
                oldest_acknowledged_seconds=_age(read.acknowledged.get(name), now),
                lost_changes=read.lost.get(name, 0),
                unprotected_patients=read.unprotected if _is_in_need(own, former) else 0,
            )
            for name in {*read.former, *read.lost}
            for own in [read.counts.get(name, TransferCounts())]
            for former in [tuple(read.former.get(name, ()))]
            if former or name in read.lost or own != TransferCounts()
        }
        return {name: self._explained(one, now) for name, one in found.items()}

    def _explained(self, one: AccountOverview, now: float) -> AccountOverview:
        """With why the oldest is not sent, and what holds back the reading back."""
        if self._standstill is None:
            return one
        at, why, held_back = self._explanations.get(one.account, (float("-inf"), None, None))
        is_old = (one.oldest_unsent_seconds or 0.0) >= WORTH_A_WORD
        is_sent = bool(one.counts.acknowledged.instances)
        if not 0 <= now - at < EXPLAIN_EVERY:
            why = self._standstill.of_oldest(one.account) if is_old else None
            held_back = self._unseen(self._standstill, one) if is_sent else None
            if is_old or is_sent:
                self._explanations[one.account] = now, why, held_back
        return replace(
            one,
            oldest_unsent_detail=why if is_old else None,
            problem=held_back if is_sent else None,
        )

    @staticmethod
    def _unseen(standstill: Standstill, one: AccountOverview) -> str | None:
        """What holds back the reading back, or why it fails, where that has lasted."""
        held_back = standstill.of_read_back(one.account)
        if held_back or (one.oldest_acknowledged_seconds or 0.0) < UNSEEN:
            return held_back
        why = standstill.of_oldest_acknowledged(one.account)
        return why and f"what was sent is not seen in the store, the oldest: {why}"

    def _account(
        self, account: str, counts: TransferCounts, oldest: float | None, now: float
    ) -> AccountOverview:
        rate = self._rates[account]
        rate.mark(now, counts.confirmed)
        return AccountOverview(
            account,
            counts=counts,
            oldest_unsent_seconds=_age(oldest, now),
            bytes_per_second=rate.bytes,
            instances_per_second=rate.instances,
            estimated_end=rate.end(now, counts.unfinished),
        )


def delays(ledger: Ledger, accounts: Iterable[str]) -> dict[str, str | None]:
    """Why nothing can be sent, as the last try that failed says, by account.

    What the ledger has of a try is of one instance: it counts where it can be so of all.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of, found = transfers.c, {}
    delayed = sql.literal(State.DELAYED.value, literal_execute=True)
    reason = sql.func.coalesce(of.reason, "")
    is_apart = sql.func.coalesce(of.max_batch_instances, 0) == 1
    with ledger.reading() as connection:
        for account in accounts:
            mine = ledger.destinations.find(account)
            query = sql.select(of.detail).where(
                of.destination_id == mine,
                of.state == delayed,
                reason.not_in(_OF_ONE),
                ~(reason.in_(_OF_ONE_APART) & is_apart),
            )
            found[account] = connection.scalar(query.order_by(of.next_attempt_at.desc()).limit(1))
    return found


def _is_in_need(own: TransferCounts, former: Iterable[DestinationStatus]) -> bool:
    """Whether something of an account is in no store for certain, that for former ones with it."""
    counts = (own, *(one.counts for one in former))
    return any(one.in_need.instances for one in counts)


def _oldest_unsent(connection: sql.Connection, destination: int) -> float | None:
    """Since when the oldest instance that is not sent is to be sent; a backfill may wait."""
    query = sql.select(sql.func.min(transfers.c.queued_at)).where(
        transfers.c.destination_id == destination, sql.text(IS_OWED)
    )
    found: float | None = connection.scalar(query)
    return found


def _oldest_acknowledged(connection: sql.Connection, destination: int) -> float | None:
    """When a store acknowledged the oldest of what was not seen there yet."""
    acknowledged = sql.literal(State.ACKNOWLEDGED.value, literal_execute=True)  # as in its index
    query = sql.select(sql.func.min(transfers.c.acknowledged_at)).where(
        transfers.c.destination_id == destination, transfers.c.state == acknowledged
    )
    found: float | None = connection.scalar(query)
    return found


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)
