"""Which index an Orthanc has now, and whether this worker may follow it.

Which one it is, is found by what was read of it (:mod:`orthanc_gcp.custody.intake.identity`). That
is not enough to go on with it: of two Orthancs one may have a copy of the other's index, or only
its name, and what is sent for the one must not be taken from the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.intake.identity import (
    NEVER,
    Match,
    begin,
    has_anything,
    has_mark,
    is_apart,
    marks_apart,
    recognize,
)
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = [
    "COPY_WAITS",
    "PROVEN_FOR",
    "RECOGNIZE_EVERY",
    "REFUSE_AFTER",
    "Accepted",
    "Pending",
    "Recognition",
]

_log = logging.getLogger(__name__)

PROVEN_FOR = 10.0
"""Seconds for which it counts which index Orthanc was seen to have."""
RECOGNIZE_EVERY = 2.0
"""Seconds after which it is looked again, where no page has shown it, which index Orthanc has."""
REFUSE_AFTER = 15.0
"""Seconds in which a worker learns whether another one follows an index, and reads what is new."""
COPY_WAITS = 900.0
"""Seconds without the original, after which a copy that was refused beside it takes its place."""
_WANTED_FOR = 60.0
"""Seconds for which it counts that a worker has wanted to follow an index."""


@dataclass(frozen=True)
class Accepted:
    """An index that an Orthanc has, and that is not another one's.

    Attributes
    ----------
    match
        How what Orthanc has compares with what was read of it.
    cursor
        How far it was read.
    known
        All indexes that it was compared with.
    name
        What the Orthanc is called.
    follows
        Whether this worker follows it.
    """

    match: Match
    cursor: Cursor
    known: Sequence[Cursor]
    name: str
    follows: bool


class Pending(Enum):
    """Why there is no index to go on with yet."""

    AGAIN = auto()
    """What Orthanc's was compared with is out of date: it is compared anew at once."""
    WAITS = auto()
    """Another worker follows the index, or has until just now."""


