"""Why an instance is where it is, where no try that failed says so.

A row that waits for its turn, for a person, or for a moment has no detail of its own, and nobody
has to write one: everything that it can wait for stands in the ledger and the configuration, and is
read when somebody asks. What a failed try has written down stays, behind what keeps it from being
tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.clock import age
from orthanc_gcp.configuration import Settings
from orthanc_gcp.configuration.timetable import Timetable
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.custody.intake.open_transfers import GONE, seen_indexes
from orthanc_gcp.custody.reporting.operations import paused_accounts
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.custody.verification.read_back import FEW, SAMPLE
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, in_state, portions
from orthanc_gcp.ledger.schema import IS_OWED, UNSETTLED, Priority, State, transfers
from orthanc_gcp.ledger.versions import held_up
from orthanc_gcp.ledger.workers import served

__all__ = ["WORTH_A_WORD", "Standstill", "capped_read_back"]

WORTH_A_WORD = 60.0
"""Seconds from which on what a cap holds back is said."""
_BOOKED = 1.0
"""Seconds that a limit has to be booked ahead to be what holds something back."""
_QUEUED = (State.WAITING, State.DELAYED, State.SENDING)
_OF = transfers.c
_NEEDED = [
    _OF[name]
    for name in (
        "id",
        "account",
        "destination_id",
        "source",
        "state",
        "priority",
        "detail",
        "held_for_orthanc_id",
        "next_attempt_at",
        "worker",
        "sop_instance_uid",
    )
]


@dataclass(frozen=True)
class _Facts:
    """All that an instance may have to wait for, as it is just now."""

    now: float
    accounts: frozenset[str]
    rejected: frozenset[str]
    current: frozenset[int]
    here: frozenset[str]
    served: frozenset[tuple[int, str]]
    runs: bool
    paused: frozenset[str]
    trouble: Mapping[str, str | None]
    limits: Mapping[str, str]
    read_back: Mapping[str, str]
    backfill: Mapping[str, str]
    hours: str | None
    backfill_limit: str | None
    waiting: Mapping[tuple[int, str], int]


class Standstill:
    """Explains rows of one ledger.

    Parameters
    ----------
    trouble
        Account -> why its store cannot be used just now.
    runs
        Whether a worker runs.
    local_time
        By which the hours of the backfill are.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        trouble: Callable[[], Mapping[str, str | None]],
        runs: Callable[[], bool],
        local_time: Callable[[], datetime],
    ) -> None:
        self._ledger, self._settings = ledger, settings
        self._trouble, self._runs, self._local_time = trouble, runs, local_time

    def of(self, rows: Sequence[int]) -> dict[int, str]:
        """Why some rows of the ledger are not done yet; nothing for those that are.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        if not rows:
            return {}
        found: list[sql.Row[Any]] = []
        sending: set[int] = set()
        for some in portions(rows, MOST_PARAMETERS):
            query = sql.select(*_NEEDED).where(_OF.id.in_(some), _OF.state.in_(UNSETTLED))
            with self._ledger.reading() as connection:
                fresh = connection.execute(query).all()
                sending |= held_up(connection, [row.id for row in fresh])
            found += fresh
        if not found:
            return {}
        facts = self._facts(found)
        return {row.id: _why(row, facts, on_its_way=row.id in sending) for row in found}

    def of_oldest(self, account: str) -> str | None:
        """Why the oldest instance that is not sent to an account is not; None without any.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        return self._of_first(account, sql.text(IS_OWED), _OF.queued_at)

    def of_oldest_acknowledged(self, account: str) -> str | None:
        """Why what the store acknowledged first is not seen there; None where nothing waits so.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        # Written so that the database sees that an index covers it.
        acknowledged = sql.literal(State.ACKNOWLEDGED.value, literal_execute=True)
        return self._of_first(account, _OF.state == acknowledged, _OF.acknowledged_at)

    def _of_first(
        self, account: str, chosen: sql.ColumnExpressionArgument[bool], since: sql.Column[Any]
    ) -> str | None:
        """Why the one that is so for the longest time is."""
        destination = self._ledger.destinations.find(account)
        query = sql.select(_OF.id).where(_OF.destination_id == destination, chosen)
        with self._ledger.reading() as connection:
            row = connection.scalar(query.order_by(since).limit(1))
        return None if row is None else self.of([row]).get(row)

    def of_read_back(self, account: str) -> str | None:
        """What holds back the reading back of an account; None where nothing does.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        return self._read_back([account]).get(account)

    def _facts(self, rows: Sequence[sql.Row[Any]]) -> _Facts:
        """What these rows may have to wait for: nothing else is counted, however much there is."""
        ledger, settings = self._ledger, self._settings
        queues = {(row.destination_id, row.source) for row in rows if row.state in _QUEUED}
        acknowledged = {row.account for row in rows if row.state == State.ACKNOWLEDGED}
        backfilled = {row.source for row in rows if row.priority == Priority.BACKFILL}
        return _Facts(
            now=ledger.now(),
            accounts=frozenset(one.name for one in settings.accounts),
            rejected=frozenset(settings.rejections),
            current=frozenset(one.id for one in ledger.destinations.current().values()),
            here=frozenset(seen_indexes(ledger)),
            served=frozenset(served(ledger.engine)),
            runs=self._runs(),
            paused=frozenset(paused_accounts(ledger)),
            trouble=self._trouble(),
            limits=_limits(ledger, settings),
            read_back=self._read_back(acknowledged),
            backfill={
                index: "a person has paused the backfill (orthanc-gcp backfill --resume)"
                for index in backfilled
                if BackfillStudies(ledger, index, ()).paused
            },
            hours=self._closed(),
            backfill_limit=_backfill_limit(ledger, settings),
            waiting={queue: self._waiting(*queue) for queue in queues},
        )

    def _waiting(self, destination: int, index: str) -> int:
        mine = _OF.destination_id == destination, _OF.source == index
        count = sql.select(sql.func.count()).where(*mine, _OF.state.in_(_QUEUED))
        with self._ledger.reading() as connection:
            return connection.scalar(count) or 0

    def _read_back(self, accounts: Collection[str]) -> dict[str, str]:
        capped = {
            one.name: capped_read_back(
                self._ledger, one.name, one.max_requests_per_minute, one.verify
            )
            for one in self._settings.accounts
            if one.name in accounts
        }
        return {name: words for name, words in capped.items() if words is not None}

    def _closed(self) -> str | None:
        options = self._settings.backfill
        if options is None or Timetable(options.schedule).is_open(self._local_time()):
            return None
        return f"it is of a backfill, whose hours are {', '.join(options.schedule)}"


