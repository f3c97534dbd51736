"""The ledger: what has to go where, and how far it is.

Every method is one transaction. A row that a batch holds is only changed by that batch, or by a
newer version of the instance, which takes it away from the batch.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite

from orthanc_gcp.ledger.database import reading, writing
from orthanc_gcp.ledger.schema import (
    UNSENT,
    Priority,
    State,
    change_cursors,
    events,
    key_values,
    transfers,
)

__all__ = ["Cursor", "Ledger", "NewTransfer", "Outcome", "Transfer"]

OPEN = (State.WAITING, State.SENDING)
UNSETTLED = (State.HELD, State.WAITING, State.DELAYED, State.SENDING, State.ACKNOWLEDGED)
_MOST_PARAMETERS = 500

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """An instance that a rule, or somebody, wants at a destination."""

    account: str
    source: str
    orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    received_at: float
    attachment_uuid: str = ""
    change_seq: int = 0
    priority: Priority = Priority.LIVE
    held_for_orthanc_id: str | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """A row of the ledger, as far as sending needs it."""

    id: int
    account: str
    source: str
    orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    attachment_uuid: str
    sha256: str | None
    state: str
    attempts: int
    max_batch_instances: int | None
    replace: bool
    received_at: float
    reason: str | None
    priority: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one instance after an attempt."""

    id: int
    state: State
    reason: str | None = None
    detail: str | None = None
    sha256: str | None = None
    next_attempt_at: float | None = None
    max_batch_instances: int | None = None
    replace: bool = False
    attempts: int = 0
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the changes of an Orthanc have been read, and when following began."""

    seq: int
    since: float


_COLUMNS = [transfers.c[field.name] for field in fields(Transfer)]

# A literal lets the database see that a partial index serves.
_CLAIMED = transfers.c.state == sql.literal(State.SENDING.value, literal_execute=True)

# Made once: SQLAlchemy takes longer to make a statement than SQLite to answer it.
_OF_SERIES = (transfers.c.account == sql.bindparam("account")) & (
    transfers.c.series_instance_uid == sql.bindparam("series")
)
_UNSENT_OF_SERIES = (
    sql.select(transfers.c.id).where(_OF_SERIES, transfers.c.state.in_(OPEN)).limit(1)
)
_ACKNOWLEDGED_OF_SERIES = sql.select(*_COLUMNS).where(
    _OF_SERIES, transfers.c.state == State.ACKNOWLEDGED
)


class Ledger:
    """The tables, and the transitions between the states.

    Parameters
    ----------
    engine
        The database; see :mod:`orthanc_gcp.ledger.database`.
    now
        Seconds since 1970, UTC.
    """

    def __init__(self, engine: sql.Engine, now: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.now = now

    def writing(self) -> AbstractContextManager[sql.Connection]:
        """A transaction that sees nobody else's half-done work."""
        return writing(self.engine)

    def reading(self) -> AbstractContextManager[sql.Connection]:
        """A connection that writes nothing."""
        return reading(self.engine)

    # -- What arrives -------------------------------------------------------------------------

    def record(
        self, arrivals: Sequence[NewTransfer], source: str = "", seq: int | None = None
    ) -> int:
        """Write down what arrived and, with it, how far the changes of its source were read.

        Returns how many instances are on their way by it that were not before.
        """
        with self.writing() as connection:
            new = self._insert(connection, arrivals) if arrivals else 0
            if seq is not None:
                connection.execute(
                    change_cursors.update().where(change_cursors.c.source == source).values(seq=seq)
                )
        return new

    def _insert(self, connection: sql.Connection, arrivals: Sequence[NewTransfer]) -> int:
        now = self.now()
        statement = self._upsert(transfers)
        new = statement.excluded
        described = (
            "size_bytes",
            "attachment_uuid",
            "state",
            "priority",
            "held_for_orthanc_id",
            "received_at",
            "queued_at",
        )
        again = {name: new[name] for name in described}
        change = sql.case(
            (new.change_seq > transfers.c.change_seq, new.change_seq), else_=transfers.c.change_seq
        )
        fresh = {"sha256": None, **UNSENT}
        done = connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account", "source", "orthanc_id"],
                set_={**again, **fresh, "change_seq": change, "attempts": 0, "replace": False},
                # A change that was read before is nothing new, whatever its number in an index
                # that was replaced; a demand opens what was closed, and does not wait for
                # anything.
                where=(new.change_seq > transfers.c.change_seq)
                | (new.received_at > transfers.c.received_at)
                | (
                    (new.priority == Priority.DEMANDED)
                    & (
                        sql.and_(*(transfers.c.state != state for state in UNSETTLED))
                        | (transfers.c.state == State.HELD)
                        | (
                            (transfers.c.priority > Priority.DEMANDED)
                            & (transfers.c.state != State.SENDING)
                            & (transfers.c.state != State.ACKNOWLEDGED)
                        )
                    )
                ),
            ),
            [
                {
                    **asdict(arrival),
                    "state": State.HELD if arrival.held_for_orthanc_id else State.WAITING,
                    "attempts": 0,
                    "replace": False,
                    "queued_at": now,
                }
                for arrival in arrivals
            ],
            execution_options={"preserve_rowcount": True},  # otherwise unknown on PostgreSQL
        )
        return int(done.rowcount)

    def known(self, source: str, resources: Collection[str]) -> set[str]:
        """Those of some instances of an Orthanc that the ledger has a row for."""
        found: set[str] = set()
        with self.reading() as connection:
            for some in _portions(list(resources), _MOST_PARAMETERS):
                query = sql.select(transfers.c.orthanc_id).where(
                    transfers.c.source == source, transfers.c.orthanc_id.in_(some)
                )
                found.update(connection.scalars(query))
        return found

    def cursor(self, source: str) -> Cursor | None:
        """Where reading an Orthanc's changes goes on; None before the first time."""
        with self.reading() as connection:
            row = connection.execute(
                sql.select(change_cursors.c.seq, change_cursors.c.since).where(
                    change_cursors.c.source == source
                )
            ).one_or_none()
        return None if row is None else Cursor(row.seq, row.since)

    def begin(self, source: str, seq: int, since: float) -> Cursor:
        """Begin to follow an Orthanc after a change; ``since`` is that place in UTC seconds."""
        cursor = Cursor(seq, since)
        with self.writing() as connection:
            connection.execute(change_cursors.insert().values(source=source, **asdict(cursor)))
        return cursor

    def rewind(self, source: str, seq: int) -> None:
        """Read the changes again from a place; those known already change nothing."""
        with self.writing() as connection:
            connection.execute(
                change_cursors.update().where(change_cursors.c.source == source).values(seq=seq)
            )

    def has_gap(self, source: str) -> bool:
        """Whether changes of an Orthanc were lost before they were read."""
        return self._key_value(f"gap:{source}") is not None

    def open_gap(self, source: str) -> None:
        """Changes of an Orthanc are gone that were not read."""
        self._set_or_delete(f"gap:{source}", self.now())

    def close_gap(self, source: str) -> None:
        """A comparison has found what those changes would have told."""
        self._set_or_delete(f"gap:{source}", None)

    def unreadable(self, source: str) -> list[str]:
        """The instances of an Orthanc whose attributes could not be read for the rules."""
        return list(self._key_value(f"unreadable:{source}") or ())

    def set_unreadable(self, source: str, resources: Sequence[str]) -> None:
        """Remember these, in place of those before."""
        self._set_or_delete(f"unreadable:{source}", list(resources) or None)

    def _key_value(self, name: str) -> Any:
        query = sql.select(key_values.c.value).where(key_values.c.name == name)
        with self.reading() as connection:
            return connection.scalar(query)

    def _set_or_delete(self, name: str, value: Any) -> None:
        with self.writing() as connection:
            connection.execute(key_values.delete().where(key_values.c.name == name))
            if value is not None:
                connection.execute(key_values.insert().values(name=name, value=value))

    def held(self, source: str, limit: int = 1000) -> list[str]:
        """The series and studies of an Orthanc that instances are held for."""
        query = (
            sql.select(transfers.c.held_for_orthanc_id)
            .where(transfers.c.held_for_orthanc_id.is_not(None), transfers.c.source == source)
            .distinct()
            .limit(limit)
        )
        with self.reading() as connection:
            return list(connection.scalars(query))

    def release(self, resources: Sequence[str]) -> None:
        """These series and studies are stable: their instances may go."""
        with self.writing() as connection:
            for some in _portions(resources, _MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(
                        transfers.c.held_for_orthanc_id.in_(some), transfers.c.state == State.HELD
                    )
                    .values(state=State.WAITING, held_for_orthanc_id=None)
                )

    # -- What is sent -------------------------------------------------------------------------

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
    ) -> list[Transfer]:
        """Give waiting instances to a batch, the most urgent and oldest first.

        At least one, whatever its size; all with the same priority and way of sending, no SOP
        Instance UID twice. None while all workers together have so many batches of the account.
        """
        queue = (
            sql.select(*_COLUMNS)
            .where(
                _in(account, State.WAITING),
                transfers.c.source == source,
                transfers.c.priority.in_(list(priorities)),
            )
            .order_by(transfers.c.priority, transfers.c.id)
            .limit(most_instances)
            .with_for_update(skip_locked=True)
        )
        with self.writing() as connection:
            if self._batches(connection, account) >= most_batches:
                return []
            waiting = (Transfer(*row) for row in connection.execute(queue))
            chosen = list(_fitting(waiting, most_bytes))
            for some in _portions([transfer.id for transfer in chosen], _MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(transfers.c.id.in_(some))
                    .values(state=State.SENDING, batch=batch, worker=worker, next_attempt_at=None)
                )
        return chosen

    def _batches(self, connection: sql.Connection, account: str) -> int:
        """How many batches of an account all workers hold; until the end, nobody adds another."""
        if self.engine.dialect.name == "postgresql":
            lock = sql.func.pg_advisory_xact_lock(sql.func.hashtext(f"gcp:{account}"))
            connection.execute(sql.select(lock))
        batches = sql.select(transfers.c.batch).where(_in(account, State.SENDING)).distinct()
        return connection.scalar(sql.select(sql.func.count()).select_from(batches.subquery())) or 0

    def settle(self, batch: str, verdicts: Iterable[Outcome], sent_as: str | None = None) -> None:
        """Write down what became of the instances that a batch still holds, and who sent them."""
        grouped: dict[State, list[dict[str, Any]]] = defaultdict(list)
        for verdict in verdicts:
            values = asdict(verdict)
            values["row"] = values.pop("id")
            grouped[verdict.state].append(values)
        now = self.now()
        held = (transfers.c.batch == batch) & (transfers.c.state == State.SENDING)
        with self.writing() as connection:
            for state, rows in grouped.items():
                written: dict[str, Any] = {
                    name: sql.bindparam(name)
                    for name in rows[0]
                    if name not in ("row", "size_bytes")
                }
                size = sql.bindparam("size_bytes", type_=sql.BigInteger)
                written["size_bytes"] = sql.func.coalesce(size, transfers.c.size_bytes)
                if state == State.ACKNOWLEDGED:
                    written["acknowledged_at"] = sql.literal(now)
                    written["sent_as"] = sql.literal(sent_as, type_=sql.Text)
                else:
                    written["batch"] = sql.null()
                connection.execute(
                    transfers.update()
                    .where(transfers.c.id == sql.bindparam("row"), held)
                    .values(written),
                    rows,
                )
                if state == State.QUARANTINED:
                    self._tell_of(connection, [row["row"] for row in rows], "quarantined")

    def wake(self, account: str) -> None:
        """What was delayed and is due waits again."""
        due = _in(account, State.DELAYED) & (transfers.c.next_attempt_at <= self.now())
        with self.reading() as connection:
            if connection.scalar(sql.select(transfers.c.id).where(due).limit(1)) is None:
                return
        with self.writing() as connection:
            connection.execute(
                transfers.update().where(due).values(state=State.WAITING, next_attempt_at=None)
            )

    def hasten(self) -> None:
        """The clock was set back: moments that were noted by the old time are now."""
        now = self.now()
        with self.writing() as connection:
            for state in (State.DELAYED, State.ACKNOWLEDGED):
                late = (transfers.c.state == state) & (transfers.c.next_attempt_at > now)
                connection.execute(transfers.update().where(late).values(next_attempt_at=now))
            early = (transfers.c.state == State.ACKNOWLEDGED) & (transfers.c.acknowledged_at > now)
            connection.execute(transfers.update().where(early).values(acknowledged_at=now))

    def claimed_batches(self, worker: str) -> list[str]:
        """The batches that a worker has claimed, and not settled."""
        query = sql.select(transfers.c.batch).where(_CLAIMED, transfers.c.worker == worker)
        with self.reading() as connection:
            return list(connection.scalars(query.distinct()))

    def requeue_batches(self, batches: Collection[str]) -> None:
        """Nobody sends these batches any more: what they hold waits again."""
        with self.writing() as connection:
            for some in _portions(list(batches), _MOST_PARAMETERS):
                self._requeue(connection, transfers.c.batch.in_(some))

    def requeue_claims_of(self, worker: str) -> None:
        """A worker is gone: what it has claimed waits again."""
        with self.writing() as connection:
            self._requeue(connection, transfers.c.worker == worker)

    def _requeue(self, connection: sql.Connection, of: sql.ColumnElement[bool]) -> None:
        waiting = {"state": State.WAITING, "batch": None}
        connection.execute(transfers.update().where(_CLAIMED, of).values(waiting))

    def give_up(self, account: str, source: str, before: float) -> None:
        """What was to be sent before a moment, and is not, needs a person.

        A backfill may have to wait for its hours.
        """
        with self.writing() as connection:
            old = connection.scalars(
                sql.select(transfers.c.id)
                .where(
                    transfers.c.account == account,
                    transfers.c.source == source,
                    transfers.c.state.in_([State.WAITING, State.DELAYED]),
                    transfers.c.queued_at < before,
                    transfers.c.priority != Priority.BACKFILL,
                )
                .limit(10_000)
            ).all()
            for some in _portions(old, _MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(transfers.c.id.in_(some))
                    .values(
                        state=State.QUARANTINED,
                        reason="gave_up",
                        detail=sql.func.coalesce(
                            transfers.c.detail, "GiveUpAfterSeconds have passed"
                        ),
                    )
                )
            self._tell_of(connection, old, "quarantined")

    # -- What is confirmed --------------------------------------------------------------------

    def complete(self, account: str, series: Iterable[str]) -> list[str]:
        """Those series of which nothing waits and nothing is being sent."""
        with self.reading() as connection:
            return [
                uid
                for uid in series
                if connection.scalar(_UNSENT_OF_SERIES, {"account": account, "series": uid}) is None
            ]

    def acknowledged(self, account: str, series: str) -> list[Transfer]:
        """The instances of a series that are to be read back."""
        wanted = {"account": account, "series": series}
        with self.reading() as connection:
            return [Transfer(*row) for row in connection.execute(_ACKNOWLEDGED_OF_SERIES, wanted)]

    def acknowledged_at(self, rows: Sequence[int]) -> dict[int, float]:
        """When the store acknowledged some instances."""
        found: dict[int, float] = {}
        with self.reading() as connection:
            for some in _portions(rows, _MOST_PARAMETERS):
                query = sql.select(transfers.c.id, transfers.c.acknowledged_at)
                for row in connection.execute(query.where(transfers.c.id.in_(some))):
                    found[row.id] = row.acknowledged_at
        return found

    def confirm(self, seen: Mapping[int, float]) -> None:
        """These instances were seen in the store by a look that began at a time.

        What was acknowledged only after that is another sending: it was not looked for.
        """
        if not seen:
            return
        confirmed = (
            transfers.update()
            .where(
                transfers.c.id == sql.bindparam("row"),
                transfers.c.state == State.ACKNOWLEDGED,
                transfers.c.acknowledged_at <= sql.bindparam("looked"),
            )
            .values(
                state=State.CONFIRMED,
                confirmed_at=self.now(),
                batch=sql.null(),
                next_attempt_at=sql.null(),
                reason=sql.null(),
                detail=sql.null(),
            )
        )
        with self.writing() as connection:
            connection.execute(
                confirmed, [{"row": row, "looked": looked} for row, looked in seen.items()]
            )

    def look_again(self, unseen: Sequence[int], due: float) -> None:
        """These acknowledged instances were not seen; the next look is due at a time."""
        with self.writing() as connection:
            for some in _portions(unseen, _MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(transfers.c.id.in_(some), transfers.c.state == State.ACKNOWLEDGED)
                    .values(next_attempt_at=due)
                )

    def send_again(self, missing: Sequence[Outcome]) -> None:
        """These acknowledged instances are not in the store as they should be."""
        with self.writing() as connection:
            for verdict in missing:
                values = asdict(verdict)
                row, _ = values.pop("id"), values.pop("size_bytes")
                connection.execute(
                    transfers.update()
                    .where(transfers.c.id == row, transfers.c.state == State.ACKNOWLEDGED)
                    .values(**values, batch=None, acknowledged_at=None)
                )
            self._tell_of(connection, [verdict.id for verdict in missing], "missing")

    def send_lost(self, lost: Sequence[Transfer]) -> int:
        """Instances that the store once had, and has not any more, wait again; how many do."""
        of, now, again = transfers.c, self.now(), 0
        fresh = dict.fromkeys(
            ("next_attempt_at", "max_batch_instances", "batch", "acknowledged_at", "confirmed_at")
        )
        words = "the store acknowledged it, and a comparison did not find it there"
        with self.writing() as connection:
            for some in _portions([row.id for row in lost], _MOST_PARAMETERS):
                chosen = of.id.in_(some), of.state.in_([State.ACKNOWLEDGED, State.CONFIRMED])
                query = sql.select(of.id).where(*chosen).with_for_update()
                rows = connection.scalars(query).all()
                connection.execute(
                    transfers.update()
                    .where(of.id.in_(rows))
                    .values(
                        **fresh,
                        state=State.WAITING,
                        reason="missing",
                        detail=words,
                        attempts=0,
                        replace=False,
                        queued_at=now,
                    )
                )
                self._tell_of(connection, rows, "missing")
                again += len(rows)
        return again

    def due_for_a_look(self, account: str, limit: int = 200) -> list[str]:
        """Series with acknowledged instances that a look is due for, or whose look was lost."""
        now = self.now()
        overdue = sql.or_(
            transfers.c.next_attempt_at <= now,
            sql.and_(
                transfers.c.next_attempt_at.is_(None), transfers.c.acknowledged_at <= now - 15
            ),
        )
        query = sql.select(transfers.c.series_instance_uid).where(
            _in(account, State.ACKNOWLEDGED), overdue
        )
        with self.reading() as connection:
            return list(connection.scalars(query.distinct().limit(limit)))

    # -- Keys and values ----------------------------------------------------------------------

    def key_value(self, name: str) -> Any:
        """What was last set under a name; None if nothing was."""
        with self.reading() as connection:
            query = sql.select(key_values.c.value).where(key_values.c.name == name)
            return connection.scalar(query)

    def key_values(self, prefix: str) -> dict[str, Any]:
        """All that was set under names that begin so."""
        query = sql.select(key_values.c.name, key_values.c.value).where(
            key_values.c.name.startswith(prefix, autoescape=True)
        )
        with self.reading() as connection:
            return {row.name: row.value for row in connection.execute(query)}

    def set_key_value(self, name: str, value: Any) -> None:
        """Set what is kept under a name."""
        statement = self._upsert(key_values).values(name=name, value=value)
        with self.writing() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["name"], set_={"value": statement.excluded.value}
                )
            )

    def change_key_value(self, name: str, change: Callable[[Any], Any]) -> Any:
        """Set under a name what becomes of what was there (None at first), one after another."""
        mine = key_values.c.name == name
        with self.writing() as connection:
            # Two workers may be first at once: the row has to be there before it can be locked.
            first = self._upsert(key_values).values(name=name, value=sql.JSON.NULL)
            connection.execute(first.on_conflict_do_nothing(index_elements=["name"]))
            before = connection.scalar(sql.select(key_values.c.value).where(mine).with_for_update())
            value = change(before)
            connection.execute(key_values.update().where(mine).values(value=value))
        return value

    def _upsert(self, table: sql.Table) -> Any:
        """An insert that can say what is done with a row that is there already."""
        insert = sqlite.insert if self.engine.dialect.name == "sqlite" else postgresql.insert
        return insert(table)

    # -- Events -------------------------------------------------------------------------------

    def tell(
        self, account: str, kind: str, detail: str, study: str = "", instance: str = ""
    ) -> None:
        """Write down something that a receipt has to tell."""
        with self.writing() as connection:
            connection.execute(
                events.insert().values(
                    occurred_at=self.now(),
                    account=account,
                    study_instance_uid=study,
                    sop_instance_uid=instance,
                    kind=kind,
                    detail=detail,
                )
            )

    def _tell_of(self, connection: sql.Connection, rows: Sequence[int], kind: str) -> None:
        of = transfers.c
        for some in _portions(rows, _MOST_PARAMETERS):
            query = sql.select(
                sql.literal(self.now()),
                of.account,
                of.study_instance_uid,
                of.sop_instance_uid,
                sql.literal(kind),
                of.reason.concat(": ").concat(sql.func.coalesce(of.detail, "")),
            ).where(of.id.in_(some))
            names = [
                "occurred_at",
                "account",
                "study_instance_uid",
                "sop_instance_uid",
                "kind",
                "detail",
            ]
            connection.execute(events.insert().from_select(names, query))


def _in(account: str, state: State) -> sql.ColumnElement[bool]:
    # A literal lets the database see that a partial index serves.
    return (transfers.c.account == account) & (
        transfers.c.state == sql.literal(state.value, literal_execute=True)
    )


def _fitting(waiting: Iterator[Transfer], most_bytes: int) -> Iterator[Transfer]:
    """The first of them, and the following that may share a request with it."""
    total, count, company, uids = 0, 0, None, set()
    first = None
    for transfer in waiting:
        limits = [most for most in (company, transfer.max_batch_instances) if most is not None]
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
        company = min(limits) if limits else None


def _portions(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
