"""What arrives: instances to be sent, and how far an Orthanc's changes were read for them.

Orthanc numbers its changes (``/changes``, ``Seq``); of those of one instance the highest counts.
What no request could ever ask a store for, by its UIDs, goes into quarantine here, and nowhere
later: it is in the way of nothing else.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import execute_many, reading, upsert, writing
from orthanc_gcp.ledger.destinations import Destinations
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.indexes import is_within, undone, write_cursor
from orthanc_gcp.ledger.key_values import KeyValues
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, Cursor, NewTransfer, portions, values_of
from orthanc_gcp.ledger.schema import (
    IN_NEED,
    UNSENT,
    UNSETTLED,
    UNSURE,
    Priority,
    State,
    destinations,
    lost_changes,
    transfers,
)
from orthanc_gcp.ledger.stored_digests import unsure_where
from orthanc_gcp.ledger.uids import storable, uid_fault
from orthanc_gcp.ledger.versions import in_order, supersede_replaced
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["Arrivals", "Known"]

_log = logging.getLogger(__name__)

_ABSENT = {
    (State.WITHDRAWN, TransferReason.DELETED),
    (State.LOST, TransferReason.RECYCLED),
    (State.WITHDRAWN, TransferReason.RECYCLED),
    (State.LOST, TransferReason.RESTORED),
    (State.WITHDRAWN, TransferReason.RESTORED),
}
"""What was not in Orthanc any more when it was to be sent, as people see it, or have seen it."""
_STORED = (State.ACKNOWLEDGED, State.CONFIRMED)


# Made once: SQLAlchemy takes longer to make a statement than SQLite to answer it.
@cache
def _insert_or_renew(dialect: str, other_versions: bool) -> Any:
    """A new row; one that is there already begins anew where there is something new to send."""
    of, statement = transfers.c, upsert(dialect, transfers)
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
    change = sql.case((new.change_seq > of.change_seq, new.change_seq), else_=of.change_seq)
    closed = sql.and_(*(of.state != state for state in UNSETTLED))
    waits_for_backfill = (
        (of.priority > Priority.DEMANDED)
        & (of.state != State.SENDING)
        & (of.state != State.ACKNOWLEDGED)
    )
    other_file = new.attachment_uuid != of.attachment_uuid
    stored_anew = (
        sql.literal(other_versions)
        & other_file
        & sql.or_(*(of.state == state for state in _STORED))
        & (new.received_at == of.received_at)
        & (new.priority == Priority.LIVE)
    )
    expected = sql.bindparam("instead_of", type_=sql.Text)
    as_expected = of.attachment_uuid == sql.func.coalesce(expected, of.attachment_uuid)
    same_file = (new.attachment_uuid == of.attachment_uuid) & (of.attachment_uuid != "")
    waits = (of.state == State.WAITING) | (of.state == State.DELAYED)
    is_in_hand = sql.or_(
        *(of.state == state for state in (State.SENDING, *_STORED)),
        waits & (of.priority <= Priority.DEMANDED),
    )
    is_later = (new.change_seq > of.change_seq) | (new.received_at > of.received_at)
    return statement.on_conflict_do_update(
        index_elements=["destination_id", "source", "orthanc_id"],
        set_={
            **again,
            # The store has it, most likely with the same bytes: what arrives is not to wait for it.
            "priority": sql.case(
                (stored_anew & (of.priority == Priority.DEMANDED), of.priority),
                (stored_anew, Priority.BACKFILL),
                else_=new.priority,
            ),
            "sha256": new["sha256"],
            "stored_sha256": sql.case(
                (new.state == State.CONFIRMED, sql.null()),  # its bytes came from there
                (
                    of.state == State.CONFIRMED,
                    sql.func.coalesce(of.stored_sha256, of.sha256, UNSURE),
                ),
                else_=unsure_where((other_file & of.worker.is_not(None)) | of.replace),
            ),
            **UNSENT,
            "confirmed_at": new["confirmed_at"],
            "reason": new["reason"],
            "detail": new["detail"],
            "change_seq": change,
            "attempts": 0,
            "replace": False,
        },
        # A change that was read before is nothing new, whatever its number in an index that was
        # replaced; nor is that of a file that somebody has demanded, or a comparison has found,
        # before it was read. A demand opens what was closed, and does not wait for anything.
        where=is_later & ~(same_file & is_in_hand)
        | as_expected
        & (
            (new.priority == Priority.DEMANDED)
            & (closed | (of.state == State.HELD) | waits_for_backfill)
            | (sql.literal(other_versions) & other_file)
        ),
    )


@dataclass(slots=True)
class Known:
    """What the ledger has of an instance.

    Attributes
    ----------
    files
        The UUID that its file had in Orthanc, of each of its rows for what accounts are by now;
        of all its rows, where there are none of these.
    deleted
        Whether one of these was withdrawn or lost, as Orthanc did not have it any more.
    by_rule
        Whether one of these is of what the rules want: not where somebody has demanded all, for
        whichever account, and no change was read that reports it.
    """

    files: set[str] = field(default_factory=set)
    deleted: bool = False
    by_rule: bool = False


class Arrivals:
    """Rows are written with the cursor of their changes, in one transaction: none is missed."""

    def __init__(
        self,
        engine: sql.Engine,
        now: Callable[[], float],
        key_values: KeyValues,
        destinations: Destinations,
    ) -> None:
        self._engine, self._now, self._key_values = engine, now, key_values
        self._destinations = destinations

    def record(
        self,
        arrivals: Sequence[NewTransfer],
        cursor: Cursor | None = None,
        *,
        read_to: int | None = None,
        other_versions: bool = False,
        set_back: bool = False,
    ) -> int:
        """Write down what arrived and, with it, how far the changes of its index were read.

        It goes to the stores that its accounts are by now. What was written down before only for a
        store that the account was formerly is not sent once more, unless a backfill or somebody
        wants it. Nor is a version out of a backup from which the index was restored, where the
        store has a newer one, which Orthanc has no more; a newer one whose place it takes, and
        that no store has, is written down as lost. What came from the store is superseded
        where that has a newer version, as the ledger knows.

        Parameters
        ----------
        cursor
            None for what comes from elsewhere.
        read_to
            See :func:`orthanc_gcp.ledger.indexes.write_cursor`.
        other_versions
            Whether Orthanc was seen to have these versions now, whatever the numbers of changes.
            Where Orthanc has stored anew what was sent, as received when it was, that goes as in a
            backfill.
        set_back
            Whether Orthanc's clock was set back, and is not yet where it had been.

        Returns
        -------
        int
            How many instances are to be sent by it that were not before.
        """
        demanded = any(one.priority == Priority.DEMANDED for one in arrivals)
        sources = {one.source for one in arrivals} if other_versions or demanded else set()
        times = {one: found for one in sources if (found := undone(self._key_values, one))}
        with writing(self._engine) as connection:
            newer = self._newer(connection, arrivals, times) if times else {}
            unsent = {key: row for key, row in newer.items() if row.state not in _STORED}
            stored = newer.keys() - unsent
            arrivals = [one for one in arrivals if _key(one) not in stored]
            if set_back and arrivals:
                arrivals = in_order(connection, arrivals)
            new = self._insert(connection, arrivals, other_versions) if arrivals else 0
            if unsent:
                left = self._newer(connection, arrivals, times)
                self._lose_all(connection, [unsent[key] for key in unsent if key not in left])
            if cursor is not None:
                write_cursor(connection, cursor, self._now(), read_to)
        return new

    def _newer(
        self,
        connection: sql.Connection,
        arrivals: Sequence[NewTransfer],
        times: Mapping[str, Collection[Sequence[float]]],
    ) -> dict[tuple[str, str, str], Any]:
        """What is written down since one of these times, newer than these, and in need or stored.

        By account, index and Orthanc's identifier.
        """
        ids = self._destinations.of(connection, {one.account for one in arrivals})
        received = {_key(one): one.received_at for one in arrivals}
        found = {}
        for some in portions(arrivals, MOST_PARAMETERS):
            wanted = {
                "stores": list(ids.values()),
                "sources": list(times),
                "names": [one.orthanc_id for one in some],
            }
            for row in connection.execute(_VERSIONS, wanted):
                before = received.get(_key(row), row.received_at)
                if before < row.received_at and is_within(row.received_at, times[row.source]):
                    found[_key(row)] = row
        return found

    def _lose_all(self, connection: sql.Connection, rows: Iterable[Any]) -> None:
        """These versions are nowhere any more.

        Each counts: many have the number 0, as no change has reported them.
        """
        lost = Counter((row.account, row.source, row.change_seq) for row in rows)
        for (account, source, number), changes in lost.items():
            what = {"account": account, "source": source, "first_seq": number, "last_seq": number}
            self._add_lost(connection, what, changes)

    def _insert(
        self, connection: sql.Connection, arrivals: Sequence[NewTransfer], other_versions: bool
    ) -> int:
        good = []
        ids = self._destinations.of(connection, {arrival.account for arrival in arrivals})
        formerly = _recorded_formerly(connection, arrivals, ids)
        for arrival in arrivals:
            received_at = formerly.get((arrival.account, arrival.source, arrival.orthanc_id))
            if received_at is not None and received_at >= arrival.received_at:
                continue
            fault = uid_fault(
                arrival.study_instance_uid, arrival.series_instance_uid, arrival.sop_instance_uid
            )
            row = self._row(arrival, ids[arrival.account])
            if fault is None:
                good.append(row)
            else:
                self._quarantine(connection, arrival, row, fault, other_versions)
        new = self._upsert(connection, good, other_versions) if good else 0
        retrieved = [row for row in good if row["reason"] == TransferReason.RETRIEVED]
        if retrieved:
            supersede_replaced(connection, self._now(), _confirmed(connection, retrieved))
        return new

    def _upsert(
        self, connection: sql.Connection, rows: list[dict[str, Any]], other_versions: bool
    ) -> int:
        """How many rows are new, or begin anew."""
        statement = _insert_or_renew(self._engine.dialect.name, other_versions)
        new = execute_many(connection, statement, rows)
        if new < len(rows):  # some go on as they were
            execute_many(connection, _RENUMBER, [{p: row[c] for p, c in _NUMBERS} for row in rows])
        return new

    def _row(self, arrival: NewTransfer, destination: int) -> dict[str, Any]:
        values = values_of(arrival)
        sha256, confirmed_at = values.pop("retrieved_sha256"), values.pop("retrieved_at")
        state = State.HELD if arrival.held_for_orthanc_id else State.WAITING
        if sha256 is not None:
            state, values["held_for_orthanc_id"] = State.CONFIRMED, None
        values |= {
            "destination_id": destination,
            "state": state,
            "attempts": 0,
            "replace": False,
            "queued_at": self._now(),
            "reason": None if sha256 is None else TransferReason.RETRIEVED,
            "detail": None,
            "sha256": sha256,
            "confirmed_at": confirmed_at,
        }
        return values

    def _quarantine(
        self,
        connection: sql.Connection,
        arrival: NewTransfer,
        row: Mapping[str, Any],
        fault: str,
        other_versions: bool,
    ) -> None:
        """Write down what can never be asked for, once."""
        values = {**row}
        values |= {name: storable(uid) for name, uid in _uids(arrival).items()}
        values |= {"state": State.QUARANTINED, "reason": StoreReason.UID, "detail": fault}
        values["held_for_orthanc_id"] = None
        if not self._upsert(connection, [values], other_versions):
            return
        of = transfers.c
        query = sql.select(of.id).where(
            of.destination_id == row["destination_id"],
            of.source == arrival.source,
            of.orthanc_id == arrival.orthanc_id,
        )
        add_for(connection, self._now(), connection.scalars(query).all(), "quarantined")
        _log.error(
            "account %s: Orthanc's instance %s is in quarantine (%s): %s",
            arrival.account,
            arrival.orthanc_id,
            StoreReason.UID,
            fault,
        )

    def known(self, source: str, resources: Collection[str]) -> dict[str, Known]:
        """Those of some instances of an index that the ledger has a row for.

        A row for a store that an account was formerly tells only that it was written down; one
        that was withdrawn as deleted, or lost, not even that.
        """
        of = transfers.c
        found: dict[str, Known] = {}
        former: dict[str, Known] = {}
        # By all of them: so the database finds the rows in an index of its own.
        stores = self._destinations.all()
        every = [one.id for one in stores]
        current = {one.id for one in self._destinations.current(stores).values()}
        by_rule = (of.priority != Priority.DEMANDED) | (of.change_seq > 0)
        columns = of.orthanc_id, of.destination_id, of.attachment_uuid, of.state, of.reason, by_rule
        with reading(self._engine) as connection:
            for some in portions(list(resources), MOST_PARAMETERS):
                query = sql.select(*columns).where(
                    of.destination_id.in_(every), of.source == source, of.orthanc_id.in_(some)
                )
                for name, destination, file, state, reason, is_wanted in connection.execute(query):
                    is_current = destination in current
                    deleted = (state, reason) in _ABSENT
                    if deleted and not is_current:
                        continue
                    one = (found if is_current else former).setdefault(name, Known())
                    one.files.add(file)
                    one.deleted |= deleted
                    one.by_rule |= bool(is_wanted)
        return {**former, **found}

    def reopen(self, source: str, resources: Collection[str]) -> int:
        """Orthanc has these instances: those that were withdrawn as deleted, or lost, wait again.

        It is about what was to be sent to the stores that accounts are by now.

        Returns
        -------
        int
            How many transfers were.
        """
        of, reopened = transfers.c, 0
        waiting = {**UNSENT, "state": State.WAITING, "attempts": 0, "queued_at": self._now()}
        current = {one.id for one in self._destinations.current().values()}
        with writing(self._engine) as connection:
            for some in portions(list(resources), MOST_PARAMETERS):
                deleted = sql.and_(
                    of.destination_id.in_(current),
                    of.source == source,
                    of.orthanc_id.in_(some),
                    sql.tuple_(of.state, of.reason).in_(sorted(_ABSENT)),
                )
                chosen = sql.select(of.id).where(deleted).with_for_update()
                rows = connection.scalars(chosen).all()
                connection.execute(transfers.update().where(of.id.in_(rows)).values(waiting))
                add_for(connection, self._now(), rows, "returned")
                reopened += len(rows)
        return reopened

    def has_gap(self, source: str) -> bool:
        """Whether changes of an Orthanc were lost before they were read."""
        return self._key_values.get(f"gap:{source}", float) is not None

    def open_gap(self, source: str) -> None:
        """Changes of an Orthanc are gone that were not read."""
        self._key_values.set(f"gap:{source}", self._now())

    def close_gap(self, source: str) -> None:
        """A comparison has found what was received with those changes."""
        self._key_values.delete(f"gap:{source}")

    def lose(self, account: str, source: str, first: int, last: int, changes: int) -> None:
        """So many changes of these numbers may have been of what Orthanc recycled unread; once."""
        of = lost_changes.c
        what = {"account": account, "source": source, "first_seq": first, "last_seq": last}
        known = sql.select(of.id).where(*(of[name] == value for name, value in what.items()))
        with writing(self._engine) as connection:
            if connection.execute(known).first() is None:
                self._add_lost(connection, what, changes)

    def _add_lost(
        self, connection: sql.Connection, what: Mapping[str, object], changes: int
    ) -> None:
        values = {**what, "changes": changes, "noticed_at": self._now()}
        connection.execute(lost_changes.insert().values(values))

    def unreadable(self, source: str) -> list[str]:
        """The instances of an Orthanc whose attributes could not be read for the rules.

        Those that were tried last come last.
        """
        return self._key_values.get(f"unreadable:{source}", list) or []

    def unreadable_counts(self) -> dict[str, int]:
        """How many each Orthanc has of these."""
        prefix = "unreadable:"
        found = self._key_values.starting_with(prefix)
        return {
            name.removeprefix(prefix): len(value)
            for name, value in found.items()
            if isinstance(value, list)
        }

    def change_unreadable(
        self, source: str, failed: Collection[str], done: Collection[str] = ()
    ) -> int:
        """Remember some as tried last and others no more; how many there are."""
        now = {*failed, *done}

        def changed(before: list[Any] | None) -> list[Any]:
            return [one for one in before or () if one not in now] + list(dict.fromkeys(failed))

        return len(self._key_values.change(f"unreadable:{source}", list, changed) or ())

    def held(self, source: str, limit: int = 1000) -> list[str]:
        """The series and studies of an Orthanc that instances are held for."""
        query = (
            sql.select(transfers.c.held_for_orthanc_id)
            .where(transfers.c.held_for_orthanc_id.is_not(None), transfers.c.source == source)
            .distinct()
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return list(connection.scalars(query))

    def release(self, source: str, resources: Sequence[str]) -> None:
        """These series and studies of an index are stable: their instances may go.

        Another Orthanc may have them, too, by the same identifiers, and still receive more.
        """
        of = transfers.c
        with writing(self._engine) as connection:
            for some in portions(resources, MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(
                        of.held_for_orthanc_id.in_(some),
                        of.source == source,
                        of.state == State.HELD,
                    )
                    .values(state=State.WAITING, held_for_orthanc_id=None)
                )


_NUMBERS = [
    (f"new_{name}", name)
    for name in (
        "destination_id",
        "source",
        "orthanc_id",
        "attachment_uuid",
        "change_seq",
        "received_at",
    )
]
_RENUMBER = (
    transfers.update()
    .where(
        *(transfers.c[name] == sql.bindparam(new) for new, name in _NUMBERS[:4]),
        transfers.c.attachment_uuid != "",
        transfers.c.change_seq < sql.bindparam("new_change_seq"),
    )
    .values({name: sql.bindparam(new) for new, name in _NUMBERS[4:]})
)
"""The change that has reported a file is read later than the file was written down."""
_FORMER = sql.select(destinations.c.id).where(
    destinations.c.account.in_(sql.bindparam("accounts", expanding=True)),
    destinations.c.id.not_in(sql.bindparam("current", expanding=True)),
)
_RECORDED = sql.select(
    transfers.c.account, transfers.c.source, transfers.c.orthanc_id, transfers.c.received_at
).where(
    transfers.c.destination_id.in_(sql.bindparam("stores", expanding=True)),
    transfers.c.source.in_(sql.bindparam("sources", expanding=True)),
    transfers.c.orthanc_id.in_(sql.bindparam("names", expanding=True)),
)
_VERSIONS = _RECORDED.add_columns(transfers.c.state, transfers.c.change_seq).where(
    transfers.c.state.in_((*IN_NEED, State.CONFIRMED))
)
_CONFIRMED = _RECORDED.with_only_columns(transfers.c.id).where(
    transfers.c.state == State.CONFIRMED, transfers.c.reason == TransferReason.RETRIEVED
)
_RECORDED_FORMERLY = _RECORDED.where(
    sql.tuple_(transfers.c.state, sql.func.coalesce(transfers.c.reason, "")).not_in(sorted(_ABSENT))
)


def _recorded_formerly(
    connection: sql.Connection, arrivals: Sequence[NewTransfer], ids: Mapping[str, int]
) -> dict[tuple[str, str, str], float]:
    """When what arrives was received that was written down for a former store of its account.

    Nothing of what was written down for the store that the account is by now: that gets each newer
    version of it, also one that was received while the account was another store.
    """
    chosen = {"accounts": list(ids), "current": list(ids.values())}
    former = list(connection.scalars(_FORMER, chosen))
    if not former:
        return {}
    found: dict[tuple[str, str, str], float] = {}
    by_rule = [one for one in arrivals if one.priority == Priority.LIVE]
    for some in portions(by_rule, MOST_PARAMETERS):
        wanted = {
            "sources": list({one.source for one in some}),
            "names": [one.orthanc_id for one in some],
        }
        formerly = {"stores": former, **wanted}
        for account, source, name, received_at in connection.execute(_RECORDED_FORMERLY, formerly):
            key = account, source, name
            found[key] = max(received_at, found.get(key, received_at))
        current = {"stores": list(ids.values()), **wanted}
        for account, source, name, _ in connection.execute(_RECORDED, current) if found else ():
            found.pop((account, source, name), None)
    return found


def _confirmed(connection: sql.Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Those of some rows that are there as they came from their stores."""
    found: list[int] = []
    for some in portions(rows, MOST_PARAMETERS):
        wanted = {
            "stores": list({row["destination_id"] for row in some}),
            "sources": list({row["source"] for row in some}),
            "names": [row["orthanc_id"] for row in some],
        }
        found += connection.scalars(_CONFIRMED, wanted)
    return found


def _key(one: NewTransfer | sql.Row[Any]) -> tuple[str, str, str]:
    return one.account, one.source, one.orthanc_id


def _uids(arrival: NewTransfer) -> dict[str, str]:
    names = "study_instance_uid", "series_instance_uid", "sop_instance_uid"
    return {name: getattr(arrival, name) for name in names}