def capped_read_back(
    ledger: Ledger, account: str, requests_per_minute: int | None, verify: str
) -> str | None:
    """That a cap holds back the reading back of an account, and for how long; None if it does not.

    Parameters
    ----------
    requests_per_minute
        The option ``MaxRequestsPerMinute``.
    verify
        The option ``Verify``: whether instances are retrieved, too.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    if not requests_per_minute:
        return None
    series = (
        sql.select(sql.func.count().label("instances"))
        .where(in_state(ledger.destinations.find(account), State.ACKNOWLEDGED))
        .group_by(_OF.study_instance_uid, _OF.series_instance_uid)
        .subquery()
    )
    searches = sql.case((series.c.instances > FEW, 1), else_=series.c.instances)
    query = sql.select(sql.func.sum(series.c.instances), sql.func.sum(searches))
    with ledger.reading() as connection:
        instances, requests = (int(one or 0) for one in connection.execute(query).one())
    retrieved = {"Bytes": instances, "Sample": instances // SAMPLE}.get(verify, 0)
    seconds = (requests + retrieved) * 60 / requests_per_minute
    if seconds < WORTH_A_WORD:
        return None
    return (
        f"read-back of {instances:,} instances is held back by "
        f"MaxRequestsPerMinute={requests_per_minute}: about {age(seconds)}, and more while "
        "instances are sent"
    )


def _limits(ledger: Ledger, settings: Settings) -> dict[str, str]:
    """Account -> the limit that its sending waits for."""
    now, found = ledger.now(), {}
    booked = ledger.key_values.starting_with("rate_limit:")
    for one in settings.accounts:
        for what, option, value in (
            ("requests", "MaxRequestsPerMinute", one.max_requests_per_minute),
            ("bytes", "MaxBytesPerSecond", one.max_bytes_per_second),
        ):
            until = booked.get(f"rate_limit:{one.name}:{what}")
            if value and isinstance(until, int | float) and until - now > _BOOKED:
                found[one.name] = f"{option}={value} holds it back"
    return found


def _backfill_limit(ledger: Ledger, settings: Settings) -> str | None:
    value = settings.backfill.max_bytes_per_second if settings.backfill else None
    until = ledger.key_values.get("rate_limit:backfill:bytes", float)
    if not value or until is None or until - ledger.now() <= _BOOKED:
        return None
    return f"MaxBytesPerSecond={value} of Backfill holds it back"


def _why(row: sql.Row[Any], facts: _Facts, *, on_its_way: bool) -> str:
    keeps = _of_person(row, facts) or _closed_to(row, facts)
    if keeps is not None:
        return f"{keeps}; its last try: {row.detail}" if row.detail else keeps
    return row.detail or _OF_STATES[State(row.state)](row, facts, on_its_way)


def _of_person(row: sql.Row[Any], facts: _Facts) -> str | None:
    """What only a person can end, whatever the state."""
    is_served = (row.destination_id, row.source) in facts.served
    words = None if is_served else _of_configuration(row, facts)
    if words is not None:
        return words
    if not facts.runs:
        return "no worker runs"
    if row.state != State.ACKNOWLEDGED and row.source not in facts.here:
        return GONE
    return None


def _of_configuration(row: sql.Row[Any], facts: _Facts) -> str | None:
    if row.account not in facts.accounts | facts.rejected:
        return f"the configuration has no account {row.account}"
    if row.destination_id not in facts.current:
        return "its account is another store by now (orthanc-gcp destinations)"
    if row.account in facts.rejected:
        return "the configuration of its account has an error"
    return None


def _closed_to(row: sql.Row[Any], facts: _Facts) -> str | None:
    """What somebody has said, or the hours of the backfill."""
    if row.state == State.SENDING:
        return None
    if row.account in facts.paused:
        return "a person has paused its account (orthanc-gcp resume)"
    if row.priority == Priority.BACKFILL and row.state != State.ACKNOWLEDGED:
        return facts.backfill.get(row.source) or facts.hours
    return None


def _of_held(row: sql.Row[Any], _facts: _Facts, _on_its_way: bool) -> str:
    return f"Orthanc still receives the series or study {row.held_for_orthanc_id} that it is of"


def _of_waiting(row: sql.Row[Any], facts: _Facts, on_its_way: bool) -> str:
    trouble = facts.trouble.get(row.account)
    if trouble:
        return f"its store cannot be used just now: {trouble}"
    if on_its_way:
        return "another version of it, with the same UIDs, is being sent"
    limit = _limit(row, facts)
    if limit is not None:
        return limit
    count = facts.waiting[row.destination_id, row.source]
    return f"it waits for its turn: {count:,} are to be sent"


def _of_delayed(row: sql.Row[Any], facts: _Facts, on_its_way: bool) -> str:
    if row.next_attempt_at is None or row.next_attempt_at <= facts.now:
        return _of_waiting(row, facts, on_its_way)
    return f"it is tried again at {utc(row.next_attempt_at)}"


def _of_sending(row: sql.Row[Any], facts: _Facts, _on_its_way: bool) -> str:
    words = f"worker {row.worker} has it in a request"
    limit = _limit(row, facts)
    return words if limit is None else f"{words}; {limit}"


def _limit(row: sql.Row[Any], facts: _Facts) -> str | None:
    own = facts.limits.get(row.account)
    return own or (facts.backfill_limit if row.priority == Priority.BACKFILL else None)


def _of_acknowledged(row: sql.Row[Any], facts: _Facts, _on_its_way: bool) -> str:
    trouble = facts.trouble.get(row.account)
    if trouble:
        return f"its store cannot be asked just now: {trouble}"
    if row.account in facts.read_back:
        return facts.read_back[row.account]
    if row.next_attempt_at is not None and row.next_attempt_at > facts.now:
        return f"a search has not found it yet: it is repeated at {utc(row.next_attempt_at)}"
    return "it is searched for in the store as soon as a connection is free"


_OF_STATES: Mapping[State, Callable[[sql.Row[Any], _Facts, bool], str]] = {
    State.HELD: _of_held,
    State.WAITING: _of_waiting,
    State.DELAYED: _of_delayed,
    State.SENDING: _of_sending,
    State.ACKNOWLEDGED: _of_acknowledged,
}
