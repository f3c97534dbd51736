"""The studies that Orthanc has received, and whose priors are to be brought back.

A row is written before the change that reports the study counts as read, and once only: a study
that comes a second time brings nothing, unless somebody asks for its priors. It holds no patient
data: those are asked of Orthanc.

Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import reading, upsert, writing
from orthanc_gcp.ledger.retrievals.retention import remove_old_prefetches
from orthanc_gcp.ledger.schema import PREFETCH_IS_OPEN, PrefetchState, prefetches

__all__ = ["ENTRY", "PrefetchRow", "Prefetches"]

_OPEN = sql.text(PREFETCH_IS_OPEN)
_LONGEST_PAUSE = 7200.0
ENTRY = "worklist/"
"""What the digest of an entry is written behind."""


@dataclass(frozen=True, slots=True)
class PrefetchRow:
    """A study that Orthanc has received, and the account that may have its priors.

    Attributes
    ----------
    orthanc_id
        Orthanc's identifier of it; its Study Instance UID where somebody has searched for its
        patient; the digest of an entry of a worklist, behind its prefix.
    """

    id: int
    account: str
    source: str
    orthanc_id: str
    state: str
    attempts: int
    next_attempt_at: float | None
    reason: str | None
    detail: str | None
    studies: int | None
    noticed_at: float
    ended_at: float | None
    demanded_at: float | None

    @property
    def entry(self) -> str:
        """The digest of an entry of a worklist; empty for anything else."""
        return self.orthanc_id.removeprefix(ENTRY) if self.orthanc_id.startswith(ENTRY) else ""

    @property
    def is_of_search(self) -> bool:
        """Whether somebody has searched for the patient: a UID has dots, an identifier has none."""
        return "." in self.orthanc_id


_COLUMNS = [prefetches.c[one.name] for one in fields(PrefetchRow)]


class Prefetches:
    """What is to be looked for, and how far that is."""

    def __init__(self, engine: sql.Engine, now: Callable[[], float]) -> None:
        self._engine, self._now = engine, now

    def add(self, source: str, studies: Collection[str], accounts: Collection[str]) -> None:
        """Write down studies that Orthanc has received, for each account; each once."""
        rows = [
            {**self._fresh(source, account), "orthanc_id": study}
            for study, account in product(dict.fromkeys(studies), accounts)
        ]
        if rows:
            insert = upsert(self._engine.dialect.name, prefetches).on_conflict_do_nothing()
            with writing(self._engine) as connection:
                remove_old_prefetches(connection, self._now(), len(rows))
                connection.execute(insert, rows)

    def demand(self, source: str, studies: Collection[str], account: str) -> None:
        """Write down studies whose priors somebody has asked for: also those that have ended."""
        fresh = self._fresh(source, account)
        fresh["demanded_at"] = fresh["noticed_at"]
        again = {"next_attempt_at": None, "reason": None, "detail": None, "studies": None}
        insert = upsert(self._engine.dialect.name, prefetches).on_conflict_do_update(
            index_elements=["source", "account", "orthanc_id"],
            set_={**fresh, **again, "ended_at": None},
        )
        rows = [{**fresh, "orthanc_id": study} for study in dict.fromkeys(studies)]
        if rows:
            with writing(self._engine) as connection:
                remove_old_prefetches(connection, self._now(), len(rows))
                connection.execute(insert, rows)

    def search_for(self, source: str, study_instance_uid: str, account: str, after: float) -> None:
        """Write down a study of a patient that somebody has searched for.

        Unless it waits, or has ended within so many seconds.
        """
        fresh = self._fresh(source, account)
        again = {"next_attempt_at": None, "reason": None, "detail": None, "studies": None}
        of = prefetches.c
        insert = upsert(self._engine.dialect.name, prefetches).on_conflict_do_update(
            index_elements=["source", "account", "orthanc_id"],
            set_={**fresh, **again, "ended_at": None},
            where=of.ended_at < self._now() - after,
        )
        with writing(self._engine) as connection:
            connection.execute(insert, [{**fresh, "orthanc_id": study_instance_uid}])

    def _fresh(self, source: str, account: str) -> dict[str, Any]:
        return {
            "source": source,
            "account": account,
            "state": PrefetchState.WAITING,
            "attempts": 0,
            "noticed_at": self._now(),
        }

    def due(self, source: str, accounts: Collection[str], limit: int) -> list[PrefetchRow]:
        """Some that wait, of some accounts: the oldest first, and none before its time."""
        of, now = prefetches.c, self._now()
        moment = of.next_attempt_at
        query = (
            sql.select(*_COLUMNS)
            .where(
                _OPEN,
                of.source == source,
                of.account.in_(accounts),
                moment.is_(None) | (moment <= now) | (moment > now + _LONGEST_PAUSE),
            )
            .order_by(of.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [PrefetchRow(*row) for row in connection.execute(query)]

    def any_demanded(self) -> bool:
        """Whether somebody has asked for priors, and nobody has looked for them yet."""
        query = sql.select(prefetches.c.id).where(_OPEN, prefetches.c.demanded_at.is_not(None))
        with reading(self._engine) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def found(self, orthanc_id: str) -> Sequence[PrefetchRow]:
        """What there is about a study."""
        query = sql.select(*_COLUMNS).where(prefetches.c.orthanc_id == orthanc_id)
        with reading(self._engine) as connection:
            return [PrefetchRow(*row) for row in connection.execute(query)]

    def postpone(
        self, row: PrefetchRow, attempts: int, seconds: float, reason: str, detail: str
    ) -> None:
        """It could not be done just now."""
        self._update(
            row,
            attempts=attempts,
            next_attempt_at=self._now() + seconds,
            reason=reason,
            detail=detail,
        )

    def end(
        self,
        row: PrefetchRow,
        state: PrefetchState,
        *,
        studies: int = 0,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Nothing more is to be done about it."""
        self._update(
            row,
            state=state,
            studies=studies,
            reason=reason,
            detail=detail,
            next_attempt_at=None,
            ended_at=self._now(),
        )

    def _update(self, row: PrefetchRow, **values: Any) -> None:
        # What was asked for meanwhile, and is to be looked for anew, stays.
        same = prefetches.c.id == row.id, prefetches.c.noticed_at == row.noticed_at
        with writing(self._engine) as connection:
            connection.execute(prefetches.update().where(*same).values(values))