class Recognition:
    """Which index an Orthanc has, as it was last seen.

    Parameters
    ----------
    since
        What Orthanc has received from then on is followed, where the ledger says nothing yet.
    follows
        Whether it is this worker that follows the index that the ledger calls so.
    was_down, address
        See :func:`orthanc_gcp.custody.intake.identity.begin`.

    Attributes
    ----------
    source
        What the ledger calls the index; empty until it was recognized.
    known
        The same as it was last recognized, while that cannot be seen any more, too.
    candidate
        The same, before it is known for sure: whoever follows that index can find out.
    name
        What the Orthanc was called then.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        clock: Clock,
        since: float,
        follows: Callable[[str], bool],
        *,
        was_down: bool,
        address: str,
    ) -> None:
        self._ledger, self._orthanc, self._clock = ledger, orthanc, clock
        self._since, self._was_down, self.address = since, was_down, address
        self._follows = follows
        self.source = self.known = self.candidate = self.name = ""
        self._begun = ""  # an index that was begun here, and may turn out to be a known one
        self._proven_at = float("-inf")
        self._away_since: float | None = None
        self._namesakes = _Namesakes(ledger, orthanc, clock)
        self._copies = _Copies(ledger, orthanc, clock)

    @property
    def follows(self) -> bool:
        """Whether this worker follows the index that was recognized."""
        return bool(self.source) and self._follows(self.source)

    def is_due(self, *, follows: bool) -> bool:
        """Whether it is to be looked, before anything is read, which index Orthanc has."""
        age = self._clock.now() - self._proven_at
        return age == float("inf") or (not follows and not 0 <= age < RECOGNIZE_EVERY)

    def is_index(self, source: str) -> bool:
        """Whether Orthanc has the index, as was seen just now, that the ledger calls so."""
        return source == self.source and 0 <= self._clock.now() - self._proven_at < PROVEN_FOR

    def is_wanted(self, source: str) -> bool:
        """Whether an Orthanc that has the files of an index waits to have it followed."""
        return self._namesakes.is_wanted(source)

    def settle(self, found: Accepted) -> None:
        """Go on with an index: what others have to know of it first is written down."""
        self.name, self.source, self.known = found.name, found.cursor.source, found.cursor.source
        self._proven_at = self._clock.now()

    def confirm(self) -> None:
        """Orthanc was seen to have the index still."""
        self._proven_at = self._clock.now()

    def forget(self) -> None:
        """The index that was recognized is not to be followed as that."""
        self.source, self._proven_at = "", float("-inf")

    def note_failure(self, *, is_away: bool) -> None:
        """Orthanc cannot be read from: another index may be there when it is back.

        Where it stays away, another one may have the same index, and its worker follows it: until
        this one is back, and for as long as that goes on.
        """
        self._proven_at = float("-inf")
        self._namesakes.found.clear()
        if not is_away:
            return
        now = self._clock.now()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since > REFUSE_AFTER:
            self.candidate = ""

    def note_success(self) -> None:
        """Orthanc can be read from."""
        self._away_since = None

    def find(self) -> Accepted | Pending:
        """Which index Orthanc has, if it is known and not another one's: it is not settled by it.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now, or its index is a copy that is not to be followed.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        name, known = self._orthanc.name(), self._ledger.indexes.all()
        found = recognize(self._ledger, self._orthanc, name, known, self._namesakes.found)
        if found is None:
            return self._begin(name, known)
        match, cursor = found
        if match.is_by_name and self._is_of_another(cursor.source):
            self._namesakes.add(cursor.source)
            self.source = self.candidate = ""
            return Pending.AGAIN
        return self._accept(match, cursor, name, known)

    def _begin(self, name: str, known: Sequence[Cursor]) -> Accepted | Pending:
        """Follow an index that the ledger does not know."""
        self.source = self.candidate = ""
        new = begin(
            self._ledger,
            self._orthanc,
            name,
            self._since,
            known,
            was_down=self._was_down,
            address=self.address,
        )
        if new is None:  # another worker was first, maybe with the same
            return Pending.AGAIN
        self._begun = new.source
        return self._accept(Match.WHOLE, new, name, [*known, new])

    def _is_of_another(self, source: str) -> bool:
        """Whether an index of which only the name is this one's is to be left to another worker."""
        if self._follows(source):
            return self._namesakes.is_wanted(source)
        return self._namesakes.is_unread_for_long()

    def _accept(
        self, match: Match, cursor: Cursor, name: str, known: Sequence[Cursor]
    ) -> Accepted | Pending:
        """Go on with an index, if that is for this worker to do."""
        if not match.is_by_name and self._copies.waits_for_original(cursor):
            self.candidate = ""
            return self._refuse(cursor)
        self.candidate = cursor.source
        follows = self._follows(cursor.source)
        if not follows and (match.is_by_name or not cursor.marks):
            # Only a name says that it is this one, and nothing of it can be sent yet.
            if not match.is_by_name and cursor.source != self._begun:
                self._ledger.indexes.want(cursor.source)
            self.source, self._proven_at = "", self._clock.now()
            return Pending.WAITS
        self._namesakes.end()
        if not follows and (match is Match.RESTORED or self._copies.is_apart(cursor)):
            return self._refuse(cursor)
        self._copies.end()
        self._say_what_changed(cursor, name, follows=follows)
        cursor = self._seen(match, cursor, name, follows=follows)
        if match is Match.RESTORED or cursor.source != self.source:
            self.forget()
        return Accepted(match, cursor, known, name, follows)

    def _refuse(self, cursor: Cursor) -> Pending:
        self.source = ""
        self._copies.refuse(cursor)
        return Pending.WAITS

    def _say_what_changed(self, cursor: Cursor, name: str, *, follows: bool) -> None:
        if self._begun != cursor.source and self._was_known(self._begun):
            _log.warning("Orthanc %s has the index %s now", name, cursor.source)
        elif follows and name != cursor.name:  # of several Orthancs on an index, one names it
            _log.warning("Orthanc %s is now called %s: it has the same index", cursor.name, name)
        elif self.known and cursor.source != self.known:
            _log.warning("Orthanc %s has another index now: %s", name, cursor.source)

    def _was_known(self, begun: str) -> bool:
        """Whether an index that was begun here turned out to be another Orthanc's as well."""
        self._begun = ""
        return bool(begun) and self._ledger.indexes.forget_unread(begun)

    def _seen(self, match: Match, cursor: Cursor, name: str, *, follows: bool) -> Cursor:
        """How far the index was read, for these rules; written down that it is followed."""
        if follows and cursor.since >= NEVER > self._since:
            # Its first rules, or its first worker, where a command was first.
            place, since = self._orthanc.place_before(self._since), self._since
            seq = min(cursor.seq, place)
            cursor = replace(cursor, seq=seq, since=since, read_until=since)
            self._ledger.arrivals.record([], cursor)
        if match.is_by_name:  # of another Orthanc, it may be
            cursor = replace(cursor, since=min(cursor.since, self._since))
        # Who only could follow it does not count: nobody might read what it receives.
        return self._ledger.indexes.seen(cursor, name, self.address) if follows else cursor


