"""What a backfill has still to do: it stands in the ledger, so that it goes on where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import UNSETTLED, Priority, State, backfill_studies, transfers

__all__ = ["BackfillStudies", "Run", "Stage"]

_log = logging.getLogger(__name__)

_UNSENT = tuple(state for state in UNSETTLED if state != State.ACKNOWLEDGED)
_PORTION = 300


class Stage(StrEnum):
    """How far a backfill is."""

    LISTING = "Listing"  # finding out which studies there are
    SENDING = "Sending"
    FINISHED = "Finished"


@dataclass(frozen=True, slots=True)
class Run:
    """One backfill of an Orthanc, from its beginning to its end.

    Attributes
    ----------
    number
        1 for the first.
    began, ended
        Seconds since 1970, UTC; None while it has not ended.
    studies
        Those that were there when it began.
    recorded
        Instances that were written down, each once for every destination.
    destinations
        Those that all of them are written down for, but for those that are still to be; none of a
        release that did not write it down.
    gone, recycled
        Studies that Orthanc did not have any more, or not whole, when it was their turn; those of
        them that it may have recycled.
    """

    number: int
    stage: Stage
    began: float
    ended: float | None = None
    studies: int = 0
    recorded: int = 0
    destinations: tuple[int, ...] = ()
    gone: int = 0
    recycled: int = 0


class BackfillStudies:
    """The backfill of one Orthanc, as all workers and people see it.

    Every method raises :class:`sqlalchemy.exc.SQLAlchemyError` when the ledger is away.

    Parameters
    ----------
    source
        The ledger's name for the Orthanc.
    accounts
        Those of the rules: it is about the stores that they are by now.
    """

    def __init__(self, ledger: Ledger, source: str, accounts: Collection[str]) -> None:
        self._ledger, self.source, self._accounts = ledger, source, accounts
        self._run, self._paused = f"backfill:{source}", f"backfill-paused:{source}"
        self._mine = backfill_studies.c.source == source

    # -- What people say ------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether somebody has said that nothing is to be sent for now."""
        return bool(self._ledger.key_values.get(self._paused, bool))

    def pause(self) -> None:
        """Begin no more requests; those that run are finished."""
        self._ledger.key_values.set(self._paused, True)

    def resume(self) -> None:
        """Go on."""
        self._ledger.key_values.set(self._paused, False)

    def restart(self) -> None:
        """Begin anew with all studies; what the ledger has is not sent twice."""
        now = self._ledger.now()

        def begun(was: Any) -> Any:
            number = (was or {}).get("number", 0) + 1
            return asdict(Run(number, Stage.LISTING, now, destinations=self.destinations))

        self._ledger.key_values.change(self._run, dict, begun)

    # -- How far it is --------------------------------------------------------------------------

    @property
    def destinations(self) -> tuple[int, ...]:
        """Where its accounts send by now, as far as anything was ever sent there."""
        found = {self._ledger.destinations.find(account) for account in self._accounts}
        return tuple(sorted(one for one in found if one is not None))

    @property
    def run(self) -> Run | None:
        """The newest; None if there was never any."""
        return _run(self._ledger.key_values.get(self._run, dict))

    def covers(self, run: Run) -> bool:
        """Whether a run writes down what is to be where the accounts send by now."""
        places = self._ledger.destinations
        new = any(name in places.stores and places.find(name) is None for name in self._accounts)
        return not new and set(self.destinations) <= set(run.destinations)

    def adopt(self, run: Run) -> None:
        """A run of an older release writes down what is to be where the accounts send by now."""
        mine = self.destinations
        self._advance(run, lambda now: replace(now, destinations=mine))

    def listed(self, run: Run) -> None:
        """All studies that are there have been added."""
        studies = self.left()
        self._advance(run, lambda now: replace(now, stage=Stage.SENDING, studies=studies))

    def finish(self, run: Run) -> None:
        """Nothing is left to be done."""
        ended = self._ledger.now()
        self._advance(run, lambda now: replace(now, stage=Stage.FINISHED, ended=ended))

    def _advance(self, run: Run, change: Callable[[Run], Run]) -> None:
        """Change a run, unless somebody has begun another meanwhile."""

        def changed(value: Any) -> Any:
            now = _run(value)
            return asdict(change(now)) if now and now.number == run.number else value

        self._ledger.key_values.change(self._run, dict, changed)

    # -- The studies ----------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget the studies, as before they are listed again."""
        with self._ledger.writing() as connection:
            connection.execute(backfill_studies.delete().where(self._mine))

    def add(self, studies: Sequence[tuple[str, str]]) -> None:
        """Put studies on the list, those that are not there yet.

        Parameters
        ----------
        studies
            Orthanc's identifiers, each with Orthanc's ``LastUpdate``: ``20261121T221844``.
        """
        fresh = dict(studies)
        with self._ledger.writing() as connection:
            names = list(fresh)
            for start in range(0, len(names), _PORTION):
                chosen = backfill_studies.c.orthanc_id.in_(names[start : start + _PORTION])
                query = sql.select(backfill_studies.c.orthanc_id).where(self._mine, chosen)
                for study in connection.scalars(query).all():
                    del fresh[study]
            rows = [
                {"source": self.source, "orthanc_id": study, "last_update": updated}
                for study, updated in fresh.items()
            ]
            if rows:
                connection.execute(backfill_studies.insert(), rows)

    def newest(self, limit: int, but: Collection[str] = ()) -> list[str]:
        """The studies that come next but for some, by Orthanc's identifiers."""
        query = (
            sql.select(backfill_studies.c.orthanc_id)
            .where(self._mine, backfill_studies.c.orthanc_id.not_in(but))
            .order_by(backfill_studies.c.last_update.desc(), backfill_studies.c.orthanc_id.desc())
            .limit(limit)
        )
        with self._ledger.reading() as connection:
            return list(connection.scalars(query))

    def drop(
        self, run: Run, studies: Sequence[str], recorded: int, gone: int = 0, recycled: int = 0
    ) -> None:
        """These studies are done where the accounts send by now; so many more were written down.

        Parameters
        ----------
        gone, recycled
            So many of these studies, see :class:`Run`.
        """

        def advanced(now: Run) -> Run:
            return replace(
                now,
                recorded=now.recorded + recorded,
                gone=now.gone + gone,
                recycled=now.recycled + recycled,
            )

        self._advance(run, advanced)
        if not studies:
            return
        mine = {*self.destinations}
        if not mine.issuperset(run.destinations):
            left = tuple(one for one in run.destinations if one in mine)
            self._advance(run, lambda now: replace(now, destinations=left))
        with self._ledger.writing() as connection:
            chosen = self._mine & backfill_studies.c.orthanc_id.in_(studies)
            connection.execute(backfill_studies.delete().where(chosen))

    def left(self) -> int:
        """How many studies have still to be written down."""
        query = sql.select(sql.func.count()).select_from(backfill_studies).where(self._mine)
        with self._ledger.reading() as connection:
            return connection.scalar(query) or 0

    # -- The instances --------------------------------------------------------------------------

    def unsent(self) -> int:
        """How many instances wait, or are being sent, as a part of the backfill."""
        query = sql.select(sql.func.count()).where(*self.conditions(_UNSENT))
        with self._ledger.reading() as connection:
            return connection.scalar(query) or 0

    def any_unsettled(self) -> bool:
        """Whether any instance is still to be sent, or to be confirmed."""
        query = sql.select(transfers.c.id).where(*self.conditions(UNSETTLED))
        with self._ledger.reading() as connection:
            return connection.scalar(query.limit(1)) is not None

    def conditions(self, states: Iterable[State] | None = None) -> list[sql.ColumnElement[bool]]:
        """For a query: what backfills have written down of this Orthanc, in such states.

        Of former stores nothing counts.
        """
        # A literal lets the database see that the index over these rows serves.
        backfill = sql.literal(Priority.BACKFILL.value, literal_execute=True)
        conditions = [
            transfers.c.source == self.source,
            transfers.c.priority == backfill,
            transfers.c.destination_id.in_(self.destinations),
        ]
        if states is not None:
            conditions.append(transfers.c.state.in_(list(states)))
        return conditions


def _run(value: Mapping[str, Any] | None) -> Run | None:
    if value is None:
        return None
    try:
        of = tuple(map(int, value.get("destinations", ())))
        return Run(**{**value, "stage": Stage(value["stage"]), "destinations": of})
    except (KeyError, TypeError, ValueError):
        _log.error("the ledger has no backfill where one should be: it begins anew")
        return None
