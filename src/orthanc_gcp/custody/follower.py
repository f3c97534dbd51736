"""Follows Orthanc's ``/changes`` and writes into the ledger what the rules want sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.archive import Archive, Change
from orthanc_gcp.custody.ledger import Arrival, Cursor, Ledger
from orthanc_gcp.custody.rules import Rules
from orthanc_gcp.custody.tables import Urgency

__all__ = ["Follower"]

_log = logging.getLogger(__name__)

SWEEP_EVERY = 15.0
COMPARE_AT_MOST_EVERY = 60.0
STABLE = ("StableSeries", "StableStudy")


class Follower:
    """Reads the changes of one Orthanc, from where the ledger says on.

    Parameters
    ----------
    on_arrival
        Called when instances were written down.
    """

    def __init__(
        self,
        ledger: Ledger,
        archive: Archive,
        rules: Rules,
        clock: Clock,
        on_arrival: Callable[[], None],
    ) -> None:
        self._ledger, self._archive, self._rules = ledger, archive, rules
        self._clock, self._on_arrival = clock, on_arrival
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
        PublicationError
            Orthanc is away; nothing was lost.
        """
        cursor = self._cursor or self._begin()
        # The change before is asked for again: that it is still there shows that nobody cleared.
        page = self._archive.changes(max(0, cursor.seq - 1))
        entries = [entry for entry in page.entries if entry.seq > cursor.seq]
        if page.last < cursor.seq:
            self._start_over(cursor)
            return True
        anchored = cursor.seq == 0 or (page.entries and page.entries[0].seq == cursor.seq)
        if not anchored and page.last > cursor.seq:
            self._gap = True
        if entries:
            self._read(cursor, entries)
        self._tend()
        return bool(entries)

    def open(self) -> str:
        """Learn which Orthanc it is; the ledger's name for it."""
        if not self._source:
            self._source = self._archive.name()
        return self._source

    def _begin(self) -> Cursor:
        source = self.open()
        cursor = self._ledger.cursor(source)
        if cursor is None:
            cursor = self._ledger.begin(source, self._archive.last_change())
            _log.info("following Orthanc %s from now on", source)
        self._cursor = cursor
        return cursor

    def _start_over(self, cursor: Cursor) -> None:
        """The newest change is older than what was read: the index was replaced."""
        _log.warning("Orthanc's changes start over (another index?): they are read from the start")
        self._ledger.rewind(self._source, 0)
        self._cursor = Cursor(0, cursor.since)
        self._gap = True

    def _read(self, cursor: Cursor, entries: Sequence[Change]) -> None:
        new = {entry.resource: entry.seq for entry in entries if entry.kind == "NewInstance"}
        arrivals = self._arrivals(list(new), new.get)
        seq = entries[-1].seq
        self._ledger.record(arrivals, self._source, seq)
        self._cursor = Cursor(seq, cursor.since)
        stable = [entry.resource for entry in entries if entry.kind in STABLE]
        if stable:
            self._ledger.release(stable)
        if arrivals or stable:
            self._on_arrival()

    def _arrivals(
        self, resources: Sequence[str], change: Callable[[str], int | None]
    ) -> list[Arrival]:
        return [
            arrival
            for description in self._archive.describe(resources)
            for arrival in self._rules.arrivals(
                self._source, description, change(description.resource) or 0, Urgency.LIVE
            )
        ]

    def _tend(self) -> None:
        now = self._clock.now()
        if now - self._swept > SWEEP_EVERY:
            self._swept = now
            # A restarted Orthanc never tells that what it received before is stable.
            if held := self._ledger.held(self._source):
                self._ledger.release(self._archive.stable(held))
                self._on_arrival()
        if self._gap and now - self._compared > COMPARE_AT_MOST_EVERY:
            self._compared, self._gap = now, False
            self.compare()

    def compare(self) -> int:
        """Find instances that the ledger lacks, as when somebody has cleared ``/changes``.

        Returns how many were received since following began and had been missed.
        """
        cursor = self._cursor or self._begin()
        missed = 0
        for page in self._archive.instances():
            unknown = set(page) - self._ledger.known(self._source, page)
            arrivals = [
                arrival
                for arrival in self._arrivals(sorted(unknown), lambda _: 0)
                # Orthanc tells whole seconds.
                if arrival.received >= int(cursor.since)
            ]
            if arrivals:
                self._ledger.record(arrivals)
                missed += len(arrivals)
        if missed:
            _log.warning(
                "%d transfers were missing in the ledger, somebody has cleared Orthanc's changes: "
                "they are added",
                missed,
            )
            self._on_arrival()
        return missed