class _Namesakes:
    """Indexes of which nothing but the name says that an Orthanc has them.

    Attributes
    ----------
    found
        Those that are another Orthanc's, as far as only a name says otherwise.
    """

    def __init__(self, ledger: Ledger, orthanc: OrthancSource, clock: Clock) -> None:
        self._ledger, self._orthanc, self._clock = ledger, orthanc, clock
        self.found: set[str] = set()
        self._unread_since: float | None = None
        self._asked_of, self._asked_at, self._wanted = "", float("-inf"), False

    def add(self, source: str) -> None:
        """An index is another Orthanc's."""
        self.found.add(source)
        self._unread_since = None

    def end(self) -> None:
        """What Orthanc has, says by itself which index it is."""
        self._unread_since = None

    def is_wanted(self, source: str) -> bool:
        """Whether an Orthanc that has the files of an index waits to have it followed."""
        now = self._clock.now()
        if source != self._asked_of or not 0 <= now - self._asked_at < RECOGNIZE_EVERY:
            self._asked_of, self._asked_at = source, now
            self._wanted = self._ledger.indexes.is_wanted(source, _WANTED_FOR)
        return self._wanted

    def is_unread_for_long(self) -> bool:
        """Whether an index has something for longer than whoever follows it needs to read it.

        So that it is not the one of its name.
        """
        now = self._clock.now()
        if not has_anything(self._orthanc):
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        return self._unread_since is not None and now - self._unread_since > REFUSE_AFTER


class _Copies:
    """Two Orthancs with what was one index: only one of them may go on with it."""

    def __init__(self, ledger: Ledger, orthanc: OrthancSource, clock: Clock) -> None:
        self._ledger, self._orthanc, self._clock = ledger, orthanc, clock
        self._refused_since: float | None = None
        self._refused, self._original_seen_at = "", 0.0
        self._apart: tuple[int, float] | None = None

    def waits_for_original(self, cursor: Cursor) -> bool:
        """Whether an index was refused as a copy, and its original may be back at any moment.

        What waits of the original is not in the copy, and would count as gone.
        """
        marks = self._ledger.indexes.of_copy(cursor.source)
        was_refused = self._refused == cursor.source
        if not was_refused and not any(has_mark(self._orthanc, mark) for mark in marks):
            return False
        if cursor.seen_at is not None and self._ledger.now() - cursor.seen_at < COPY_WAITS:
            return True
        self._refused = ""
        self._ledger.indexes.note_copy(cursor.source, ())
        return False

    def is_apart(self, cursor: Cursor) -> bool:
        """Whether this one has for some time what the worker that follows the index cannot see."""
        now = self._clock.now()
        if not is_apart(self._orthanc, cursor):
            self._apart = None
        elif self._apart is None or self._apart[0] != cursor.seq:
            self._apart = cursor.seq, now
        return self._apart is not None and now - self._apart[1] > REFUSE_AFTER

    def end(self) -> None:
        """It is the index itself."""
        self._refused_since = None

    def refuse(self, cursor: Cursor) -> None:
        """Another worker follows the index, or has just now, and this one is not the same.

        Raises
        ------
        OrthancError
            It is so for longer than the lock of a worker lasts that is gone.
        """
        now = self._clock.now()
        if self._refused_since is None:
            self._refused_since, self._original_seen_at = now, cursor.seen_at or 0.0
        elif now - self._refused_since > REFUSE_AFTER:
            seen_since = (cursor.seen_at or 0.0) > self._original_seen_at
            if self._refused != cursor.source and seen_since:
                # The other worker is none that is gone, and whose lock lasts a little longer.
                self._refused = cursor.source
                self._ledger.indexes.note_copy(cursor.source, marks_apart(self._orthanc, cursor))
            raise OrthancError(
                f"its index is a copy, or an earlier state, of {cursor.source}, which another "
                "worker follows, or has within the last quarter of an hour: nothing of it is sent "
                "(orthanc-gcp indexes --separate makes it one of its own)"
            )
