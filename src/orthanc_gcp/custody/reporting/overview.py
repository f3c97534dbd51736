"""What people and programs see of the transfers, and what they may do with them.

Answers are ready for JSON: PascalCase, times in UTC by ISO 8601, no patient data.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import IS_OWED, UNSENT, Priority, State, events, transfers
from orthanc_gcp.ledger.selection import Selection

__all__ = ["LARGEST_PAGE", "Reports", "paused_name", "utc"]

LARGEST_PAGE = 1000
SHARE, FRESH = 10, 2.0
"""An overview is told again for so many times as long as it takes, and so many seconds at most."""
WINDOW = 60.0
"""Seconds that rates are the mean of."""
_MARK_EVERY = 1.0

NEVER_STORED = ("conflict", "invalid", "refused")
"""Reasons that say that the store did not take it; a digest tells elsewhere that it has."""
FIGURES: Mapping[str, tuple[State, ...]] = {
    "Waiting": (State.HELD, State.WAITING, State.DELAYED),
    "Sending": (State.SENDING,),
    "Acknowledged": (State.ACKNOWLEDGED,),
    "Confirmed": (State.CONFIRMED,),
    "Quarantined": (State.QUARANTINED,),
    "Withdrawn": (State.WITHDRAWN,),
}
_UNFINISHED = ("Waiting", "Sending", "Acknowledged")

Counts = dict[str, dict[str, int]]


class Reports:
    """Reads the ledger for people; safe for several threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._rates: dict[str, _Rate] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._told_at = float("-inf")
        self._fresh = 0.0

    # -- Seeing -------------------------------------------------------------------------------

    def overview(
        self, accounts: Iterable[str] = (), problems: Mapping[str, str | None] | None = None
    ) -> list[dict[str, Any]]:
        """How far each account is, by name; the figures are two seconds old at most.

        Parameters
        ----------
        accounts
            The configured ones, told of even while the ledger has nothing for them.
        problems
            Account -> why nothing can be sent to it just now.
        """
        with self._lock:
            now = self._ledger.now()
            if not 0 <= now - self._told_at < self._fresh:
                began = time.perf_counter()
                self._told, self._told_at = self._look(now), now
                self._fresh = min(FRESH, SHARE * (time.perf_counter() - began))
            told = self._told
            paused = self.paused()
        names = sorted({*told, *accounts})
        return [
            {
                "Account": name,
                "Paused": name in paused,
                **told.get(name, _NOTHING),
                "Problem": (problems or {}).get(name),
            }
            for name in names
        ]

    def studies(
        self, selection: Selection, after: str = "", limit: int = 100
    ) -> tuple[list[dict[str, Any]], str | None]:
        """The studies with such instances, by UID, each with all that it has for an account.

        Returns a page, and what to give as ``after`` for the next; None for the last.
        """
        of, key = transfers.c, sql.tuple_(transfers.c.study_instance_uid, transfers.c.account)
        query = (
            sql.select(of.study_instance_uid, of.account).where(*selection.conditions).distinct()
        )
        if after:
            study, _, account = after.partition("/")
            query = query.where(key > sql.tuple_(sql.literal(study), sql.literal(account)))
        query = query.order_by(of.study_instance_uid, of.account).limit(_bounded(limit))
        with self._ledger.reading() as connection:
            keys = [(row.study_instance_uid, row.account) for row in connection.execute(query)]
            grouped = (
                sql.select(
                    of.study_instance_uid,
                    of.account,
                    of.state,
                    sql.func.count().label("instances"),
                    sql.func.sum(of.size_bytes).label("size_bytes"),
                    sql.func.min(of.received_at).label("received_at"),
                    sql.func.max(of.confirmed_at).label("confirmed_at"),
                )
                .where(of.study_instance_uid.in_({study for study, _ in keys}))
                .group_by(of.study_instance_uid, of.account, of.state)
            )
            rows = list(connection.execute(grouped)) if keys else []
        page = [
            _study(*key, [row for row in rows if (row.study_instance_uid, row.account) == key])
            for key in keys
        ]
        return page, "/".join(keys[-1]) if len(keys) == _bounded(limit) else None

    def instances(
        self, selection: Selection, after: str = "", limit: int = 100
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Such instances in the order in which they were first written down.

        Returns a page, and what to give as ``after`` for the next; None for the last.
        Raises ValueError for an ``after`` that no page has given.
        """
        query = sql.select(transfers).where(*selection.conditions)
        if after:
            query = query.where(transfers.c.id > int(after))
        query = query.order_by(transfers.c.id).limit(_bounded(limit))
        with self._ledger.reading() as connection:
            rows = list(connection.execute(query))
        page = [_instance(row) for row in rows]
        return page, str(rows[-1].id) if len(rows) == _bounded(limit) else None

    def paused(self) -> set[str]:
        """The accounts that nothing is sent to, because somebody said so."""
        prefix = paused_name("")
        found = self._ledger.key_values(prefix)
        return {name.removeprefix(prefix) for name, value in found.items() if value}

    def delays(self, accounts: Iterable[str]) -> dict[str, str | None]:
        """Why instances have to be tried again, as the last try that failed says, by account."""
        of, found = transfers.c, {}
        delayed = sql.literal(State.DELAYED.value, literal_execute=True)
        with self._ledger.reading() as connection:
            for account in accounts:
                query = sql.select(of.detail).where(of.account == account, of.state == delayed)
                found[account] = connection.scalar(
                    query.order_by(of.next_attempt_at.desc()).limit(1)
                )
        return found

    # -- Doing --------------------------------------------------------------------------------

    def pause(self, account: str) -> None:
        """Begin no more requests to an account; those that run are finished."""
        self._switch(account, paused=True)

    def resume(self, account: str) -> None:
        """Send to an account again."""
        self._switch(account, paused=False)

    def retry(
        self,
        account: str | None = None,
        *,
        instance: str | None = None,
        study: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Send again what is in quarantine; how many instances.

        What was withdrawn is meant, too, when its study or the instance itself is named.
        """
        chosen = Selection(
            account=account, sop_instance_uid=instance, study_instance_uid=study, reason=reason
        )
        states = [State.QUARANTINED, *([State.WITHDRAWN] if instance or study else [])]
        of, now = transfers.c, self._ledger.now()
        where = sql.and_(of.state.in_(states), *chosen.conditions)
        told = sql.select(
            sql.literal(now),
            of.account,
            of.study_instance_uid,
            of.sop_instance_uid,
            sql.literal("retried"),
            of.reason,
        ).where(where)
        names = [
            "occurred_at",
            "account",
            "study_instance_uid",
            "sop_instance_uid",
            "kind",
            "detail",
        ]
        with self._ledger.writing() as connection:
            connection.execute(events.insert().from_select(names, told))
            changed = connection.execute(
                transfers.update()
                .where(where)
                .values(
                    **UNSENT,
                    state=State.WAITING,
                    sha256=sql.case((of.reason.in_(NEVER_STORED), None), else_=of.sha256),
                    attempts=0,
                    replace=False,
                    queued_at=now,
                )
            )
        self._forget()
        return int(changed.rowcount)

    # -- Within -------------------------------------------------------------------------------

    def _switch(self, account: str, *, paused: bool) -> None:
        if (account in self.paused()) != paused:
            self._ledger.set_key_value(paused_name(account), paused)
            self._ledger.tell(account, "paused" if paused else "resumed", "")

    def _forget(self) -> None:
        with self._lock:
            self._told_at = float("-inf")

    def _look(self, now: float) -> dict[str, dict[str, Any]]:
        of = transfers.c
        counted: dict[str, Counts] = {}
        query = sql.select(
            of.account,
            of.state,
            sql.func.count().label("instances"),
            sql.func.sum(of.size_bytes).label("size_bytes"),
        ).group_by(of.account, of.state)
        with self._ledger.reading() as connection:
            for row in connection.execute(query):
                counts = counted.setdefault(row.account, _no_counts())
                _add(counts, row)
            oldest = {name: _oldest(connection, name) for name in counted}
        return {name: self._told_of(name, counted[name], oldest[name], now) for name in counted}

    def _told_of(
        self, account: str, counts: Counts, oldest: float | None, now: float
    ) -> dict[str, Any]:
        rate = self._rates.setdefault(account, _Rate())
        rate.mark(now, counts["Confirmed"])
        end = rate.end(now, [counts[name] for name in _UNFINISHED])
        return {
            **counts,
            "OldestUnsentSeconds": None if oldest is None else round(max(0.0, now - oldest), 3),
            "BytesPerSecond": round(rate.bytes, 1),
            "InstancesPerSecond": round(rate.instances, 3),
            "EstimatedEnd": utc(end),
        }


class _Rate:
    """How fast instances get confirmed, over the last minute."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque(maxlen=int(WINDOW / _MARK_EVERY) + 2)

    def mark(self, now: float, confirmed: Mapping[str, int]) -> None:
        marks = self._marks
        mark = (now, confirmed["Instances"], confirmed["Bytes"])
        if marks and (now < marks[-1][0] or mark[1] < marks[-1][1]):
            marks.clear()  # the clock was set back, or instances were received again
        if len(marks) > 1 and now - marks[-2][0] < _MARK_EVERY:
            marks.pop()
        while len(marks) > 1 and marks[1][0] <= now - WINDOW:
            marks.popleft()
        marks.append(mark)

    @property
    def instances(self) -> float:
        return self._mean(1)

    @property
    def bytes(self) -> float:
        return self._mean(2)

    def end(self, now: float, unfinished: Iterable[Mapping[str, int]]) -> float | None:
        """When all that is known will be confirmed at this rate; None while nobody can tell."""
        left = list(unfinished)
        instances, size = (sum(one[name] for one in left) for name in ("Instances", "Bytes"))
        if not instances or self.instances <= 0:
            return None
        return now + max(instances / self.instances, size / self.bytes if self.bytes > 0 else 0)

    def _mean(self, of: int) -> float:
        first, last = self._marks[0], self._marks[-1]
        seconds = last[0] - first[0]
        return max(0.0, (last[of] - first[of]) / seconds) if seconds > 0 else 0.0


def paused_name(account: str) -> str:
    """Where the ledger keeps whether an account is paused."""
    return f"paused:{account}"


def _oldest(connection: sql.Connection, account: str) -> float | None:
    """Since when the oldest instance that is not sent is to be sent; a backfill may wait."""
    query = sql.select(sql.func.min(transfers.c.queued_at)).where(
        transfers.c.account == account, sql.text(IS_OWED)
    )
    found: float | None = connection.scalar(query)
    return found


def _no_counts() -> Counts:
    return {name: {"Instances": 0, "Bytes": 0} for name in FIGURES}


_NOTHING: Mapping[str, Any] = {
    **_no_counts(),
    "OldestUnsentSeconds": None,
    "BytesPerSecond": 0.0,
    "InstancesPerSecond": 0.0,
    "EstimatedEnd": None,
}


def _add(counts: Counts, row: sql.Row[Any]) -> None:
    """Count a group of rows of one state."""
    for name, states in FIGURES.items():
        if row.state in states:
            counts[name]["Instances"] += row.instances
            counts[name]["Bytes"] += int(row.size_bytes)


def _study(study: str, account: str, rows: Iterable[sql.Row[Any]]) -> dict[str, Any]:
    counts, received, confirmed = _no_counts(), [], []
    for row in rows:
        _add(counts, row)
        received.append(row.received_at)
        if row.confirmed_at is not None:
            confirmed.append(row.confirmed_at)
    return {
        "Account": account,
        "Study": study,
        **counts,
        "FirstReceived": utc(min(received, default=None)),
        "LastConfirmed": utc(max(confirmed, default=None)),
    }


def _instance(row: sql.Row[Any]) -> dict[str, Any]:
    return {
        "Account": row.account,
        "Source": row.source,
        "Resource": row.orthanc_id,
        "Study": row.study_instance_uid,
        "Series": row.series_instance_uid,
        "Instance": row.sop_instance_uid,
        "Bytes": row.size_bytes,
        "Sha256": row.sha256,
        "State": row.state,
        "Priority": Priority(row.priority).name.capitalize(),
        "Attempts": row.attempts,
        "Reason": row.reason,
        "Detail": row.detail,
        "NextTry": utc(row.next_attempt_at) if row.state == State.DELAYED else None,
        "Received": utc(row.received_at),
        "Acknowledged": utc(row.acknowledged_at),
        "Confirmed": utc(row.confirmed_at),
    }


def utc(seconds: float | None) -> str | None:
    """A moment in seconds since 1970, as people and programs read it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _bounded(limit: int) -> int:
    return max(1, min(limit, LARGEST_PAGE))
