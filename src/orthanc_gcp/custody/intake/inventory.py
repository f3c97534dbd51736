"""Compares all that Orthanc has with the ledger, page by page: what its changes do not say.

Instances are listed by ``GET /instances?expand`` (Orthanc's REST API), each with the UUID of its
file: another one is another version. One page is in memory at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.arrivals import Known
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = [
    "BESIDE_NEWS_EVERY",
    "COMPARE_AT_MOST_EVERY",
    "Comparison",
    "Failing",
    "Inventory",
    "failing_comparisons",
]

_log = logging.getLogger(__name__)

COMPARE_AT_MOST_EVERY = 60.0
BESIDE_NEWS_EVERY = 5.0
"""Seconds after which some is compared though changes are to be read: there may always be some."""
SAID_AFTER = 300.0
"""Seconds from the first comparison that Orthanc breaks off to one after which that is said."""
PAUSE_AFTER_PAGE = 0.5
"""For so many times as long as a page takes, nothing is compared after it: others come first."""
_FAILING = "comparison-fails:"


class Failing(NamedTuple):
    """Since when no comparison of an index comes to its end, in seconds since 1970, and why."""

    since: float
    words: str


def failing_comparisons(ledger: Ledger) -> dict[str, Failing]:
    """The indexes that no comparison of comes to its end, by their names.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found = {}
    for name, value in ledger.key_values.starting_with(_FAILING).items():
        match value:
            case {"since": int() | float() as since, "words": str() as words}:
                found[name.removeprefix(_FAILING)] = Failing(float(since), words)
    return found


class Inventory:
    """One comparison after another.

    Every method raises OrthancError when Orthanc cannot be read from just now, and SQLAlchemyError
    when the ledger is away: the comparison has to begin anew then.

    Attributes
    ----------
    returned
        How many transfers wait again, as what was gone is there.
    other_files
        Of how many instances Orthanc has another file than the ledger says.
    """

    def __init__(self, ledger: Ledger, orthanc: OrthancSource) -> None:
        self._ledger, self._orthanc = ledger, orthanc
        self._source = ""
        self._pages: Iterator[list[tuple[str, str]]] = iter(())
        self._page: list[tuple[str, str]] = []
        self._change = 0  # the newest when the page was read
        self.returned = self.other_files = 0

    def begin(self, source: str) -> None:
        """Begin with the first page of an index."""
        self._source, self._pages, self._page = source, self._orthanc.inventory(), []
        self.returned = self.other_files = 0

    def step(self, read_to: int) -> list[str] | None:
        """The next instances that the ledger does not have, or not as they are; None at the end.

        Nor does it have by the rules what only somebody has demanded.

        Parameters
        ----------
        read_to
            The last change that was read. What is new is no difference: it is waited for.
        """
        if not self._page:
            self._page = next(self._pages, [])
            if not self._page:
                return None
            self._change = self._orthanc.last_change()
        if read_to < self._change:
            return []
        page, self._page = dict(self._page), []
        known = self._ledger.arrivals.known(self._source, list(page))
        deleted = [name for name, row in known.items() if row.deleted]
        if deleted:
            self.returned += self._ledger.arrivals.reopen(self._source, deleted)
        missing = sorted(name for name, file in page.items() if _is_missing(known.get(name), file))
        self.other_files += sum(name in known and known[name].by_rule for name in missing)
        return missing


