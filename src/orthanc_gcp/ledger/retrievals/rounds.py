"""Rounds of retrievals, many of them at once: what the store lists, and what Orthanc has of that.

All that is done about several retrievals is one transaction.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import execute_many, reading, upsert, writing
from orthanc_gcp.ledger.retrievals.rows import (
    INSTANCE_COLUMNS,
    LACKING,
    PENDING,
    THERE,
    Arrived,
    Listed,
    RetrievalRow,
    RetrievedRow,
)
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import (
    RetrievalState,
    RetrievedState,
    retrievals,
    retrieved_instances,
)
from orthanc_gcp.ledger.uids import storable
from orthanc_gcp.reasons import RetrievalReason

__all__ = ["RetrievalRounds", "row_of_listed"]

_OF = retrieved_instances.c
_NOTE_THERE = (
    retrieved_instances.update()
    .where(_OF.id == sql.bindparam("row"))
    .values(
        seen_round=sql.bindparam("round_number", type_=sql.Integer),
        orthanc_id=sql.bindparam("name", type_=sql.Text),
        attachment_uuid=sql.case(
            (
                _OF.state == RetrievedState.RECEIVED,
                sql.func.coalesce(_OF.attachment_uuid, sql.bindparam("file", type_=sql.Text)),
            ),
            else_=_OF.attachment_uuid,
        ),
    )
)


class RetrievalRounds:
    """What is written down when stores and Orthanc are asked, at most some hundreds at once."""

    def __init__(self, engine: sql.Engine, now: Callable[[], float]) -> None:
        self._engine, self._now = engine, now

    def add_listed(self, listed: Sequence[tuple[RetrievalRow, Listed]]) -> None:
        """Write down instances that stores list; those that are known stay as they are."""
        statement = upsert(self._engine.dialect.name, retrieved_instances).on_conflict_do_nothing()
        rows = [row_of_listed(of.id, of.destination_id, one) for of, one in listed]
        if rows:
            with writing(self._engine) as connection:
                execute_many(connection, statement, rows)

    def having(
        self, some: Sequence[RetrievalRow], *states: RetrievedState
    ) -> dict[int, RetrievalRow]:
        """Those of some retrievals that have an instance in one of these states, or in any."""
        with reading(self._engine) as connection:
            found = _having(connection, [one.id for one in some], states)
        return {one.id: one for one in some if one.id in found}

    def identifiers(
        self, some: Sequence[RetrievalRow], after: int = 0, limit: int = 5000
    ) -> list[tuple[int, str]]:
        """What Orthanc calls those of their instances that it had: with row numbers, in order."""
        query = (
            sql.select(_OF.id, _OF.orthanc_id)
            .where(
                _OF.retrieval_id.in_([one.id for one in some]),
                _OF.state.in_(THERE),
                _OF.orthanc_id.is_not(None),
                _OF.id > after,
            )
            .order_by(_OF.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def recognize(
        self, some: Sequence[RetrievalRow], there: Sequence[Arrived]
    ) -> list[RetrievedRow]:
        """Note what Orthanc has in the round that is made; those of it that wait to come."""
        found: list[RetrievedRow] = []
        by_uids = {one.uids: one for one in there}
        numbers = {one.id: one.rounds + 1 for one in some}
        with writing(self._engine) as connection:
            noted: list[Mapping[str, Any]] = []
            for part in portions(list(by_uids), MOST_PARAMETERS // 4):
                studies, series, instances = map(set, zip(*part, strict=True))
                query = sql.select(*INSTANCE_COLUMNS).where(
                    _OF.retrieval_id.in_(list(numbers)),
                    _OF.study_instance_uid.in_(studies),
                    _OF.series_instance_uid.in_(series),
                    _OF.sop_instance_uid.in_(instances),
                )
                for row in (RetrievedRow(*values) for values in connection.execute(query)):
                    one = by_uids.get(row.uids)
                    if one is None:
                        continue
                    noted.append(
                        {
                            "row": row.id,
                            "round_number": numbers[row.retrieval_id],
                            "name": one.orthanc_id,
                            "file": one.attachment_uuid,
                        }
                    )
                    if row.state == RetrievedState.WAITING:
                        found.append(row)
            if noted:
                execute_many(connection, _NOTE_THERE, noted)
        return found

    def gone(self, some: Sequence[RetrievalRow], limit: int = 1000) -> list[RetrievedRow]:
        """Those that Orthanc had, and was not seen to have in the round that is made."""
        query = (
            sql.select(*INSTANCE_COLUMNS)
            .join(retrievals, retrievals.c.id == _OF.retrieval_id)
            .where(
                _OF.retrieval_id.in_([one.id for one in some]),
                _OF.state.in_(THERE),
                _OF.seen_round != retrievals.c.rounds + 1,
            )
            .order_by(_OF.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [RetrievedRow(*row) for row in connection.execute(query)]

    def close(self, some: Sequence[RetrievalRow]) -> dict[int, bool]:
        """The round has been made of these.

        Returns
        -------
        dict
            Those of which nothing comes any more, and that have ended so, by their numbers:
            whether Orthanc has all of it, as the store does.
        """
        numbers, of = [one.id for one in some], retrievals.c
        made = {
            "state": RetrievalState.RUNNING,
            "rounds": of.rounds + 1,
            "attempts": 0,
            "next_attempt_at": None,
            "reason": None,
            "detail": None,
        }
        with writing(self._engine) as connection:
            connection.execute(retrievals.update().where(of.id.in_(numbers)).values(made))
            going = _having(connection, numbers, PENDING)
            lacking = _having(connection, numbers, LACKING)
            ended = {number: number not in lacking for number in numbers if number not in going}
            for complete in set(ended.values()):
                own = [number for number, whole in ended.items() if whole is complete]
                state = RetrievalState.COMPLETE if complete else RetrievalState.INCOMPLETE
                connection.execute(
                    retrievals.update()
                    .where(of.id.in_(own))
                    .values(state=state, ended_at=self._now())
                )
        return ended


def _having(
    connection: sql.Connection, numbers: Sequence[int], states: Collection[RetrievedState]
) -> set[int]:
    """Those of some retrievals that have an instance in one of these states, or in any."""
    mine = _OF.retrieval_id == retrievals.c.id
    exists = sql.exists().where(mine & _OF.state.in_(states) if states else mine)
    query = sql.select(retrievals.c.id).where(retrievals.c.id.in_(numbers), exists)
    return set(connection.scalars(query))


def row_of_listed(retrieval: int, destination: int, one: Listed) -> dict[str, Any]:
    """The row of an instance that a store lists, or that it names."""
    study, series, instance = one.uids if one.fault is None else map(storable, one.uids)
    return {
        "retrieval_id": retrieval,
        "destination_id": destination,
        "study_instance_uid": study,
        "series_instance_uid": series,
        "sop_instance_uid": instance,
        "size_bytes": one.size_bytes,
        "state": RetrievedState.WAITING if one.fault is None else RetrievedState.MISSING,
        "attempts": 0,
        "reason": None if one.fault is None else RetrievalReason.UID,
        "detail": one.fault,
        "seen_round": 0,
    }
