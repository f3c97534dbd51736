"""Follows Orthanc's ``/changes`` and writes into the ledger what the rules want sent.

``GET /changes?since=N&limit=M`` (Orthanc's REST API) gives a log whose numbers outlive restarts,
and which proves nothing by itself: entries of deleted resources vanish from it, ``DELETE /changes``
empties it, and an index that was replaced begins at 0 again. So each page has to go on where the
last one ended; wherever it does not, all instances of Orthanc are compared with the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.errors import OrthancError, OrthancRefusedError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor, NewTransfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import Change, Changes, OrthancSource

__all__ = ["Follower"]

_log = logging.getLogger(__name__)

SWEEP_EVERY = 15.0
"""Seconds until what is held, and what could not be read, is asked for again."""
COMPARE_AT_MOST_EVERY = 60.0
MOST_UNREADABLE = 1000
"""So many instances may wait for Orthanc to be able to read them; with more, nothing goes on."""
STABLE = ("StableSeries", "StableStudy")


class Follower:
    """Reads the changes of one Orthanc, from where the ledger says on.

    Parameters
    ----------
    on_arrival
        Called when instances were written down.
    since
        What Orthanc has received from then on is followed, where the ledger says nothing yet.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        rules: Rules,
        clock: Clock,
        on_arrival: Callable[[], None],
        since: float,
    ) -> None:
        self._ledger, self._orthanc, self._rules = ledger, orthanc, rules
        self._clock, self._on_arrival, self._since = clock, on_arrival, since
        self._source = ""
        self._cursor: Cursor | None = None
        self._swept = float("-inf")
        self._compared = float("-inf")
        self._gap = False

    @property
    def source(self) -> str:
        """The ledger's name for this Orthanc; empty until it answered for the first time."""
        return self._source

    def step(self) -> bool:
        """Read one page of changes; whether there was something to do.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now; nothing was lost.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away; nothing was lost.
        """
        cursor = self._cursor or self._begin()
        # The change before is asked for again: that it is still there shows that nobody cleared.
        page = self._orthanc.changes(max(0, cursor.seq - 1))
        if page.last < cursor.seq:
            self._start_over(cursor)
            return True
        news = page.last > cursor.seq
        if news:
            if not _continues(page, cursor.seq):
                self._open_gap()
            entries = [entry for entry in page.entries if entry.seq > cursor.seq]
            self._read(cursor, entries, page.last)
        self._do_at_intervals()
        return news

    def open(self) -> str:
        """Learn which Orthanc it is; the ledger's name for it.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now.
        """
        if not self._source:
            self._source = self._orthanc.name()
        return self._source

    def is_index(self, source: str) -> bool:
        """Whether Orthanc has the index, just now, that the ledger calls so.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        cursor = self._ledger.arrivals.cursor(source)
        return cursor is not None and self._orthanc.last_change() >= cursor.seq

    def _begin(self) -> Cursor:
        source = self.open()
        cursor = self._ledger.arrivals.cursor(source)
        if cursor is None:
            place = self._orthanc.place_before(self._since)
            cursor = self._ledger.arrivals.begin(source, place, self._since)
            _log.info("following Orthanc %s for the first time", source)
        self._gap = self._ledger.arrivals.has_gap(source)
        self._cursor = cursor
        return cursor

    def _start_over(self, cursor: Cursor) -> None:
        """The newest change is older than what was read: the index was replaced."""
        _log.warning("Orthanc's changes start over (another index?): they are read from the start")
        self._open_gap()
        self._ledger.arrivals.rewind(self._source, 0)
        self._cursor = Cursor(0, cursor.since)

    def _open_gap(self) -> None:
        """Changes are gone that nobody has read: written down, for a crash must not hide it."""
        if not self._gap:
            self._ledger.arrivals.open_gap(self._source)
            self._gap = True

    def _read(self, cursor: Cursor, entries: Sequence[Change], seq: int) -> None:
        new = {entry.orthanc_id: entry.seq for entry in entries if entry.kind == "NewInstance"}
        arrivals, unreadable = self._transfers_of(list(new), new.get)
        if unreadable:
            self._remember_unreadable(unreadable)
        self._ledger.arrivals.record(arrivals, self._source, seq)
        self._cursor = Cursor(seq, cursor.since)
        stable = [entry.orthanc_id for entry in entries if entry.kind in STABLE]
        if stable:
            self._ledger.arrivals.release(stable)
        if arrivals or stable:
            self._on_arrival()

    def _transfers_of(
        self, resources: Sequence[str], change: Callable[[str], int | None]
    ) -> tuple[list[NewTransfer], list[str]]:
        """What some instances make for the ledger, and those whose attributes cannot be read."""
        arrivals: list[NewTransfer] = []
        unreadable: list[str] = []
        for description in self._orthanc.describe(resources):
            number = change(description.orthanc_id) or 0
            try:
                arrivals += self._rules.arrivals(self._source, description, number, Priority.LIVE)
            except OrthancRefusedError:  # it answers, but not about this instance
                unreadable.append(description.orthanc_id)
        return arrivals, unreadable

    def _remember_unreadable(self, unreadable: list[str]) -> None:
        """Remember instances that no rule can be applied to, so that they hold up nobody."""
        known = list({*self._ledger.arrivals.unreadable(self._source), *unreadable})
        if len(known) > MOST_UNREADABLE:
            raise OrthancError("Orthanc cannot read what it has stored")
        _log.error("Orthanc cannot read %d instances: they are tried again", len(unreadable))
        self._ledger.arrivals.set_unreadable(self._source, known)

    def _retry_unreadable(self) -> None:
        before = self._ledger.arrivals.unreadable(self._source)
        if not before:
            return
        arrivals, unreadable = self._transfers_of(before, lambda _: 0)
        self._ledger.arrivals.record(arrivals)
        self._ledger.arrivals.set_unreadable(self._source, unreadable)
        self._on_arrival()

    def _do_at_intervals(self) -> None:
        now = self._clock.now()
        if now - self._swept > SWEEP_EVERY:
            self._swept = now
            self._release_stable()
            self._retry_unreadable()
        if self._gap and now - self._compared > COMPARE_AT_MOST_EVERY:
            self._compared = now
            self.compare()
            self._ledger.arrivals.close_gap(self._source)
            self._gap = False

    def _release_stable(self) -> None:
        """A restarted Orthanc never reports that what it received before is stable: ask it."""
        held = self._ledger.arrivals.held(self._source)
        if held:
            self._ledger.arrivals.release(self._orthanc.stable(held))
            self._on_arrival()

    def compare(self) -> int:
        """Find instances that the ledger lacks, as when somebody has cleared ``/changes``.

        Returns how many were received since following began and had been missed.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now; what was found before is written down.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        cursor = self._cursor or self._begin()
        missed = 0
        for page in self._orthanc.instances():
            unknown = set(page) - self._ledger.arrivals.known(self._source, page)
            missed += self._ledger.arrivals.reopen(self._source, page)
            found, unreadable = self._transfers_of(sorted(unknown), lambda _: 0)
            if unreadable:
                self._remember_unreadable(unreadable)
            # Orthanc records whole seconds.
            arrivals = [arrival for arrival in found if arrival.received_at >= int(cursor.since)]
            if arrivals:
                self._ledger.arrivals.record(arrivals)
                missed += len(arrivals)
        if missed:
            _log.warning(
                "%d transfers were missing in the ledger, somebody has cleared Orthanc's changes: "
                "they are added",
                missed,
            )
            self._on_arrival()
        return missed


def _continues(page: Changes, seq: int) -> bool:
    """Whether a page goes on where reading has ended, with nothing between.

    The last change that was read may be gone: Orthanc forgets those of what was deleted.
    """
    return bool(page.entries) and page.entries[0].seq in (seq, seq + 1)
