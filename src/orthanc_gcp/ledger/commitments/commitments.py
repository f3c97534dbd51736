"""The requests for storage commitment of a ledger: written down, claimed, settled, and ended.

Several gateways may have one ledger: each claims a request for some time before it works at it, so
that a report is sent by one. What one has claimed that was killed is due again after that time.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import Enum

import sqlalchemy as sql

from orthanc_gcp.ledger.commitments.rows import (
    COMMITMENT_COLUMNS,
    REFERENCE_COLUMNS,
    CommitmentReport,
    CommitmentRow,
    KnownInstance,
    ReferenceRow,
    SopReference,
    Transaction,
)
from orthanc_gcp.ledger.database import OneAtATime, lock_alone, reading, writing
from orthanc_gcp.ledger.destinations import Destinations
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import (
    COMMITMENT_IS_OPEN,
    CommitmentState,
    ReferenceState,
    commitment_references,
    storage_commitments,
    transfers,
)
from orthanc_gcp.reasons import TransferReason

__all__ = ["Request", "StorageCommitments"]

CLAIMED_FOR = 15.0
"""Seconds after which a request is due again whose gateway was killed."""
MOST_OPEN, MOST_OPEN_REFERENCES = 1_000, 1_000_000
"""More than these are refused, so that nobody fills the ledger."""
KEPT_FOR = 30 * 86400.0
"""Seconds for which a request is kept after its end, to recognize one that is repeated."""
MOST_REMOVED = 10
LONGEST_PAUSE = 7200.0
"""Seconds that are longer than any pause: what waits for longer is of a clock that was set back."""
_OPEN = sql.text(COMMITMENT_IS_OPEN)
_OF, _REFERENCE = storage_commitments.c, commitment_references.c


class Request(Enum):
    """What became of a request."""

    TAKEN = "taken"
    ANOTHER = "another"  # its Transaction UID is that of a request for other instances
    FULL = "full"


class StorageCommitments:
    """What modalities have asked for, and what is known of it."""

    def __init__(
        self, engine: sql.Engine, now: Callable[[], float], destinations: Destinations
    ) -> None:
        self._engine, self._now, self._destinations = engine, now, destinations

    # -- What is asked for ----------------------------------------------------------------------

    def request(
        self, account: str, transaction: Transaction, references: Collection[SopReference]
    ) -> Request:
        """Write a request down.

        One that is repeated is taken once; after its end it is answered anew.
        """
        wanted = dict.fromkeys(references)
        with writing(self._engine) as connection:
            lock_alone(connection, OneAtATime.REQUEST_COMMITMENT)
            self._remove_old(connection)
            for row in _same(connection, account, transaction):
                if _references(connection, row.id) != set(wanted):
                    return Request.ANOTHER
                if row.state in (CommitmentState.WAITING, CommitmentState.DECIDED):
                    return Request.TAKEN
                _remove(connection, [row.id])
            if _is_full(connection, len(wanted)):
                return Request.FULL
            insert = storage_commitments.insert().values(
                account=account,
                destination_id=self._destinations.of(connection, [account])[account],
                state=CommitmentState.WAITING,
                attempts=0,
                requested_at=self._now(),
                **asdict(transaction),
            )
            made = connection.execute(insert).inserted_primary_key
            assert made is not None  # noqa: S101 - one row was inserted # nosec B101
            common = {"commitment_id": int(made[0]), "state": ReferenceState.WAITING}
            for some in portions(list(wanted), MOST_PARAMETERS):
                rows = [{**asdict(one), **common} for one in some]
                connection.execute(commitment_references.insert(), rows)
        return Request.TAKEN

    def _remove_old(self, connection: sql.Connection) -> None:
        old = sql.select(_OF.id).where(_OF.ended_at < self._now() - KEPT_FOR).limit(MOST_REMOVED)
        _remove(connection, connection.scalars(old).all())

    # -- Work -----------------------------------------------------------------------------------

    def claim(self, accounts: Collection[str], limit: int) -> list[CommitmentRow]:
        """Some requests of these accounts that are due, the oldest first; nobody else has them."""
        now = self._now()
        due = (
            _OF.next_attempt_at.is_(None)
            | (_OF.next_attempt_at <= now)
            | (_OF.next_attempt_at > now + LONGEST_PAUSE)
        )
        query = (
            sql.select(*COMMITMENT_COLUMNS)
            .where(_OPEN, due, _OF.account.in_(accounts))
            .order_by(_OF.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            found = [CommitmentRow(*row) for row in connection.execute(query)]
            self._claim(connection, [row.id for row in found])
        return found

    def prolong(self, number: int, seconds: float = CLAIMED_FOR) -> None:
        """Claim a request for longer."""
        with writing(self._engine) as connection:
            self._claim(connection, [number], seconds)

    def _claim(
        self, connection: sql.Connection, numbers: Sequence[int], seconds: float = CLAIMED_FOR
    ) -> None:
        connection.execute(
            storage_commitments.update()
            .where(_OF.id.in_(numbers))
            .values(next_attempt_at=self._now() + seconds)
        )

    def next_due(self, accounts: Collection[str]) -> float | None:
        """When the next one is, in UTC seconds: 0 for at once, None for never."""
        query = sql.select(sql.func.min(sql.func.coalesce(_OF.next_attempt_at, 0.0))).where(
            _OPEN, _OF.account.in_(accounts)
        )
        with reading(self._engine) as connection:
            found = connection.scalar(query)
        return None if found is None else float(found)

    def waiting(self, number: int) -> Iterator[list[ReferenceRow]]:
        """The instances of a request of which nothing is known yet, some at a time."""
        return self._references(number, ReferenceState.WAITING)

    def committed(self, number: int) -> Iterator[list[ReferenceRow]]:
        """The instances of a request that the store is responsible for, some at a time."""
        return self._references(number, ReferenceState.COMMITTED)

    def settled(self, number: int) -> list[ReferenceRow]:
        """All others."""
        states = (ReferenceState.COMMITTED, ReferenceState.FAILED)
        return [row for one in states for some in self._references(number, one) for row in some]

    def _references(self, number: int, state: ReferenceState) -> Iterator[list[ReferenceRow]]:
        last = 0
        while True:
            query = (
                sql.select(*REFERENCE_COLUMNS)
                .where(
                    _REFERENCE.commitment_id == number,
                    _REFERENCE.state == state,
                    _REFERENCE.id > last,
                )
                .order_by(_REFERENCE.id)
                .limit(MOST_PARAMETERS)
            )
            with reading(self._engine) as connection:
                rows = [ReferenceRow(*row) for row in connection.execute(query)]
            if not rows:
                return
            yield rows
            last = rows[-1].id

    def known(self, account: str, instances: Collection[str]) -> list[KnownInstance]:
        """What the ledger knows of instances on their way to the store of an account.

        Of each instance, the version that was received last comes last; what has come from the
        store itself is older than whatever was sent there.

        Parameters
        ----------
        instances
            Their SOP Instance UIDs.
        """
        same_store = self._destinations.with_store_of(account)
        of, found = transfers.c, []
        columns = (
            of.study_instance_uid,
            of.series_instance_uid,
            of.sop_instance_uid,
            of.attachment_uuid,
            of.state,
        )
        was_sent = sql.func.coalesce(of.reason, "") != TransferReason.RETRIEVED
        with reading(self._engine) as connection:
            for some in portions(list(instances), MOST_PARAMETERS):
                query = (
                    sql.select(*columns)
                    .where(of.sop_instance_uid.in_(some), of.destination_id.in_(same_store))
                    .order_by(was_sent, of.received_at, of.change_seq, of.id)
                )
                found += [KnownInstance(*row) for row in connection.execute(query)]
        return found

    def settle(self, outcomes: Mapping[int, int | None]) -> None:
        """Write down what is known of instances: the reason of a failure, None for success."""
        by_reason: dict[int | None, list[int]] = defaultdict(list)
        for number, reason in outcomes.items():
            by_reason[reason].append(number)
        with writing(self._engine) as connection:
            for reason, numbers in by_reason.items():
                state = ReferenceState.COMMITTED if reason is None else ReferenceState.FAILED
                for some in portions(numbers, MOST_PARAMETERS):
                    connection.execute(
                        commitment_references.update()
                        .where(_REFERENCE.id.in_(some))
                        .values(state=state, failure_reason=reason)
                    )

    def reopen(self, number: int, instances: Collection[int]) -> None:
        """Have some instances of a request waited for that were settled."""
        if not instances:
            return
        with writing(self._engine) as connection:
            for some in portions(list(instances), MOST_PARAMETERS):
                connection.execute(
                    commitment_references.update()
                    .where(_REFERENCE.id.in_(some))
                    .values(state=ReferenceState.WAITING, failure_reason=None)
                )
            connection.execute(
                storage_commitments.update()
                .where(_OF.id == number)
                .values(state=CommitmentState.WAITING)
            )

    def postpone(self, number: int, until: float, attempts: int = 0, detail: str = "") -> None:
        """Have a request wait, and say for what."""
        self._set(number, next_attempt_at=until, attempts=attempts, detail=detail or None)

    def decide(self, number: int) -> None:
        """All of a request is settled: it is to be reported."""
        self._set(number, state=CommitmentState.DECIDED, attempts=0, detail=None)

    def end(self, number: int, state: CommitmentState, detail: str = "") -> None:
        """A request was reported, or is given up."""
        self._set(
            number, state=state, ended_at=self._now(), next_attempt_at=None, detail=detail or None
        )

    def _set(self, number: int, **values: float | str | None) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                storage_commitments.update().where(_OF.id == number).values(**values)
            )

    # -- What people see ------------------------------------------------------------------------

    def open_count(self) -> int:
        """How many have not ended."""
        with reading(self._engine) as connection:
            return _open_count(connection)

    def shown(self, limit: int = 100) -> list[CommitmentReport]:
        """Some of those that have not ended, the oldest first."""
        query = sql.select(*COMMITMENT_COLUMNS).where(_OPEN).order_by(_OF.id).limit(limit)
        counts: dict[int, dict[str, int]] = defaultdict(dict)
        with reading(self._engine) as connection:
            rows = [CommitmentRow(*row) for row in connection.execute(query)]
            counted = (
                sql.select(_REFERENCE.commitment_id, _REFERENCE.state, sql.func.count())
                .where(_REFERENCE.commitment_id.in_([row.id for row in rows]))
                .group_by(_REFERENCE.commitment_id, _REFERENCE.state)
            )
            for number, state, count in connection.execute(counted):
                counts[number][state] = count
        return [CommitmentReport(row, counts[row.id]) for row in rows]


def _same(
    connection: sql.Connection, account: str, transaction: Transaction
) -> list[CommitmentRow]:
    """What was asked for by the same modality in the same transaction."""
    query = sql.select(*COMMITMENT_COLUMNS).where(
        _OF.transaction_uid == transaction.transaction_uid,
        _OF.calling_aet == transaction.calling_aet,
        _OF.account == account,
    )
    return [CommitmentRow(*row) for row in connection.execute(query)]


def _references(connection: sql.Connection, number: int) -> set[SopReference]:
    query = sql.select(_REFERENCE.sop_class_uid, _REFERENCE.sop_instance_uid).where(
        _REFERENCE.commitment_id == number
    )
    return {SopReference(*row) for row in connection.execute(query)}


def _open_count(connection: sql.Connection) -> int:
    counted = sql.select(sql.func.count()).select_from(storage_commitments).where(_OPEN)
    return int(connection.scalar(counted) or 0)


def _is_full(connection: sql.Connection, more: int) -> bool:
    if _open_count(connection) >= MOST_OPEN:
        return True
    counted = (
        sql.select(sql.func.count())
        .select_from(commitment_references)
        .where(_REFERENCE.commitment_id.in_(sql.select(_OF.id).where(_OPEN)))
    )
    return int(connection.scalar(counted) or 0) + more > MOST_OPEN_REFERENCES


def _remove(connection: sql.Connection, numbers: Sequence[int]) -> None:
    if numbers:
        connection.execute(
            commitment_references.delete().where(_REFERENCE.commitment_id.in_(numbers))
        )
        connection.execute(storage_commitments.delete().where(_OF.id.in_(numbers)))
