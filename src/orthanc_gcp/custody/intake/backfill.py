"""Sends what was in Orthanc before following began: newest first, when it may, below live traffic.

All studies are put on a list in the ledger, with their last update. Then study by study is written
into the ledger of transfers, only as fast as they are sent. Whatever dies in between, the list
tells where to go on, and what was written down already is not written down twice.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.configuration.timetable import Timetable
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Run, Stage
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.ledger.ledger import Ledger, NewTransfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["Backfill"]

_log = logging.getLogger(__name__)

STUDIES_IN_HAND, INSTANCES_IN_HAND = 25, 2000
"""So many studies are looked up at once, fewer if their instances are many."""
PORTION = 200
"""Instances that are written down at once."""
ASK_EVERY = 0.5
"""Seconds between two looks at whether somebody has paused it."""


@dataclass
class _Hand:
    """Studies that were looked up, with those instances that are not written down yet."""

    run: Run
    change: int = 0  # the newest when they were looked up
    studies: deque[tuple[str, list[str]]] = field(default_factory=deque)

    def take(self, most: int) -> tuple[list[str], list[str]]:
        """The next instances, and the studies that end with them."""
        portion: list[str] = []
        ended = []
        while self.studies and len(portion) < most:
            study, instances = self.studies[0]
            some = most - len(portion)
            portion += instances[:some]
            del instances[:some]
            if not instances:
                ended.append(study)
                self.studies.popleft()
        return portion, ended


class Backfill:
    """The backfill of one Orthanc, as its configuration asks for it.

    Parameters
    ----------
    options
        None: nothing new is begun or gone on with, and what waits already may be sent.
    accounts
        How many rows an instance can make in the ledger.
    source
        The ledger's name for the Orthanc; empty until it is known.
    stopping
        Whether the worker stops.
    on_arrival
        Called when instances were written down.
    """

    def __init__(
        self,
        ledger: Ledger,
        archive: OrthancSource,
        rules: Rules,
        options: BackfillOptions | None,
        accounts: int,
        clock: Clock,
        source: Callable[[], str],
        stopping: Callable[[], bool],
        on_arrival: Callable[[], None],
    ) -> None:
        self._ledger, self._archive, self._rules = ledger, archive, rules
        self._options, self._accounts = options, accounts
        self._timetable = Timetable(options.schedule if options else ())
        self._clock, self._source = clock, source
        self._stopping, self._on_arrival = stopping, on_arrival
        self._hand: _Hand | None = None
        self._paused, self._asked = False, float("-inf")

    def open(self) -> bool:
        """Whether instances of a backfill may be sent now."""
        return self._timetable.is_open(self._local()) and not self._is_paused()

    def step(self) -> bool:
        """Do a little; whether there was something to do.

        Raises
        ------
        OrthancError
            Orthanc is away; nothing was lost.
        """
        if self._options is None or not self._source() or not self.open():
            return False
        backlog = self._backlog()
        run = backlog.run
        if run is None:
            backlog.restart()
            return True
        if run.stage is Stage.LISTING:
            return self._list(backlog, run)
        return run.stage is Stage.SENDING and self._send(
            backlog, run, self._options.max_queued_instances
        )

    # -- The list of studies --------------------------------------------------------------------

    def _list(self, backlog: BackfillStudies, run: Run) -> bool:
        """List all studies; what is interrupted begins anew, and is the same."""
        backlog.clear()
        for page in self._archive.studies():
            if self._stopping():
                return False
            backlog.add(page)
        backlog.listed(run)
        _log.warning("the backfill has begun: %d studies are there", backlog.studies_left())
        return True

    # -- Their instances ------------------------------------------------------------------------

    def _send(self, backlog: BackfillStudies, run: Run, most: int) -> bool:
        hand = self._hand
        if hand is None or not hand.studies or hand.run.number != run.number:
            hand = self._hand = self._pick_up(backlog, run)
        if not hand.studies:
            return self._end(backlog, run)
        # Of what was looked up, the follower has then written down all that is new.
        cursor = self._ledger.cursor(self._source())
        if cursor is None or cursor.seq < hand.change:
            return False
        room = (most - backlog.unsent()) // max(1, self._accounts)
        if room <= 0:
            return False
        portion, ended = hand.take(min(PORTION, room))
        self._record(backlog, run, portion, ended)
        return True

    def _pick_up(self, backlog: BackfillStudies, run: Run) -> _Hand:
        hand, count = _Hand(run), 0
        for study in backlog.newest(STUDIES_IN_HAND):
            instances = self._members(study)
            hand.studies.append((study, instances))
            count += len(instances)
            if count >= INSTANCES_IN_HAND:
                break
        if hand.studies:
            hand.change = self._archive.last_change()
        return hand

    def _members(self, study: str) -> list[str]:
        try:
            return self._archive.members([study])
        except KeyError:  # it was deleted
            return []

    def _record(
        self, backlog: BackfillStudies, run: Run, portion: list[str], ended: list[str]
    ) -> None:
        try:
            recorded = self._ledger.record(list(self._arrivals(portion)))
        except Exception:
            self._hand = None  # what was taken from it is looked up again
            raise
        backlog.drop(run, ended, recorded)
        self._on_arrival()

    def _arrivals(self, instances: list[str]) -> Iterator[NewTransfer]:
        described = {one.orthanc_id: one for one in self._archive.describe(instances)}
        for resource in instances:
            if resource in described:  # or it was deleted
                yield from self._rules.arrivals(
                    self._source(), described[resource], 0, Priority.BACKFILL
                )

    def _end(self, backlog: BackfillStudies, run: Run) -> bool:
        """The list is empty: it has ended when nothing is on its way any more."""
        if backlog.unsettled():
            return False
        backlog.finish(run)
        _log.warning("the backfill has ended: all %d studies are done", run.studies)
        return True

    # -- When -------------------------------------------------------------------------------------

    def _is_paused(self) -> bool:
        now = self._clock.now()
        if now - self._asked > ASK_EVERY and self._source():
            self._paused, self._asked = self._backlog().paused, now
        return self._paused

    def _local(self) -> datetime:
        return self._clock.utc().astimezone()

    def _backlog(self) -> BackfillStudies:
        return BackfillStudies(self._ledger, self._source())
