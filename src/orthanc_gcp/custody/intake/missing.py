"""Numbers that are missing among Orthanc's changes.

A change of another writer can become visible after those with higher numbers: so it is asked for
again, until that has to have happened. What is missing then was deleted before it was read, or
recycled, or never was; a number says nothing of what it would have reported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orthanc_gcp.custody.intake.protection import Protection
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor, Missing
from orthanc_gcp.orthanc.resources import Change, OrthancSource

__all__ = ["MISSING_ALONE_FOR", "MOST_MISSING", "Late", "MissingChanges", "missing_between"]

_log = logging.getLogger(__name__)

MISSING_FOR = 600.0
"""Seconds for which a number is asked for again that was missing among the changes."""
MISSING_ALONE_FOR = 30.0
"""The same where nobody else writes into the index: nothing becomes visible late."""
MOST_MISSING = 100
"""So many runs of numbers may be missing; with more, everything is compared."""
_SHOWN = 5
"""So many of them are named in a message."""


@dataclass(frozen=True)
class Late:
    """What became of numbers that were missing.

    Attributes
    ----------
    entries
        The changes that have become visible.
    missing
        What is asked for again.
    """

    entries: list[Change]
    missing: tuple[Missing, ...]


class MissingChanges:
    """Asks for missing changes again, and says which ones will never be there.

    Every method raises OrthancError when Orthanc cannot be read from just now, and SQLAlchemyError
    when the ledger is away.
    """

    def __init__(
        self, ledger: Ledger, orthanc: OrthancSource, rules: Rules, protection: Protection | None
    ) -> None:
        self._ledger, self._orthanc, self._rules = ledger, orthanc, rules
        self._protection = protection

    def ask_again(self, cursor: Cursor) -> Late | None:
        """Ask for what is missing of an index; None if nothing has changed.

        What is too old to become visible is said, and asked for no more.
        """
        now = self._ledger.now()
        asked_for = MISSING_FOR if self._orthanc.may_share_its_index() else MISSING_ALONE_FOR
        late: list[Change] = []
        missing: list[Missing] = []
        never: list[Missing] = []
        for gap in cursor.missing:
            page = self._orthanc.changes(gap.first - 1)
            found = [entry for entry in page.entries if entry.seq <= gap.last]
            late += found
            young = 0 <= now - gap.noticed_at < asked_for
            left = missing_between(found, gap.first - 1, gap.last, gap.noticed_at)
            (missing if young else never).extend(left)
        if never:
            self.report(cursor.source, never)
        if not late and len(missing) == len(cursor.missing):
            return None
        return Late(late, tuple(missing[-MOST_MISSING:]))

    def report(self, source: str, never: Sequence[Missing]) -> None:
        """Say what is known of changes that nobody has read, and nobody can read any more."""
        count = sum(gap.last - gap.first + 1 for gap in never)
        some = ", ".join(f"{gap.first} to {gap.last}" for gap in never[:_SHOWN])
        recycled = self._protection is not None and self._protection.recycles()
        words = (
            f"{count} changes of Orthanc {source} were never there to be read ({some}): what "
            f"they reported was deleted{' or recycled' if recycled else ''} before, unless Orthanc "
            "has skipped the numbers"
        )
        _log.log(logging.ERROR if recycled else logging.WARNING, "%s", words)
        self._ledger.events.add_to_each(self._rules.accounts, "changes missing", words)
        for account in sorted(self._rules.accounts) if recycled else ():
            self._ledger.arrivals.lose(account, source, never[0].first, never[-1].last, count)

    def report_cleared(self, source: str, first: int, last: int) -> None:
        """Say that somebody has cleared changes of these numbers, if any, that nobody has read."""
        if first > last:
            return
        words = (
            f"the changes of Orthanc {source} were cleared before {last - first + 1} of them were "
            f"read ({first} to {last}): all that it has is compared"
        )
        _log.warning("%s", words)
        self._ledger.events.add_to_each(self._rules.accounts, "changes cleared", words)


def missing_between(
    entries: Sequence[Change], after: int, last: int, noticed_at: float
) -> Iterator[Missing]:
    """The numbers after one, up to another, that no change has."""
    for number in (*(entry.seq for entry in entries), last + 1):
        if number > after + 1:
            yield Missing(after + 1, number - 1, noticed_at)
        after = number
