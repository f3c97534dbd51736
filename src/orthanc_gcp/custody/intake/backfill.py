"""Sends what was in Orthanc before following began: newest first, when it may, below live traffic.

All studies are put on a list in the ledger, with their last update (Orthanc's ``/studies`` with
``expand``). Then study by study is written into the ledger of transfers, only as fast as they are
sent. Whatever dies in between, the list says where to go on, and what was written down already is
not written down twice.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.configuration.timetable import Timetable
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Run, Stage
from orthanc_gcp.custody.intake.loop_guard import LoopGuard
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.intake.selection import TooManyUnreadableError, remember_unreadable
from orthanc_gcp.errors import OrthancError, OrthancGoneError, OrthancRefusedError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["Backfill"]

_log = logging.getLogger(__name__)

STUDIES_AT_ONCE, INSTANCES_AT_ONCE = 25, 2000
"""So many studies are looked up at once, fewer if their instances are many."""
RECORDED_AT_ONCE = 200
"""So many instances are written down in one transaction."""
MOST_UNREADABLE = 500
"""So many instances may wait for Orthanc to be able to read them; with more, none is added."""
MOST_UNLISTED = 20
"""So many studies may wait for Orthanc to be able to list them; with more, none is looked up."""
ASK_EVERY = 0.5
"""Seconds between two questions whether somebody has paused it."""
_SHOWN = 5
"""So many studies that are gone are named in a message."""


@dataclass
class _LookedUp:
    """Studies that were looked up, with those instances that are not written down yet.

    Attributes
    ----------
    source
        The index that has them.
    run
        As the ledger has it when all others are written down.
    change
        The newest when they were looked up.
    gone
        Those that Orthanc does not have any more, or not whole.
    """

    source: str
    run: Run
    change: int = 0
    studies: deque[tuple[str, list[str]]] = field(default_factory=deque)
    gone: set[str] = field(default_factory=set)

    def is_of(self, source: str, run: Run) -> bool:
        """Whether all others are written down: not in a ledger that is an earlier state by now."""
        mine = self.source, self.run.number, self.run.recorded
        return (source, run.number, run.recorded) == mine

    def take(self, most: int) -> tuple[dict[str, str], list[str]]:
        """The next instances, each with its study, and the studies that end with them."""
        portion: dict[str, str] = {}
        ended = []
        while self.studies and len(portion) < most:
            study, instances = self.studies[0]
            some = instances[: most - len(portion)]
            portion |= dict.fromkeys(some, study)
            del instances[: len(some)]
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
    stopping
        Whether the worker stops.
    on_arrival
        Called when instances were written down.
    is_index
        Whether Orthanc has, as was seen just now, the index that the ledger calls so: what another
        one in its place does not have was not deleted.
    recycles
        Whether Orthanc may delete something by itself.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        rules: Rules,
        options: BackfillOptions | None,
        clock: Clock,
        stopping: Callable[[], bool],
        on_arrival: Callable[[], None],
        is_index: Callable[[str], bool] = lambda _source: True,
        recycles: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_index, self._recycles = is_index, recycles
        self._ledger, self._orthanc, self._rules = ledger, orthanc, rules
        self._guard = LoopGuard(ledger, orthanc)
        self._options, self._timetable = options, Timetable(options.schedule if options else ())
        self._clock, self._stopping, self._on_arrival = clock, stopping, on_arrival
        self._looked_up: _LookedUp | None = None
        self._unlisted: set[str] = set()  # studies that Orthanc does not list just now
        self._paused, self._asked_at = False, float("-inf")

    def is_open(self, source: str) -> bool:
        """Whether instances of a backfill may be sent now: in its hours, while it is not paused.

        Parameters
        ----------
        source
            The ledger's name for the Orthanc; empty while it is unknown.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        return self._timetable.is_open(self._local_time()) and not self._is_paused(source)

    def step(self, source: str) -> bool:
        """List studies, or write down the next instances; whether there was something to do.

        Parameters
        ----------
        source
            The ledger's name for the Orthanc; empty while it is unknown.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now; nothing was lost.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away; nothing was lost.
        """
        if self._options is None or not source or not self.is_open(source):
            return False
        if not self._rules.accounts or not self._is_index(source):
            return False
        studies = BackfillStudies(self._ledger, source, self._rules.accounts)
        run = studies.run
        if run is not None and not run.destinations and studies.destinations:
            studies.adopt(run)
            run = studies.run
        if run is None or not studies.covers(run):
            studies.restart()
            return True
        if run.stage is Stage.LISTING:
            return self._list(studies, run)
        if run.stage is Stage.SENDING:
            return self._send(studies, run, self._options.max_queued_instances)
        return False

    # -- The list of studies --------------------------------------------------------------------

    def _list(self, studies: BackfillStudies, run: Run) -> bool:
        """List all studies; what is interrupted begins anew, and is the same."""
        studies.clear()
        for page in self._orthanc.studies():
            if self._stopping():
                return False
            studies.add(page)
        if not self._is_index(studies.source):
            return False
        studies.listed(run)
        _log.warning("the backfill has begun: %d studies are there", studies.left())
        return True

    # -- Their instances ------------------------------------------------------------------------

    def _send(self, studies: BackfillStudies, run: Run, most_queued: int) -> bool:
        found = self._looked_up
        if found is None or not found.studies or not found.is_of(studies.source, run):
            found = self._looked_up = self._look_up(studies, run)
            if not self._is_index(studies.source):
                self._looked_up = None
                return False
        if not found.studies:
            self._refuse_unlisted()
            return self._end(studies, run)
        # Of what was looked up, the follower has then written down all that is new.
        cursor = self._ledger.indexes.get(studies.source)
        if cursor is None or cursor.seq < found.change:
            if self._orthanc.last_change() >= found.change:
                return False
            self._looked_up = None  # in an index that was restored from before: it ends earlier
            return True
        unsent = studies.unsent()
        room = (most_queued - unsent) // max(1, len(self._rules.accounts))
        if room <= 0 and unsent:
            return False
        recorded = self._record(studies, run, found, min(RECORDED_AT_ONCE, max(1, room)))
        found.run = replace(run, recorded=run.recorded + recorded)
        return True

    def _look_up(self, studies: BackfillStudies, run: Run) -> _LookedUp:
        found, count = _LookedUp(studies.source, run), 0
        for study in studies.newest(STUDIES_AT_ONCE, self._unlisted):
            instances = self._instances_of(study)
            if instances is None:
                continue
            found.studies.append((study, instances))
            if not instances:
                found.gone.add(study)
            count += len(instances)
            if count >= INSTANCES_AT_ONCE:
                break
        if found.studies:
            found.change = self._orthanc.last_change()
        return found

    def _instances_of(self, study: str) -> list[str] | None:
        """The instances of a study; None where Orthanc does not say it, though it answers."""
        try:
            return self._orthanc.members([study])
        except KeyError:  # it was deleted
            return []
        except OrthancRefusedError as error:
            _log.error("Orthanc does not list a study, which is tried again: %s", error)
            self._unlisted.add(study)
            if len(self._unlisted) >= MOST_UNLISTED:
                self._refuse_unlisted()
            return None

    def _refuse_unlisted(self) -> None:
        """Nothing goes on but what Orthanc does not list: it is tried again.

        Raises
        ------
        OrthancError
            There is something.
        """
        count = len(self._unlisted)
        self._unlisted.clear()
        if count:
            raise OrthancError(
                f"Orthanc does not list the instances of {count} studies: the backfill waits for it"
            )

    def _record(self, studies: BackfillStudies, run: Run, found: _LookedUp, most: int) -> int:
        instances, ended = found.take(most)
        try:
            arrivals, absent = self._arrivals(studies.source, list(instances))
            recorded = self._ledger.arrivals.record(arrivals)
            found.gone.update(instances[one] for one in absent)
            gone = [study for study in ended if study in found.gone]
            recycled = self._say_recycled(studies.source, gone)
        except Exception:
            self._looked_up = None  # what was taken from it is looked up again
            raise
        studies.drop(run, ended, recorded, len(gone), recycled)
        self._on_arrival()
        return recorded

    def _arrivals(
        self, source: str, instances: list[str]
    ) -> tuple[list[NewTransfer], Collection[str]]:
        """What is to be written down of some instances, and those that Orthanc does not have."""
        found, unreadable = self._orthanc.describe_each(instances)
        if not self._is_index(source):
            raise OrthancError("which index Orthanc has is not known just now")
        described = {one.orthanc_id: one for one in found}
        absent = set(instances) - described.keys() - set(unreadable)
        arrivals: list[NewTransfer] = []
        for instance in instances:
            if instance not in described:  # it was deleted
                continue
            one = described[instance]
            try:
                arrivals += self._rules.arrivals(source, one, 0, Priority.BACKFILL)
            except (OrthancGoneError, OrthancRefusedError):  # it is there, but not its file
                unreadable.append(instance)
        if unreadable:
            self._remember_unreadable(source, unreadable)
        return self._guard.recognize(arrivals), absent

    def _say_recycled(self, source: str, gone: Sequence[str]) -> int:
        """How many of studies that are gone Orthanc may have recycled: that is said."""
        if not gone or not self._recycles():
            return 0
        words = (
            f"the backfill: {len(gone)} studies of Orthanc {source} are gone, or not whole any "
            f"more, before they were sent ({', '.join(gone[:_SHOWN])}): they were recycled or "
            "deleted, and what of them was not sent otherwise is lost"
        )
        _log.error("%s", words)
        self._ledger.events.add_to_each(self._rules.accounts, "studies missing", words)
        return len(gone)

    def _remember_unreadable(self, source: str, unreadable: list[str]) -> None:
        """Leave them to the follower, which tries them again."""
        try:
            remember_unreadable(self._ledger, source, unreadable, MOST_UNREADABLE)
        except TooManyUnreadableError as error:
            raise OrthancError(f"{error}: the backfill waits for it") from error
        _log.error("Orthanc cannot read %d old instances: they are tried again", len(unreadable))

    def _end(self, studies: BackfillStudies, run: Run) -> bool:
        """The list is empty: it has ended when nothing is on its way any more."""
        if studies.any_unsettled():
            return False
        studies.finish(run)
        words = f"the backfill has ended: all {run.studies} studies are done"
        if run.gone:
            words += f", but {run.gone} of them were gone, or not whole any more, before their turn"
        _log.warning("%s", words)
        return True

    # -- When -----------------------------------------------------------------------------------

    def _is_paused(self, source: str) -> bool:
        now = self._clock.now()
        if now - self._asked_at > ASK_EVERY and source:
            self._paused = BackfillStudies(self._ledger, source, ()).paused
            self._asked_at = now
        return self._paused

    def _local_time(self) -> datetime:
        return self._clock.utc().astimezone()
