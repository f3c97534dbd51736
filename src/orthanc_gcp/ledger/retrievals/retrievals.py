"""The retrievals of a ledger: asked for, listed, settled instance by instance, and ended.

One worker at a time retrieves into an index of Orthanc, the one that follows it: nothing is
claimed. Who takes over goes on with what is not settled, and what was on its way comes once more.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import OneAtATime, execute_many, lock_alone, reading, writing
from orthanc_gcp.ledger.destinations import Destinations
from orthanc_gcp.ledger.retrievals.retention import remove_old_retrievals
from orthanc_gcp.ledger.retrievals.rounds import row_of_listed
from orthanc_gcp.ledger.retrievals.rows import (
    INSTANCE_COLUMNS,
    LACKING,
    PENDING,
    RETRIEVAL_COLUMNS,
    Coming,
    Listed,
    Notified,
    Origin,
    Resource,
    RetrievalOutcome,
    RetrievalReport,
    RetrievalRow,
    RetrievedRow,
    Uids,
)
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import (
    RETRIEVAL_IS_OPEN,
    UNSETTLED,
    Cause,
    RetrievalState,
    RetrievedState,
    State,
    retrievals,
    retrieved_instances,
    transfers,
)
from orthanc_gcp.reasons import TransferReason

__all__ = ["Retrievals"]

MOST_SHOWN_MISSING = 100
LONGEST_PAUSE = 7200.0
"""Seconds that are longer than any pause, those that a store asks for included."""
_OPEN = sql.text(RETRIEVAL_IS_OPEN)
_SENT = (State.SENDING, State.ACKNOWLEDGED, State.CONFIRMED)
_OF = retrieved_instances.c

# Made once: SQLAlchemy takes longer to make a statement than SQLite to answer it.
_NOTE_DIGESTS = (
    retrieved_instances.update()
    .where(_OF.id == sql.bindparam("row"))
    .values(
        size_bytes=sql.bindparam("new_size"),
        md5=sql.bindparam("new_md5"),
        sha256=sql.bindparam("new_sha256"),
        attempts=sql.bindparam("new_attempts"),
        attachment_uuid=sql.null(),
        retrieved_at=sql.bindparam("now"),
    )
)
_DUE = (
    sql.select(*RETRIEVAL_COLUMNS)
    .where(
        _OPEN,
        retrievals.c.source == sql.bindparam("source"),
        retrievals.c.account.in_(sql.bindparam("accounts", expanding=True)),
        retrievals.c.next_attempt_at.is_(None)
        | (retrievals.c.next_attempt_at <= sql.bindparam("now"))
        | (retrievals.c.next_attempt_at > sql.bindparam("odd")),
    )
    .order_by(retrievals.c.id)
    .limit(sql.bindparam("most", type_=sql.Integer))
)
_OUTCOME = tuple(one.name for one in fields(RetrievalOutcome))
_MAY_BE_IN_ORTHANC = sql.bindparam("new_may_be_in_orthanc", type_=sql.Boolean)
_SETTLE = (
    retrieved_instances.update()
    .where(_OF.id == sql.bindparam("new_id"))
    .values(
        **{
            name: sql.bindparam(f"new_{name}")
            for name in ("state", "attempts", "next_attempt_at", "reason", "detail")
        },
        orthanc_id=sql.func.coalesce(
            sql.bindparam("new_orthanc_id", type_=sql.Text), _OF.orthanc_id
        ),
        **{
            digest.name: sql.case((_MAY_BE_IN_ORTHANC, digest), else_=sql.null())
            for digest in (_OF.md5, _OF.sha256)
        },
    )
)


class Retrievals:
    """What somebody wants back from the stores of accounts."""

    def __init__(
        self, engine: sql.Engine, now: Callable[[], float], destinations: Destinations
    ) -> None:
        self._engine, self._now, self._destinations = engine, now, destinations

    # -- What is wanted -------------------------------------------------------------------------

    def request(
        self,
        account: str,
        source: str,
        resources: Collection[Resource],
        *,
        compare_bytes: bool,
        cause: Cause | None = None,
    ) -> list[int]:
        """Write down what is wanted back into an index of Orthanc; the number of each.

        What is wanted already, in the same way, and has not ended is not wanted twice.
        """
        with writing(self._engine) as connection:
            lock_alone(connection, OneAtATime.REQUEST_RETRIEVAL)
            fresh = self._fresh(connection, account, source, cause)
            fresh["compare_bytes"] = compare_bytes
            remove_old_retrievals(connection, self._now(), len(resources))
            known = _wanted(connection, fresh)
            for one in dict.fromkeys(resources):
                if one not in known:
                    known[one] = _insert(connection, {**asdict(one), **fresh})
        return [known[one] for one in dict.fromkeys(resources)]

    def _fresh(
        self, connection: sql.Connection, account: str, source: str, cause: Cause | None
    ) -> dict[str, Any]:
        return {
            "account": account,
            "destination_id": self._destinations.of(connection, [account])[account],
            "source": source,
            "compare_bytes": True,
            "state": RetrievalState.WAITING,
            "rounds": 0,
            "attempts": 0,
            "requested_at": self._now(),
            "cause": cause,
        }

    def notified(self, account: str, source: str, notified: Sequence[Notified]) -> list[int | None]:
        """Write down the instances that notifications name; the number of the retrieval of each.

        The notification stands for what the store lists of it; what Orthanc has already is compared
        with the bytes that the store has now. One that comes again is of the
        retrieval that it made, ended or not; another one about the same instance is of one that
        has not ended. None stands for what this index of Orthanc has sent to that store itself.
        """
        with writing(self._engine) as connection:
            lock_alone(connection, OneAtATime.REQUEST_RETRIEVAL)
            fresh = self._fresh(connection, account, source, Cause.NOTIFICATION)
            remove_old_retrievals(connection, self._now(), len(notified))
            own = self._sent_itself(connection, account, source, [one.uids for one in notified])
            known = _notified(connection, fresh, {one.uids[2] for one in notified})
            numbers: list[int | None] = []
            for one in notified:
                number = known.get((one.message_id, *one.uids)) or known.get(("", *one.uids))
                if number is None and one.uids not in own:
                    number = self._insert_notified(connection, fresh, one)
                    known["", *one.uids] = number
                numbers.append(number)
        return numbers

    def _insert_notified(
        self, connection: sql.Connection, fresh: Mapping[str, Any], one: Notified
    ) -> int:
        resource = Resource(*one.uids)
        values = {**fresh, **asdict(resource), "message_id": one.message_id or None}
        number = _insert(connection, values)
        listed = row_of_listed(number, fresh["destination_id"], Listed(one.uids, 0))
        connection.execute(retrieved_instances.insert().values(listed))
        return number

    def _sent_itself(
        self, connection: sql.Connection, account: str, source: str, instances: Sequence[Uids]
    ) -> set[Uids]:
        """Those of some instances that an index has sent to the store of an account.

        Whether Orthanc still has them does not count: what was deleted there is not to come back.
        """
        of, same_store = transfers.c, self._destinations.with_store_of(account)
        found: set[Uids] = set()
        for some in portions(list({uids[2] for uids in instances}), MOST_PARAMETERS):
            query = sql.select(
                of.study_instance_uid, of.series_instance_uid, of.sop_instance_uid
            ).where(
                of.destination_id.in_(same_store),
                of.source == source,
                of.sop_instance_uid.in_(some),
                of.state.in_(_SENT) | ((of.attempts > 0) & of.state.in_(UNSETTLED)),
                # What came back from there was sent by somebody else.
                sql.func.coalesce(of.reason, "") != TransferReason.RETRIEVED,
            )
            found |= {(study, series, one) for study, series, one in connection.execute(query)}
        return found

    def ended(self, numbers: Collection[int]) -> dict[int, RetrievalRow | None]:
        """Those of some retrievals that have ended, by their numbers; None for a forgotten one."""
        found: dict[int, RetrievalRow | None] = dict.fromkeys(numbers)
        with reading(self._engine) as connection:
            for some in portions(list(numbers), MOST_PARAMETERS):
                query = sql.select(*RETRIEVAL_COLUMNS).where(retrievals.c.id.in_(some))
                rows = [RetrievalRow(*row) for row in connection.execute(query)]
                found |= {row.id: row for row in rows}
        return {
            number: row for number, row in found.items() if row is None or row.ended_at is not None
        }

    def forget(self, retrieval: RetrievalRow) -> None:
        """Nobody wants it: nothing is left of it, once another one is forgotten.

        Until then its row stays, for SQLite gives the number of the newest a second time.
        """
        of = retrievals.c
        mine = (of.account == retrieval.account, of.state == RetrievalState.UNWANTED)
        with writing(self._engine) as connection:
            connection.execute(retrievals.delete().where(*mine, of.id < retrieval.id))
            connection.execute(retrieved_instances.delete().where(_OF.retrieval_id == retrieval.id))
            connection.execute(
                retrievals.update()
                .where(of.id == retrieval.id)
                .values(state=RetrievalState.UNWANTED, ended_at=self._now())
            )

    def brought_back(self, source: str, study: str) -> bool:
        """Whether anything of a study was ever wanted back into an index of Orthanc."""
        of = retrievals.c
        query = sql.select(of.id).where(of.source == source, of.study_instance_uid == study)
        with reading(self._engine) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def open(self, source: str) -> list[RetrievalRow]:
        """Those into an index of Orthanc that have not ended, the oldest first."""
        query = (
            sql.select(*RETRIEVAL_COLUMNS)
            .where(_OPEN, retrievals.c.source == source)
            .order_by(retrievals.c.id)
        )
        with reading(self._engine) as connection:
            return [RetrievalRow(*row) for row in connection.execute(query)]

    def due(self, source: str, accounts: Collection[str], limit: int) -> list[RetrievalRow]:
        """Some of these, of some accounts, that have not to wait: the oldest first."""
        asked = {"source": source, "accounts": list(accounts), "most": limit, **self._moments()}
        with reading(self._engine) as connection:
            return [RetrievalRow(*row) for row in connection.execute(_DUE, asked)]

    def wait_for_rows(self, retrieval: RetrievalRow) -> None:
        """Nothing of it is due: it waits until something is."""
        with writing(self._engine) as connection:
            first = connection.scalar(
                sql.select(sql.func.min(_OF.next_attempt_at)).where(
                    _OF.retrieval_id == retrieval.id, _OF.state.in_(PENDING)
                )
            )
            connection.execute(
                retrievals.update()
                .where(retrievals.c.id == retrieval.id)
                .values(next_attempt_at=first)
            )

    def any_open(self) -> bool:
        """Whether any has not ended, into whichever Orthanc."""
        with reading(self._engine) as connection:
            found = connection.execute(sql.select(retrievals.c.id).where(_OPEN).limit(1))
            return found.first() is not None

    # -- What comes -----------------------------------------------------------------------------

    def pending(
        self, retrieval: RetrievalRow, but: Collection[int], limit: int
    ) -> list[RetrievedRow]:
        """What is to be retrieved or compared next, series by series; not before its time."""
        due = self._is_due(_OF.next_attempt_at)
        found: list[RetrievedRow] = []
        for state in PENDING:  # one by one: so an index has them in their order
            some = self._rows(
                _OF.retrieval_id == retrieval.id, _OF.state == state, due, limit=limit + len(but)
            )
            found += [row for row in some if row.id not in but]
        return found[:limit]

    def any_pending(self, retrieval: RetrievalRow) -> bool:
        """Whether anything of it has still to come, now or later."""
        return bool(self._rows(_OF.retrieval_id == retrieval.id, _OF.state.in_(PENDING), limit=1))

    def count(self, retrieval: RetrievalRow, series: str | None = None) -> int:
        """How many instances of it, or of one series, the store has listed."""
        mine = [_OF.retrieval_id == retrieval.id]
        if series is not None:
            mine.append(_OF.series_instance_uid == series)
        with reading(self._engine) as connection:
            query = sql.select(sql.func.count()).select_from(retrieved_instances).where(*mine)
            return connection.scalar(query) or 0

    def note_digests(self, coming: Sequence[Coming]) -> None:
        """These bytes are about to be in Orthanc: whoever finds them there can tell where from."""
        now = self._now()
        values = [
            {
                "row": one.id,
                "new_attempts": one.attempts,
                "new_size": one.digests.size_bytes,
                "new_md5": one.digests.md5,
                "new_sha256": one.digests.sha256,
                "now": now,
            }
            for one in coming
        ]
        if values:
            with writing(self._engine) as connection:
                execute_many(connection, _NOTE_DIGESTS, values)

    def settle(self, outcomes: Sequence[RetrievalOutcome]) -> None:
        """Write down what became of instances."""
        if outcomes:
            values = [{f"new_{name}": getattr(one, name) for name in _OUTCOME} for one in outcomes]
            with writing(self._engine) as connection:
                execute_many(connection, _SETTLE, values)

    def give_up(self, retrieval: int, reason: str, detail: str) -> None:
        """What has still to come of a retrieval, by its number, does not, for one reason."""
        with writing(self._engine) as connection:
            connection.execute(
                retrieved_instances.update()
                .where(_OF.retrieval_id == retrieval, _OF.state.in_(PENDING))
                .values(state=RetrievedState.MISSING, reason=reason, detail=detail)
            )

    # -- How it ends ----------------------------------------------------------------------------

    def postpone(
        self, retrieval: RetrievalRow, attempts: int, seconds: float, reason: str, detail: str
    ) -> None:
        """It cannot be listed, or Orthanc not be asked, just now."""
        self._update(
            retrieval.id,
            attempts=attempts,
            next_attempt_at=self._now() + seconds,
            reason=reason,
            detail=detail,
        )

    def end(
        self, retrieval: RetrievalRow, reason: str | None = None, detail: str | None = None
    ) -> bool:
        """Nothing more comes; whether Orthanc has all of it, as the store does."""
        lacking = self._rows(
            _OF.retrieval_id == retrieval.id, _OF.state.in_((*PENDING, *LACKING)), limit=1
        )
        complete = reason is None and not lacking
        self._update(
            retrieval.id,
            state=RetrievalState.COMPLETE if complete else RetrievalState.INCOMPLETE,
            next_attempt_at=None,
            reason=reason,
            detail=detail,
            ended_at=self._now(),
        )
        return complete

    def _update(self, number: int, **values: Any) -> None:
        with writing(self._engine) as connection:
            connection.execute(retrievals.update().where(retrievals.c.id == number).values(values))

    # -- What people, and rules, want to know ---------------------------------------------------

    def report(
        self, account: str, *, after: int = 0, limit: int = 100, number: int | None = None
    ) -> list[RetrievalReport]:
        """The retrievals of an account, the newest first.

        Parameters
        ----------
        after
            The number of the last one of the page before; 0 for the first page.
        number
            Only this one.
        """
        query = sql.select(*RETRIEVAL_COLUMNS).where(retrievals.c.account == account)
        if after:
            query = query.where(retrievals.c.id < after)
        if number is not None:
            query = query.where(retrievals.c.id == number)
        return self._reports(query, limit)

    def counts_by_state(self) -> dict[tuple[str, str], int]:
        """How many retrievals have not ended, by account and state."""
        columns = retrievals.c.account, retrievals.c.state
        query = sql.select(*columns, sql.func.count()).where(_OPEN).group_by(*columns)
        with reading(self._engine) as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(query)}

    def open_reports(self, limit: int) -> list[RetrievalReport]:
        """The retrievals of all accounts that have not ended, the newest first."""
        query = sql.select(*RETRIEVAL_COLUMNS).where(_OPEN)
        return self._reports(query, limit)

    def _reports(self, query: sql.Select[Any], limit: int) -> list[RetrievalReport]:
        query = query.order_by(retrievals.c.id.desc()).limit(limit)
        with reading(self._engine) as connection:
            rows = [RetrievalRow(*row) for row in connection.execute(query)]
            counted = _counts(connection, [row.id for row in rows])
        return [
            RetrievalReport(
                row,
                {state: one[0] for state, one in counted[row.id].items()},
                {state: one[1] for state, one in counted[row.id].items()},
                self._missing(row.id) if counted[row.id].keys() & set(LACKING) else (),
                self._held_up(row.id) if counted[row.id].keys() & set(PENDING) else None,
            )
            for row in rows
        ]

    def _missing(self, number: int) -> tuple[RetrievedRow, ...]:
        return tuple(
            self._rows(_OF.retrieval_id == number, _OF.state.in_(LACKING), limit=MOST_SHOWN_MISSING)
        )

    def _held_up(self, number: int) -> RetrievedRow | None:
        found = self._rows(
            _OF.retrieval_id == number,
            _OF.state.in_(PENDING),
            _OF.next_attempt_at.is_not(None),
            _OF.reason.is_not(None),
            limit=1,
        )
        return found[0] if found else None

    def origins(self, account: str, instances: Collection[str]) -> dict[Uids, list[Origin]]:
        """What came of some instances from the store that an account is by now.

        Parameters
        ----------
        instances
            Their SOP Instance UIDs.
        """
        found: dict[Uids, list[Origin]] = defaultdict(list)
        same_store = self._destinations.with_store_of(account)
        columns = (
            _OF.study_instance_uid,
            _OF.series_instance_uid,
            _OF.sop_instance_uid,
            _OF.md5,
            _OF.sha256,
            _OF.attachment_uuid,
            _OF.retrieved_at,
        )
        with reading(self._engine) as connection:
            for some in portions(list(instances), MOST_PARAMETERS):
                query = sql.select(*columns).where(
                    _OF.sop_instance_uid.in_(some),
                    _OF.md5.is_not(None),
                    _OF.destination_id.in_(same_store),
                )
                for study, series, instance, *origin in connection.execute(query):
                    found[study, series, instance].append(Origin(*origin))
        return dict(found)

    def stored_digests(
        self, account: str, rows: Sequence[RetrievedRow]
    ) -> dict[Uids, tuple[str, set[str]]]:
        """Instances that the ledger has seen in the store of an account, with one digest.

        Returns
        -------
        dict
            The SHA-256, and the UUIDs of the files in Orthanc that were sent with it.
        """
        found: dict[Uids, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        of, same_store = transfers.c, self._destinations.with_store_of(account)
        columns = (of.study_instance_uid, of.series_instance_uid, of.sop_instance_uid)
        instances = list({row.sop_instance_uid for row in rows})
        with reading(self._engine) as connection:
            for some in portions(instances, MOST_PARAMETERS):
                query = sql.select(*columns, of.sha256, of.attachment_uuid).where(
                    of.destination_id.in_(same_store),
                    of.sop_instance_uid.in_(some),
                    of.state == State.CONFIRMED,
                    of.sha256.is_not(None),
                )
                for study, series, instance, sha256, file in connection.execute(query):
                    found[study, series, instance][sha256].add(file)
        return {
            uids: next(iter(digests.items()))
            for uids, digests in found.items()
            if len(digests) == 1
        }

    def _is_due(self, moment: sql.ColumnElement[float | None]) -> sql.ColumnElement[bool]:
        """Whether it has come; one that nobody can have meant is of a clock that was set back."""
        moments = self._moments()
        return moment.is_(None) | (moment <= moments["now"]) | (moment > moments["odd"])

    def _moments(self) -> dict[str, float]:
        now = self._now()
        return {"now": now, "odd": now + LONGEST_PAUSE}

    def _rows(self, *conditions: sql.ColumnElement[bool], limit: int) -> list[RetrievedRow]:
        query = (
            sql.select(*INSTANCE_COLUMNS)
            .where(*conditions)
            .order_by(_OF.study_instance_uid, _OF.series_instance_uid, _OF.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [_retrieved(row) for row in connection.execute(query)]


def _wanted(connection: sql.Connection, values: Mapping[str, Any]) -> dict[Resource, int]:
    """What is wanted already in the same way, and has not ended."""
    names = ("account", "destination_id", "source", "compare_bytes")
    same = [retrievals.c[name] == values[name] for name in names]
    query = sql.select(*RETRIEVAL_COLUMNS).where(_OPEN, *same)
    rows = (RetrievalRow(*row) for row in connection.execute(query))
    return {row.resource: row.id for row in rows}


def _notified(
    connection: sql.Connection, values: Mapping[str, Any], instances: Collection[str]
) -> dict[tuple[str, ...], int]:
    """The retrievals of instances: by message and UIDs, and by no message while they are open."""
    of = retrievals.c
    found: dict[tuple[str, ...], int] = {}
    same = [of[name] == values[name] for name in ("account", "destination_id", "source")]
    for some in portions(list(instances), MOST_PARAMETERS):
        query = sql.select(
            of.id, of.message_id, of.study_instance_uid, of.series_instance_uid, of.sop_instance_uid
        ).where(of.sop_instance_uid.in_(some), *same)
        for number, message, *uids in connection.execute(query.where(of.message_id.is_not(None))):
            found[message, *uids] = number
        for number, _, *uids in connection.execute(query.where(_OPEN)):
            found["", *uids] = number
    return found


def _insert(connection: sql.Connection, values: Mapping[str, Any]) -> int:
    row = connection.execute(retrievals.insert().values(values)).inserted_primary_key
    assert row is not None  # noqa: S101 - one row was inserted # nosec B101
    return int(row[0])


def _retrieved(row: Any) -> RetrievedRow:
    return RetrievedRow(*row)


def _counts(
    connection: sql.Connection, numbers: Sequence[int]
) -> dict[int, dict[str, tuple[int, int]]]:
    """Retrieval -> state -> how many instances, and bytes."""
    found: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
    for some in portions(numbers, MOST_PARAMETERS):
        query = (
            sql.select(
                _OF.retrieval_id,
                _OF.state,
                sql.func.count(),
                sql.func.sum(_OF.size_bytes),
            )
            .where(_OF.retrieval_id.in_(some))
            .group_by(_OF.retrieval_id, _OF.state)
        )
        for number, state, count, size in connection.execute(query):
            found[number][state] = count, int(size or 0)
    return found
