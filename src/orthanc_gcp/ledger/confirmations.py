"""What the store has acknowledged, until it was read back or is to be sent again.

Acknowledged is what the answer of a Store Transaction says (DICOM PS3.18 §10.5); confirmed is only
what a search has found there afterwards (PS3.18 §10.6).

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sql

from orthanc_gcp.coalesced import Coalesced
from orthanc_gcp.ledger.database import execute_many, find, reading, writing
from orthanc_gcp.ledger.destinations import Destinations
from orthanc_gcp.ledger.events import add_for
from orthanc_gcp.ledger.rows import (
    COLUMNS,
    MOST_PARAMETERS,
    Outcome,
    Series,
    Transfer,
    each_of,
    in_state,
    portions,
    transfer_of,
    values_of,
)
from orthanc_gcp.ledger.schema import UNSURE, Priority, State, transfers
from orthanc_gcp.ledger.stored_digests import OTHER_IS_THERE, unsure_where
from orthanc_gcp.ledger.versions import doubt_others, doubt_same, doubts
from orthanc_gcp.reasons import TransferReason

__all__ = ["Confirmations"]

# Made once: SQLAlchemy takes longer to make a statement than SQLite to answer it.
_PARAMETERS = {
    "destination_id": transfers.c.destination_id,
    "study_instance_uid": transfers.c.study_instance_uid,
    "series_instance_uid": transfers.c.series_instance_uid,
}
_OF_SERIES = sql.and_(*(column == sql.bindparam(name) for name, column in _PARAMETERS.items()))
_IS_DUE = sql.or_(
    transfers.c.next_attempt_at <= sql.bindparam("now"),
    sql.and_(
        transfers.c.next_attempt_at.is_(None),
        transfers.c.acknowledged_at <= sql.bindparam("lost"),
    ),
)
_UNSENT_OF_ANY = (
    sql.select(transfers.c.id)
    .where(
        transfers.c.destination_id == sql.bindparam("destination_id"),
        transfers.c.series_instance_uid.in_(sql.bindparam("several", expanding=True)),
        transfers.c.state.in_((State.WAITING, State.SENDING)),
    )
    .limit(1)
)
_other = transfers.alias("other")
_UNSENT_OF_SERIES = (
    sql.select(transfers.c.id)
    .where(
        _OF_SERIES,
        transfers.c.state.in_((State.WAITING, State.SENDING)),
        # What another Orthanc has of the series may wait for ever.
        transfers.c.source.in_(
            sql.select(_other.c.source).where(
                *(_other.c[name] == sql.bindparam(name) for name in _PARAMETERS),
                _other.c.state == State.ACKNOWLEDGED,
            )
        ),
    )
    .limit(1)
)
_ACKNOWLEDGED = (
    sql.select(*COLUMNS)
    .where(
        transfers.c.destination_id == sql.bindparam("destination_id"),
        transfers.c.series_instance_uid.in_(sql.bindparam("several", expanding=True)),
        transfers.c.state == State.ACKNOWLEDGED,
    )
    .limit(sql.bindparam("most", type_=sql.BigInteger))
)
_SOME_OF_SERIES = (
    sql.select(transfers.c.id)
    .where(_OF_SERIES)
    .offset(sql.bindparam("most", type_=sql.Integer))
    .limit(1)
)
_DUE_OF_SERIES = (
    sql.select(transfers.c.id)
    .where(_OF_SERIES, transfers.c.state == State.ACKNOWLEDGED, _IS_DUE)
    .limit(1)
)

_MAKE_DUE = (
    transfers.update()
    .where(
        transfers.c.destination_id == sql.bindparam("of_destination"),
        transfers.c.study_instance_uid == sql.bindparam("of_study"),
        transfers.c.series_instance_uid == sql.bindparam("of_series"),
        transfers.c.state == State.ACKNOWLEDGED,
        transfers.c.next_attempt_at.is_(None),
    )
    .values(next_attempt_at=sql.bindparam("now"))
)
_WITHOUT_FAULT = sql.case(
    (transfers.c.reason == TransferReason.RETRIEVED, transfers.c.reason), else_=sql.null()
)
"""The reason of what is as it should be: that it was not sent is true still."""
_OWN_SHA256 = sql.func.coalesce(transfers.c.sha256, "")
_COMPARED = sql.bindparam("compared", type_=sql.Text)
_IS_REMEMBERED = sql.or_(
    ~sql.bindparam("remembered", type_=sql.Boolean),
    sql.func.coalesce(transfers.c.reason, "") == TransferReason.COMPARED,
)
_IS_DOUBTED_SINCE = (sql.func.coalesce(transfers.c.stored_sha256, "") == UNSURE) & (
    sql.func.coalesce(transfers.c.next_attempt_at, 0) > sql.bindparam("searched")
)
"""What is doubted is due from then on."""
_CONFIRM = (
    transfers.update()
    .where(
        transfers.c.id == sql.bindparam("row"),
        transfers.c.state == State.ACKNOWLEDGED,
        transfers.c.acknowledged_at <= sql.bindparam("searched"),
        _IS_REMEMBERED,
        ((transfers.c.sha256 == _COMPARED) & ~_IS_DOUBTED_SINCE)
        | (
            _COMPARED.is_(None)
            & ~transfers.c.replace
            & (sql.func.coalesce(transfers.c.stored_sha256, transfers.c.sha256, "") == _OWN_SHA256)
        ),
    )
    .values(
        state=State.CONFIRMED,
        confirmed_at=sql.bindparam("seen_at"),
        batch=sql.null(),
        next_attempt_at=sql.null(),
        reason=_WITHOUT_FAULT,
        detail=sql.null(),
        stored_sha256=sql.null(),
    )
)


def _literals(*priorities: Priority) -> list[sql.BindParameter[int]]:
    return [sql.literal(int(one), literal_execute=True) for one in priorities]


def _due(*of_some: sql.ColumnElement[bool]) -> sql.Select[Any]:
    """What is due of some rows: that of the longest standing first.

    So nothing that is asked for again and again is in the way.
    """
    return (
        sql.select(transfers.c.study_instance_uid, transfers.c.series_instance_uid)
        .where(
            *of_some,
            _IS_DUE,
            transfers.c.series_instance_uid.not_in(sql.bindparam("but", expanding=True)),
        )
        .order_by(transfers.c.next_attempt_at, transfers.c.id)
        .limit(sql.bindparam("most", type_=sql.Integer))
    )


_DESTINATION = sql.bindparam("destination_id", type_=sql.BigInteger)
_OF_DESTINATION = transfers.c.destination_id == _DESTINATION
_URGENT = _due(
    _OF_DESTINATION,
    # By the index of the queue: a backfill may have sent a million that wait to be read back. That
    # the state is an expression keeps SQLite from the partial index of all that is acknowledged.
    transfers.c.source.in_(sql.select(each_of(transfers.c.source, _OF_DESTINATION).c.value)),
    transfers.c.state == sql.func.lower(State.ACKNOWLEDGED.value),
    transfers.c.priority.in_(_literals(Priority.LIVE, Priority.DEMANDED)),
)
_BACKFILLED = _due(
    in_state(_DESTINATION, State.ACKNOWLEDGED),
    transfers.c.priority.in_(_literals(Priority.BACKFILL)),
)
_UNLIMITED = 1 << 62
MOST_DUE_ROWS = 5000
"""So many instances that are due are looked through for their series."""
ASK_AGAIN_AFTER = 1.0
"""Seconds until an instance is read back again of which another version is being sent just now."""
LOST_AFTER = 15.0
"""Seconds after which a search that follows every sending must have been lost with its worker."""


class _ToRead(NamedTuple):
    """What one thread wants to read back: see :meth:`Confirmations.to_read`."""

    account: str
    series: list[Series]
    most: int


class _Found(NamedTuple):
    """What one thread has found: see :meth:`Confirmations.confirm`."""

    rows: Mapping[int, float]
    compared: Mapping[int, str]
    remembered: frozenset[int]


def _disjoint(found: Sequence[_Found]) -> list[_Found]:
    """The same together, but for what was found of a row that another has found as well.

    The bytes of the one must not count from the later search of the other on.
    """
    rows: dict[int, float] = {}
    compared: dict[int, str] = {}
    remembered: set[int] = set()
    apart: list[_Found] = []
    for one in found:
        if rows.keys().isdisjoint(one.rows):
            rows.update(one.rows)
            compared.update(one.compared)
            remembered |= one.remembered
        else:
            apart.append(one)
    return [_Found(rows, compared, frozenset(remembered)), *apart]


class Confirmations:
    """What is to be read back, and what came of it."""

    def __init__(
        self, engine: sql.Engine, now: Callable[[], float], destinations: Destinations
    ) -> None:
        self._engine, self._now, self._destinations = engine, now, destinations
        self._to_read = Coalesced(self._to_read_together)
        self._confirm = Coalesced(self._confirm_together)

    def readable(self, account: str, series: Iterable[Series]) -> list[Series]:
        """Those series that may be read back by now.

        Of these, nothing else is still to be sent by the same Orthanc, or an instance is due.
        """
        with reading(self._engine) as connection:
            return self._readable(connection, self._destinations.find(account), series)

    def acknowledged(self, account: str, *series: Series) -> list[Transfer]:
        """The instances of some series that are to be read back."""
        with reading(self._engine) as connection:
            return _acknowledged(connection, self._destinations.find(account), series, _UNLIMITED)

    def to_read(
        self, account: str, series: Iterable[Series], most: int
    ) -> dict[Series, list[Transfer] | None]:
        """Those series that may be read back by now, each with the instances that are to be.

        None in place of the instances where those of several series are more than so many: they
        are to be asked for series by series.
        """
        return self._to_read(_ToRead(account, list(series), most))

    def _to_read_together(
        self, asked: Sequence[_ToRead]
    ) -> list[dict[Series, list[Transfer] | None]]:
        found: dict[str, dict[Series, list[Transfer] | None]] = {}
        with reading(self._engine) as connection:
            for account in {one.account for one in asked}:
                mine = [one for one in asked if one.account == account]
                found[account] = self._to_read_of(connection, account, mine)
        of_account = ((one, found[one.account]) for one in asked)
        return [{one: of[one] for one in ask.series if one in of} for ask, of in of_account]

    def _to_read_of(
        self, connection: sql.Connection, account: str, asked: Sequence[_ToRead]
    ) -> dict[Series, list[Transfer] | None]:
        destination = self._destinations.find(account)
        series = list(dict.fromkeys(one for ask in asked for one in ask.series))
        readable = self._readable(connection, destination, series)
        limit = 1 + sum(ask.most for ask in asked) if len(readable) > 1 else _UNLIMITED
        rows = _acknowledged(connection, destination, readable, limit) if readable else []
        if len(rows) >= limit:
            return dict.fromkeys(readable)
        found: dict[Series, list[Transfer]] = {one: [] for one in readable}
        for row in rows:
            found[row.series].append(row)
        return dict(found)

    def _readable(
        self, connection: sql.Connection, destination: int | None, series: Iterable[Series]
    ) -> list[Series]:
        now = self._now()
        times = {"now": now, "lost": now - LOST_AFTER}

        def is_readable(one: Series) -> bool:
            wanted = {"destination_id": destination, **one._asdict()}
            if not find(connection, _UNSENT_OF_SERIES, wanted):
                return True
            return bool(find(connection, _DUE_OF_SERIES, wanted | times))

        found: list[Series] = []
        for some in portions(list(series), MOST_PARAMETERS):
            several = [one.series_instance_uid for one in some]
            all_of = {"destination_id": destination, "several": several}
            unsent = find(connection, _UNSENT_OF_ANY, all_of)  # mostly there is nothing
            found += filter(is_readable, some) if unsent else some
        return found

    def is_long(self, account: str, series: Series, most: int) -> bool:
        """Whether the ledger has more than so many instances of a series."""
        wanted = {"destination_id": self._destinations.find(account), **series._asdict()}
        with reading(self._engine) as connection:
            return connection.scalar(_SOME_OF_SERIES, {**wanted, "most": most}) is not None

    def acknowledged_at(self, rows: Sequence[int]) -> dict[int, float]:
        """When the store acknowledged those of some rows that it has."""
        found: dict[int, float] = {}
        is_acknowledged = transfers.c.acknowledged_at.is_not(None)
        with reading(self._engine) as connection:
            for some in portions(rows, MOST_PARAMETERS):
                query = sql.select(transfers.c.id, transfers.c.acknowledged_at)
                for row in connection.execute(
                    query.where(transfers.c.id.in_(some), is_acknowledged)
                ):
                    found[row.id] = row.acknowledged_at
        return found

    def confirm(
        self,
        found: Mapping[int, float],
        compared: Mapping[int, str] | None = None,
        remembered: Collection[int] = (),
    ) -> None:
        """These rows were found in the store by a search that began at a time.

        What was acknowledged only after that is another sending: it was not searched for. What was
        doubted only after that is read once more. Where the store may have another version, a
        search proves nothing: it is to be read back again, with its bytes, and where another
        version is being sent, only after that.

        Parameters
        ----------
        found
            Row -> seconds since 1970, UTC.
        compared
            Those of them whose bytes were read there, each with their SHA-256. They prove nothing
            of a version that was sent meanwhile, by whichever worker's clock.
        remembered
            Those of these that were read before the search, when the store had refused the row: it
            counts as long as the ledger says so.
        """
        if found:
            self._confirm(_Found(found, compared or {}, frozenset(remembered)))

    def _confirm_together(self, found: Sequence[_Found]) -> list[None]:
        with writing(self._engine) as connection:
            for one in _disjoint(found):
                self._confirm_all(connection, one)
        return [None] * len(found)

    def _confirm_all(self, connection: sql.Connection, one: _Found) -> None:
        now, found, compared = self._now(), one.rows, one.compared
        unsure, soon = doubts(connection, [row for row in found if row not in compared])
        _ask_again(connection, unsure, next_attempt_at=now, stored_sha256=UNSURE)
        _ask_again(connection, soon, next_attempt_at=now + ASK_AGAIN_AFTER)
        sure = [
            {
                "row": row,
                "searched": at,
                "compared": compared.get(row),
                "remembered": row in one.remembered,
                "seen_at": now,
            }
            for row, at in sorted(found.items())
            if row not in unsure and row not in soon
        ]
        if sure:
            execute_many(connection, _CONFIRM, sure)

    def postpone(
        self,
        rows: Sequence[int],
        due: float,
        *,
        reason: str | None = None,
        detail: str | None = None,
        counts: bool = False,
        other_is_there: bool = False,
    ) -> None:
        """These acknowledged instances are to be searched for again at a time.

        Parameters
        ----------
        reason, detail
            Why they could not be read back; no reason where they were not found yet.
        counts
            Whether it is another attempt of theirs.
        other_is_there
            The store may have other bytes of them once they are found.
        """
        if not rows:
            return
        values: dict[str, object] = {"next_attempt_at": due, "detail": detail}
        values["reason"] = _WITHOUT_FAULT if reason is None else reason
        if counts:
            values["attempts"] = transfers.c.attempts + 1
        if other_is_there:
            values["stored_sha256"] = UNSURE
        with writing(self._engine) as connection:
            for some in portions(rows, MOST_PARAMETERS):
                connection.execute(
                    transfers.update()
                    .where(transfers.c.id.in_(some), transfers.c.state == State.ACKNOWLEDGED)
                    .values(**values)
                )

    def make_due(self, account: str, series: Sequence[Series]) -> None:
        """These were to be read back just now, and were not: their search is due."""
        now, mine = self._now(), self._destinations.find(account)
        parameters = [
            {"of_destination": mine, "of_study": one[0], "of_series": one[1], "now": now}
            for one in series
        ]
        if parameters:
            with writing(self._engine) as connection:
                connection.execute(_MAKE_DUE, parameters)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """What becomes of acknowledged instances that are not in the store as they should be.

        It is of the versions whose digests they have, and says nothing of what was sent since.
        """
        if not outcomes:
            return
        settled: dict[str, list[int]] = {"missing": [], "quarantined": []}
        with writing(self._engine) as connection:
            for outcome in outcomes:
                values = values_of(outcome)
                row, *_ = (values.pop(name) for name in ("id", "size_bytes", "seen"))
                if values.pop("other_is_there") or outcome.reason in OTHER_IS_THERE:
                    values["stored_sha256"] = UNSURE
                done = connection.execute(
                    transfers.update()
                    .where(
                        transfers.c.id == row,
                        transfers.c.state == State.ACKNOWLEDGED,
                        sql.literal(outcome.sha256 or "") == _OWN_SHA256,
                    )
                    .values(**values, batch=None, acknowledged_at=None)
                )
                if done.rowcount:
                    quarantined = outcome.state == State.QUARANTINED
                    settled["quarantined" if quarantined else "missing"].append(row)
            for kind, rows in settled.items():
                add_for(connection, self._now(), rows, kind)

    def requeue_lost(self, lost: Sequence[Transfer]) -> int:
        """Instances that the store once had, and has not any more, wait again; how many do.

        What is there when they are sent may be what somebody else has stored since.
        """
        words = "the store acknowledged it, and a comparison did not find it there"
        with writing(self._engine) as connection:
            rows = _stored(connection, lost)
            doubt_others(connection, self._now(), rows)
            self._send_again(connection, rows, TransferReason.MISSING, words)
        return len(rows)

    def requeue_different(self, different: Sequence[Transfer]) -> int:
        """Instances of which the store was seen to have other bytes wait again; how many do.

        What becomes of them is said by what the store is then seen to have, and by the option
        ``OnConflict``.
        """
        words = "the store acknowledged it, and a comparison has read other bytes there"
        with writing(self._engine) as connection:
            rows = _stored(connection, different)
            doubt_same(connection, self._now(), {one.id: one.sha256 for one in different})
            self._send_again(connection, rows, TransferReason.DIFFERENT, words)
        return len(rows)

    def _send_again(
        self, connection: sql.Connection, rows: Sequence[int], reason: str, words: str
    ) -> None:
        of = transfers.c
        fresh = dict.fromkeys(
            ("next_attempt_at", "max_batch_instances", "batch", "acknowledged_at", "confirmed_at")
        )
        is_unsure = of.replace | sql.literal(reason in OTHER_IS_THERE)
        for some in portions(rows, MOST_PARAMETERS):
            connection.execute(
                transfers.update()
                .where(of.id.in_(some))
                .values(
                    **fresh,
                    state=State.WAITING,
                    reason=reason,
                    detail=words,
                    attempts=0,
                    stored_sha256=unsure_where(is_unsure),
                    replace=False,
                    queued_at=self._now(),
                )
            )
        add_for(connection, self._now(), rows, "missing")

    def due(
        self,
        account: str,
        limit: int = 200,
        but: Collection[Series] = (),
        *,
        backfilled: bool = False,
    ) -> list[Series]:
        """Series with acknowledged instances whose search is due, or was lost with its worker.

        Parameters
        ----------
        but
            Those that are being read back: however many instances they have, they hide no other.
        backfilled
            Those that a backfill has sent, in place of all others.
        """
        now = self._now()
        wanted = {
            "destination_id": self._destinations.find(account),
            "now": now,
            "lost": now - LOST_AFTER,
            "most": MOST_DUE_ROWS,
            "but": [one.series_instance_uid for one in but],
        }
        query = _BACKFILLED if backfilled else _URGENT
        with reading(self._engine) as connection:
            found = dict.fromkeys(Series(*row) for row in connection.execute(query, wanted))
        return list(found)[:limit]


def _stored(connection: sql.Connection, rows: Sequence[Transfer]) -> list[int]:
    """Those of some rows that the store has in these versions, as the ledger has it still."""
    of, found = transfers.c, list[int]()
    digests = {row.id: row.sha256 for row in rows}
    for some in portions(list(digests), MOST_PARAMETERS):
        chosen = of.id.in_(some), of.state.in_([State.ACKNOWLEDGED, State.CONFIRMED])
        locked = sql.select(of.id, of.sha256).where(*chosen).order_by(of.id).with_for_update()
        found += [row for row, sha256 in connection.execute(locked) if sha256 == digests[row]]
    return found


def _ask_again(connection: sql.Connection, rows: Collection[int], **values: object) -> None:
    """These acknowledged instances are to be read back again; what is known of them now."""
    for some in portions(sorted(rows), MOST_PARAMETERS):
        still = transfers.c.id.in_(some), transfers.c.state == State.ACKNOWLEDGED
        connection.execute(transfers.update().where(*still).values(**values))


def _acknowledged(
    connection: sql.Connection, destination: int | None, series: Sequence[Series], most: int
) -> list[Transfer]:
    """The acknowledged instances of some series; no more than so many."""
    wanted = {
        "destination_id": destination,
        "several": [one.series_instance_uid for one in series],
        "most": most,
    }
    rows = [transfer_of(row) for row in find(connection, _ACKNOWLEDGED, wanted)]
    wanted_series = set(series)
    return [row for row in rows if row.series in wanted_series] if len(rows) < most else rows