class Comparison:
    """Compares an index at the start, now and then, and where changes are gone that nobody read.

    Every method raises OrthancError when Orthanc cannot be read from just now, and SQLAlchemyError
    when the ledger is away.

    Parameters
    ----------
    every
        Seconds between two comparisons; the first is made at the start, and one that breaks off is
        made again a minute later.
    add
        Writes down instances that the ledger does not have, or not as they are, and says how many
        transfers that makes.
    on_arrival
        Called when there is something to be sent by it.

    Attributes
    ----------
    gap
        Whether changes are gone that nobody has read, and not all was compared since.
    has_ended
        Whether all of the index was compared since this process has it.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        clock: Clock,
        every: float,
        add: Callable[[Cursor, list[str]], int],
        on_arrival: Callable[[], None],
    ) -> None:
        self._ledger, self._clock, self._every = ledger, clock, every
        self._add, self._on_arrival = add, on_arrival
        self._inventory = Inventory(ledger, orthanc)
        self._source = ""
        self._running, self._missed = False, 0
        self._due_at = self._begun_for_gap = self._next_page_at = float("-inf")
        self._stepped_at = float("-inf")
        self.gap = self.has_ended = False
        self._another_gap = False  # since the comparison that runs has begun
        self._failed_at: float | None = None  # the first that broke off since one has ended

    def turn_to(self, source: str, *, was_read_on: bool = False) -> None:
        """Compare this index from now on.

        Parameters
        ----------
        was_read_on
            Whether another worker may have read its changes meanwhile. If some were gone, what they
            reported may be among what was compared before.
        """
        if source != self._source:
            self._source, self._due_at, self._failed_at = source, float("-inf"), None
            self._running = self.has_ended = False
        had_gap, self.gap = self.gap, self._ledger.arrivals.has_gap(source)
        if self.gap and (was_read_on or not had_gap):
            self._running = False

    def open_gap(self) -> None:
        """Changes are gone that nobody has read: written down, for a crash must not hide it."""
        self._another_gap = self.gap
        if not self.gap:
            self._ledger.arrivals.open_gap(self._source)
            self.gap, self._running = True, False

    def step(self, cursor: Cursor, *, has_news: bool = False) -> bool:
        """Compare some of what Orthanc has; whether more is to be compared at once.

        Parameters
        ----------
        has_news
            Whether there are changes to be read, which come first.
        """
        now = self._clock.now()
        if has_news and now - self._stepped_at < BESIDE_NEWS_EVERY:
            return False
        self._stepped_at = now
        if not self._running:
            if not self._is_due(now):
                return False
            self._begin(now)
        if now < self._next_page_at and not self.gap:
            return True  # soon: a pause as after the last page would be longer than the rest
        try:
            found = self._inventory.step(cursor.seq)
            if found:
                self._missed += self._add(cursor, found)
        except Exception as error:  # the page counts as compared: only a new one comes back to it
            self._running = False
            self._due_at = min(self._due_at, now + COMPARE_AT_MOST_EVERY)
            if isinstance(error, OrthancError):
                self._note_failure(now, str(error))
            raise
        if found is None:
            self._end()
            return False
        after = self._clock.now()
        self._next_page_at = after + PAUSE_AFTER_PAGE * (after - now)
        return True

    def _is_due(self, now: float) -> bool:
        for_gap = self.gap and now - self._begun_for_gap > COMPARE_AT_MOST_EVERY
        return for_gap or now >= self._due_at

    def _begin(self, now: float) -> None:
        if self.gap:
            self._begun_for_gap = now
        self._due_at, self._running, self._missed = now + self._every, True, 0
        self._another_gap = False
        self._inventory.begin(self._source)

    def _note_failure(self, now: float, words: str) -> None:
        """Write it down when it lasts: changes are read all the same, and nothing else says so."""
        if self._failed_at is None:
            self._failed_at = now
        elif now - self._failed_at >= SAID_AFTER:
            since = self._ledger.now() - (now - self._failed_at)
            value = {"since": since, "words": words}
            self._ledger.key_values.set(f"{_FAILING}{self._source}", value)

    def _end(self) -> None:
        self._running, self.has_ended, self._failed_at = False, True, None
        self._ledger.key_values.delete(f"{_FAILING}{self._source}")
        self._missed += self._inventory.returned
        if self._missed:
            _log.warning(
                "%d transfers were missing in the ledger, or of another file, though Orthanc's "
                "changes do not say so: they are added",
                self._missed,
            )
            if self._inventory.other_files:
                _log.warning(
                    "of %d instances Orthanc has another file than it had: another version, or the "
                    "same, stored anew (/reconstruct, /compress); what was sent as received at "
                    "the same moment is sent again as in a backfill",
                    self._inventory.other_files,
                )
            self._on_arrival()
        if self.gap and not self._another_gap:  # whose instances came behind what was compared
            self._ledger.arrivals.close_gap(self._source)
            self.gap = False


def _is_missing(known: Known | None, file: str) -> bool:
    """Whether the rules are to be applied to an instance, whose file has this UUID, if known."""
    if known is None or not known.by_rule:
        return True
    return bool(file and known.files - {file, ""})
