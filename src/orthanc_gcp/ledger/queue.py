"""The queue of all workers: claimed in batches, settled, and waiting again.

A claim is a lease on rows. It is taken in one transaction, by row locks that others skip
(PostgreSQL, "SELECT", FOR UPDATE SKIP LOCKED) or with the whole file locked (SQLite,
"Transactions", BEGIN IMMEDIATE), and names the worker and a batch that nobody else has. Only that
batch settles it; whoever finds the worker gone takes it back, and what the worker may still do
then settles nothing. :mod:`orthanc_gcp.ledger.workers` says when a worker counts as gone.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache, partial
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import execute_many, find, lock_alone, reading, writing
from orthanc_gcp.ledger.destinations import Destinations
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.rows import (
    COLUMNS,
    MOST_PARAMETERS,
    Amount,
    Outcome,
    Seen,
    Transfer,
    each_of,
    in_state,
    portions,
    transfer_of,
    values_of,
)
from orthanc_gcp.ledger.schema import UNSURE, Priority, State, transfers
from orthanc_gcp.ledger.stored_digests import OTHER_IS_THERE, unsure_where
from orthanc_gcp.ledger.versions import (
    doubt_same,
    doubt_stored,
    reopen_current,
    reopen_versions,
    supersede_replaced,
    supersede_unsent,
)
from orthanc_gcp.reasons import TransferReason

__all__ = ["Queue"]

# A literal lets the database see that a partial index serves.
_CLAIMED = transfers.c.state == sql.literal(State.SENDING.value, literal_execute=True)

# Made once: SQLAlchemy takes longer to make a statement than SQLite to answer it.
_DESTINATION = sql.bindparam("destination", type_=sql.BigInteger)
_BATCHES = sql.select(
    sql.func.count(each_of(transfers.c.batch, in_state(_DESTINATION, State.SENDING)).c.value)
)
_SOURCES = sql.select(
    each_of(transfers.c.source, transfers.c.destination_id == _DESTINATION).c.value
)
_SENDING_OF = (
    sql.select(transfers.c.source, sql.func.count(transfers.c.batch.distinct()))
    .where(in_state(_DESTINATION, State.SENDING))
    .group_by(transfers.c.source)
)
_CLAIM = (
    transfers.update()
    .where(transfers.c.id.in_(sql.bindparam("rows", expanding=True)))
    .values(
        state=State.SENDING,
        batch=sql.bindparam("claimed_batch"),
        worker=sql.bindparam("claimed_worker"),
        next_attempt_at=None,
    )
)


_WAITS_AGAIN = transfers.update().values(state=State.WAITING, next_attempt_at=None)
_HELD = (transfers.c.batch == sql.bindparam("held_by")) & (transfers.c.state == State.SENDING)
_OF_BATCH = sql.select(transfers.c.id).where(_HELD).with_for_update()


_REASON = sql.bindparam("reason", type_=sql.Text)
_REASON_UNLESS_DOUBTED = sql.case(
    # It was claimed without any: what it was compared with was doubted since.
    ((_REASON == TransferReason.COMPARED) & transfers.c.next_attempt_at.is_not(None), sql.null()),
    else_=_REASON,
)


@cache
def _settle(state: State) -> sql.Update:
    """What a batch that still holds a row writes into it."""
    size = sql.bindparam("size_bytes", type_=sql.BigInteger)
    written: dict[str, Any] = {
        field.name: sql.bindparam(field.name)
        for field in fields(Outcome)
        if field.name not in ("id", "size_bytes", "other_is_there", "seen")
    }
    written["size_bytes"] = sql.func.coalesce(size, transfers.c.size_bytes)
    if state == State.SUPERSEDED:  # the store has not taken it
        written["stored_sha256"], written["sha256"] = UNSURE, sql.null()
    else:
        written["stored_sha256"] = unsure_where(sql.bindparam("other_is_there", type_=sql.Boolean))
    if state == State.ACKNOWLEDGED:
        written["reason"] = _REASON_UNLESS_DOUBTED
        written["acknowledged_at"] = sql.bindparam("settled_at")
        written["sent_as"] = sql.bindparam("by")
    else:
        written["batch"] = None
    return transfers.update().where(transfers.c.id == sql.bindparam("row"), _HELD).values(written)


_BEHIND = sql.or_(
    transfers.c.priority > sql.bindparam("after_priority", type_=sql.Integer),
    sql.and_(
        transfers.c.priority == sql.bindparam("after_priority", type_=sql.Integer),
        transfers.c.id > sql.bindparam("after_id", type_=sql.BigInteger),
    ),
)


@cache
def _waiting(
    priorities: tuple[Priority, ...], together: bool, newest: bool, behind: bool
) -> sql.Select[Any]:
    """What may be claimed, the most urgent and oldest first; all, or what is behind a row.

    Or the newest of one priority, as far as it was never tried.
    """
    literals = [sql.literal(int(one), literal_execute=True) for one in priorities]
    most = transfers.c.max_batch_instances
    return (
        sql.select(*COLUMNS)
        .where(
            in_state(_DESTINATION, State.WAITING),
            transfers.c.source == sql.bindparam("source"),
            transfers.c.priority.in_(literals),
            *([most.is_(None) | (most > 1)] if together else []),
            *([transfers.c.reason.is_(None)] if newest else []),
            *([_BEHIND] if behind else []),
        )
        .order_by(*([transfers.c.id.desc()] if newest else [transfers.c.priority, transfers.c.id]))
        .limit(sql.bindparam("most", type_=sql.Integer))
        .with_for_update(skip_locked=True)
    )


@cache
def _ready(priorities: tuple[Priority, ...]) -> sql.Select[Any]:
    """The first of what may be claimed, from the index of the queue alone."""
    literals = [sql.literal(int(one), literal_execute=True) for one in priorities]
    first = (
        sql.select(transfers.c.size_bytes)
        .where(
            in_state(_DESTINATION, State.WAITING),
            transfers.c.source == sql.bindparam("source"),
            transfers.c.priority.in_(literals),
        )
        .limit(sql.bindparam("most", type_=sql.Integer))
        .subquery()
    )
    return sql.select(sql.func.count(), sql.func.coalesce(sql.func.sum(first.c.size_bytes), 0))


class Queue:
    """What waits, and what is being sent."""

    def __init__(
        self, engine: sql.Engine, now: Callable[[], float], destinations: Destinations
    ) -> None:
        self._engine, self._now, self._destinations = engine, now, destinations

    def claim(
        self,
        account: str,
        source: str,
        batch: str,
        worker: str,
        *,
        most_instances: int,
        most_bytes: int,
        most_batches: int,
        priorities: Collection[Priority] = tuple(Priority),
        together: bool = False,
        newest: bool = False,
    ) -> list[Transfer]:
        """Give waiting instances to a batch, the most urgent and oldest first.

        At least one, whatever its size; all with the same priority and way of sending, no SOP
        Instance UID twice. None while all workers together have so many batches of the account.

        Parameters
        ----------
        together
            Only those that need not be sent alone.
        newest
            Only those that were never tried, the newest first; of one priority.
        """
        destination = self._destinations.find(account)
        if destination is None:
            return []
        wanted = {"destination": destination, "source": source, "most": most_instances}
        with writing(self._engine) as connection:
            if self._batches(connection, destination) >= most_batches:
                return []
            waiting = partial(_waiting, tuple(priorities), together, newest)
            chosen = self._choose(connection, waiting, wanted, most_bytes, goes_on=not newest)
            claimed = {"claimed_batch": batch, "claimed_worker": worker}
            for some in portions([row.id for row in chosen], MOST_PARAMETERS):
                connection.execute(_CLAIM, {"rows": some, **claimed})
        return chosen

    def ready(
        self, account: str, source: str, priorities: Collection[Priority], most: int
    ) -> Amount:
        """How much may be claimed for an account, as far as some instances reach.

        Parameters
        ----------
        most
            So many instances are counted at most.
        """
        destination = self._destinations.find(account)
        if destination is None:
            return Amount(0, 0)
        wanted = {"destination": destination, "source": source, "most": most}
        with reading(self._engine) as connection:
            ((count, size),) = find(connection, _ready(tuple(priorities)), wanted)
        return Amount(int(count), int(size))

    def _choose(
        self,
        connection: sql.Connection,
        waiting: Callable[[bool], sql.Select[Any]],
        wanted: Mapping[str, Any],
        most_bytes: int,
        *,
        goes_on: bool,
    ) -> list[Transfer]:
        """What waits and may be in one batch; of several versions of an instance, not the old.

        What waits until another version is sent is in the way of nothing behind it.
        """
        after: dict[str, int] = {}
        while True:
            rows = find(connection, waiting(bool(after)), {**wanted, **after})
            chosen = list(_fitting(map(transfer_of, rows), most_bytes))
            old, busy = supersede_unsent(connection, self._now(), [row.id for row in chosen])
            free = [row for row in chosen if row.id not in old | busy]
            if free or not chosen or not (goes_on or old):
                return free
            if busy:
                after = {"after_priority": chosen[-1].priority, "after_id": chosen[-1].id}

    def _batches(self, connection: sql.Connection, destination: int) -> int:
        """How many batches for it all workers hold; until the end, nobody adds another."""
        lock_alone(connection, sql.func.hashtext(f"gcp:{destination}"))
        ((count,),) = find(connection, _BATCHES, {"destination": destination})
        return int(count)

    def others_waiting(self, account: str, source: str) -> dict[str, int]:
        """The other Orthancs of which instances wait for an account, on a database for several.

        Each with how many batches of it are being sent.
        """
        if self._engine.dialect.name == "sqlite":
            return {}
        destination = {"destination": self._destinations.find(account)}
        with reading(self._engine) as connection:
            waiting = {
                other: 0
                for (other,) in find(connection, _SOURCES, destination)
                if other not in (None, source)
                and find(
                    connection, _ready((*Priority,)), {**destination, "source": other, "most": 1}
                )[0][0]
            }
            if waiting:
                sending = find(connection, _SENDING_OF, destination)
                waiting |= {other: count for other, count in sending if other in waiting}
        return waiting

    def held(self, batch: str) -> set[int]:
        """The rows that a batch still holds: those that nobody took back, or has received anew."""
        with reading(self._engine) as connection:
            return set(
                connection.scalars(sql.select(transfers.c.id).where(_HELD), {"held_by": batch})
            )

    def settle(self, batch: str, outcomes: Iterable[Outcome], sent_as: str | None = None) -> None:
        """Write down what became of the instances that a batch still holds.

        What it has sent to replace others, and does not hold any more, may have replaced a newer
        version.

        Parameters
        ----------
        sent_as
            In whose name it was sent, to Google; None if that is not known.
        """
        now = self._now()
        of_batch = {"held_by": batch, "settled_at": now, "by": sent_as}
        grouped: dict[State, list[dict[str, Any]]] = defaultdict(list)
        seen: dict[int, Seen] = {}
        for outcome in outcomes:
            values = values_of(outcome)
            values["row"], there = values.pop("id"), values.pop("seen")
            if there is not None:
                seen[outcome.id] = there
            values["other_is_there"] |= outcome.reason in OTHER_IS_THERE
            grouped[outcome.state].append(values | of_batch)
        replacing = [row["row"] for rows in grouped.values() for row in rows if _may_replace(row)]
        upserted = [row["row"] for rows in grouped.values() for row in rows if row["replace"]]
        with writing(self._engine) as connection:
            if upserted:
                held = connection.scalars(_OF_BATCH, {"held_by": batch}).all()
                doubt_stored(connection, now, sorted(set(upserted).difference(held)))
            for state, rows in grouped.items():
                settled: set[int] = set()
                if state in (State.QUARANTINED, State.SUPERSEDED, State.LOST):
                    settled.update(connection.scalars(_OF_BATCH, {"held_by": batch}))
                execute_many(connection, _settle(state), rows)
                ended = [row["row"] for row in rows if row["row"] in settled]
                if state == State.SUPERSEDED:
                    current = reopen_current(connection, now, ended)
                    ended = [row for row in ended if row not in current]
                add_for(connection, now, ended, state)
            supersede_replaced(connection, now, replacing)
            refused = (*grouped[State.QUARANTINED], *grouped[State.SUPERSEDED])
            different = {row["row"]: row["sha256"] for row in refused if _is_different(row)}
            doubt_same(connection, now, different, seen)
            gone = [row["row"] for row in (*grouped[State.WITHDRAWN], *grouped[State.LOST])]
            reopen_versions(connection, now, gone)

    def requeue_due(self, account: str) -> None:
        """What was delayed and is due waits again."""
        mine = self._destinations.find(account)
        due = in_state(mine, State.DELAYED) & (transfers.c.next_attempt_at <= self._now())
        with reading(self._engine) as connection:
            if connection.scalar(sql.select(transfers.c.id).where(due).limit(1)) is None:
                return
        with writing(self._engine) as connection:
            connection.execute(_WAITS_AGAIN.where(due))

    def requeue_first_due(
        self, account: str, source: str, priorities: Collection[Priority], most: int
    ) -> bool:
        """So many of those that are due, and were so first, wait again; whether any do."""
        mine = self._destinations.find(account)
        first = (
            sql.select(transfers.c.id)
            .where(
                in_state(mine, State.DELAYED),
                transfers.c.next_attempt_at <= self._now(),
                transfers.c.source == source,
                transfers.c.priority.in_(priorities),
            )
            .order_by(transfers.c.next_attempt_at, transfers.c.id)
            .limit(most)
        )
        with reading(self._engine) as connection:
            rows = connection.scalars(first).all()
        if not rows:
            return False
        is_delayed = transfers.c.id.in_(rows) & (transfers.c.state == State.DELAYED)
        with writing(self._engine) as connection:
            connection.execute(_WAITS_AGAIN.where(is_delayed))
        return True

    def hasten(self, account: str) -> None:
        """What was delayed is due: the destination takes instances again."""
        mine = self._destinations.find(account)
        delayed = in_state(mine, State.DELAYED) & (transfers.c.next_attempt_at > self._now())
        with writing(self._engine) as connection:
            connection.execute(
                transfers.update().where(delayed).values(next_attempt_at=self._now())
            )

    def bring_forward(self) -> None:
        """The clock was set back: moments that were noted by the old time are now."""
        now = self._now()
        with writing(self._engine) as connection:
            for state in (State.DELAYED, State.ACKNOWLEDGED):
                late = (transfers.c.state == state) & (transfers.c.next_attempt_at > now)
                connection.execute(transfers.update().where(late).values(next_attempt_at=now))
            early = (transfers.c.state == State.ACKNOWLEDGED) & (transfers.c.acknowledged_at > now)
            connection.execute(transfers.update().where(early).values(acknowledged_at=now))

    def claimed_batches(self, worker: str) -> list[str]:
        """The batches that a worker has claimed, and not settled."""
        query = sql.select(transfers.c.batch).where(_CLAIMED, transfers.c.worker == worker)
        with reading(self._engine) as connection:
            return list(connection.scalars(query.distinct()))

    def requeue_batches(self, batches: Collection[str]) -> None:
        """Nobody sends these batches any more: what they hold waits again."""
        with writing(self._engine) as connection:
            for some in portions(list(batches), MOST_PARAMETERS):
                self._requeue(connection, transfers.c.batch.in_(some))

    def requeue_claims_of(self, worker: str) -> None:
        """A worker is gone: what it has claimed waits again."""
        with writing(self._engine) as connection:
            self._requeue(connection, transfers.c.worker == worker)

    def _requeue(self, connection: sql.Connection, of: sql.ColumnElement[bool]) -> None:
        waiting = {"state": State.WAITING, "batch": None}
        connection.execute(transfers.update().where(_CLAIMED, of).values(waiting))

    def give_up(self, account: str, source: str, before: float) -> None:
        """What was to be sent before a moment, and is not, needs a person.

        A backfill may have to wait for its hours.
        """
        mine = self._destinations.find(account)
        with writing(self._engine) as connection:
            old = connection.scalars(
                sql.select(transfers.c.id)
                .where(
                    transfers.c.destination_id == mine,
                    transfers.c.source == source,
                    transfers.c.state.in_([State.WAITING, State.DELAYED]),
                    transfers.c.queued_at < before,
                    transfers.c.priority != Priority.BACKFILL,
                )
                .limit(10_000)
                .with_for_update(skip_locked=True)
            ).all()
            for some in portions(old, MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(transfers.c.id.in_(some))
                    .values(
                        state=State.QUARANTINED,
                        reason=TransferReason.GAVE_UP,
                        detail=sql.func.coalesce(
                            transfers.c.detail, "GiveUpAfterSeconds have passed"
                        ),
                    )
                )
            add_for(connection, self._now(), old, "quarantined")


def _may_replace(settled: Mapping[str, Any]) -> bool:
    """Whether the store has, or may soon have, other bytes than before."""
    return settled["state"] == State.ACKNOWLEDGED or bool(settled["replace"])


def _is_different(settled: Mapping[str, Any]) -> bool:
    """Whether the store was seen to have other bytes, and keeps them."""
    return settled["reason"] in (TransferReason.CONFLICT, TransferReason.SUPERSEDED)


def _fitting(waiting: Iterator[Transfer], most_bytes: int) -> Iterator[Transfer]:
    """The first of them, and the following that may share a request with it."""
    total, count, max_instances, uids = 0, 0, None, set()
    first = None
    for transfer in waiting:
        limits = [
            most for most in (max_instances, transfer.max_batch_instances) if most is not None
        ]
        if count and (
            total + transfer.size_bytes > most_bytes
            or (limits and count >= min(limits))
            or (transfer.replace, transfer.priority) != first
        ):
            return
        if transfer.sop_instance_uid in uids:
            continue
        yield transfer
        uids.add(transfer.sop_instance_uid)
        total, count = total + transfer.size_bytes, count + 1
        first = transfer.replace, transfer.priority
        max_instances = min(limits) if limits else None
