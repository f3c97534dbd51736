"""Follows Orthanc's ``/changes`` and writes into the ledger what the rules want sent.

``GET /changes?since=N&limit=M`` (Orthanc's REST API) gives a log whose numbers outlive restarts,
and which proves nothing by itself: entries of deleted resources vanish from it, ``DELETE /changes``
empties it, an index that was restored goes on at an earlier number, and with several writers an
entry can become visible after those that follow it. So each page has to begin with the last change
that was read, unchanged; numbers that are missing are asked for again until they are old; and
wherever that proof fails, all instances of Orthanc are compared with the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration.options import DEFAULT_COMPARE_EVERY_SECONDS
from orthanc_gcp.custody.intake.identity import (
    NEVER,
    READ_MARGIN,
    Match,
    begin,
    compare,
    has_anything,
    is_apart,
    mark_of,
    marks_apart,
    recognize,
)
from orthanc_gcp.custody.intake.inventory import Inventory
from orthanc_gcp.custody.intake.loop_guard import LoopGuard
from orthanc_gcp.custody.intake.protection import Protection
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.errors import (
    OrthancError,
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
)
from orthanc_gcp.ledger.indexes import add_marks
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor, Mark, Missing, NewTransfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import Change, Changes, Description, OrthancSource, seconds_of

__all__ = ["Follower"]

_log = logging.getLogger(__name__)

SWEEP_EVERY = 15.0
"""Seconds until what is held, and what could not be read, is asked for again."""
COMPARE_AT_MOST_EVERY = 60.0
PAUSE_AFTER_PAGE = 0.5
"""For so many times as long as a page takes, nothing is compared after it: others come first."""
PROVEN_FOR = 10.0
"""Seconds for which it counts which index Orthanc was seen to have."""
RECOGNIZE_EVERY = 2.0
"""Seconds after which it is looked again, where no page has shown it, which index Orthanc has."""
OVERLAP = 20
"""Of so many changes that were read before, the remembered ones are looked at with each page."""
REFUSE_AFTER = 15.0
"""Seconds in which a worker learns whether another one follows an index, and reads what is new."""
COPY_WAITS = 900.0
"""Seconds without the original, after which a copy that was refused beside it takes its place."""
WANTED_FOR = 60.0
"""Seconds for which it counts that a worker has wanted to follow an index."""
SEEN_EVERY = 60.0
MISSING_FOR = 600.0
"""Seconds for which a number is asked for again that was missing among the changes."""
MISSING_ALONE_FOR = 30.0
"""The same where nobody else writes into the index: nothing becomes visible late."""
NEW_FOR = 86400.0
"""Seconds for which a study counts as new: an index may be read again from its beginning."""
NOTE_READ_EVERY = 60.0
SHOWN = 5
"""So many of them are named in a message."""
MOST_MISSING = 100
"""So many runs of numbers may be missing; with more, everything is compared."""
MOST_UNREADABLE, UNREADABLE_AT_ONCE = 1000, 200
"""So many instances may wait for Orthanc to be able to read them; with more, nothing goes on. And
so many are tried in one sweep."""
RETRY_FOR, RETRY_SHARE = 1.0, 10
"""Seconds after which no other one is tried in a sweep; and none for so many times as long."""
STABLE = ("StableSeries", "StableStudy")


@dataclass(frozen=True)
class _Found:
    """What some instances make for the ledger.

    Attributes
    ----------
    wanted
        Those that a rule wants, or may want as soon as their attributes can be read.
    unreadable
        Those whose attributes cannot be read, by Orthanc's identifiers.
    gone
        Those that Orthanc does not have any more.
    """

    arrivals: tuple[NewTransfer, ...]
    wanted: tuple[Description, ...]
    unreadable: tuple[str, ...]
    gone: tuple[str, ...]


class Follower:
    """Reads the changes of one Orthanc, from where the ledger says on.

    Parameters
    ----------
    on_arrival
        Called when instances were written down.
    since
        What Orthanc has received from then on is followed, where the ledger says nothing yet.
    was_down
        See :func:`orthanc_gcp.custody.intake.identity.begin`.
    address
        The same.
    compare_every
        Seconds between two comparisons of all that Orthanc has; the first is made at the start, and
        one that breaks off is made again a minute later.
    follows
        Whether it is this worker that follows the index that the ledger calls so.
    on_recognized
        Called when the ledger has what the index is recognized by, and since when it is followed.
    on_read
        Called now and then with a moment, in UTC seconds: all that Orthanc has received before it
        was read.
    protection
        Keeps Orthanc from recycling what is not sent.
    on_new_studies
        Called with the index and with studies, by Orthanc's identifiers, of which Orthanc has
        received the first instance of late: before that counts as read, and maybe again.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        rules: Rules,
        clock: Clock,
        on_arrival: Callable[[], None],
        since: float,
        *,
        was_down: bool = False,
        address: str = "",
        compare_every: float = DEFAULT_COMPARE_EVERY_SECONDS,
        follows: Callable[[str], bool] = lambda _source: True,
        on_recognized: Callable[[], None] = lambda: None,
        on_read: Callable[[float], None] = lambda _moment: None,
        protection: Protection | None = None,
        on_new_studies: Callable[[str, Sequence[str]], None] = lambda _source, _studies: None,
    ) -> None:
        self._on_new_studies = on_new_studies
        self._protection = protection
        self._ledger, self._orthanc, self._rules = ledger, orthanc, rules
        self._guard = LoopGuard(ledger, orthanc)
        self._clock, self._on_arrival = clock, on_arrival
        self._since, self._was_down, self._address = since, was_down, address
        self._follows = follows
        self._on_recognized, self._on_read = on_recognized, on_read
        self._name = self._source = self._before = self._candidate = self._begun = ""
        self._cursor: Cursor | None = None
        self._recognized = False
        self._recognized_at = self._seen_at = float("-inf")
        self._read_noted = self._read_before = float("-inf")
        self._newest_date = ""  # of all changes that were read, as far as that is known
        self._verified = float("-inf")
        self._refused_since: float | None = None
        self._refused, self._seen_before = "", 0.0
        self._restored = ""
        self._another_since: float | None = None
        self._away_since: float | None = None
        self._apart: tuple[int, float] | None = None
        self._asked_of, self._asked_at, self._wanted = "", float("-inf"), False
        self._others: set[str] = set()
        self._swept = self._retry_at = float("-inf")
        self._inventory, self._compare_every = Inventory(ledger, orthanc), compare_every
        self._compare_at = self._compared_for_gap = self._compare_next = float("-inf")
        self._comparing, self._missed = False, 0
        self._gap = self._another_gap = self._has_compared = False

    @property
    def source(self) -> str:
        """What the ledger calls the index of this Orthanc; empty until it was recognized."""
        return self._source

    @property
    def known(self) -> str:
        """The same as it was last recognized, while that cannot be seen any more, too."""
        return self._before

    @property
    def candidate(self) -> str:
        """The same, before it is known for sure: whoever follows that index can find out."""
        return self._candidate

    def step(self) -> bool:
        """Read one page of changes; whether there was something to do.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now, or has an index that is not to be followed;
            nothing was lost.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away; nothing was lost.
        """
        try:
            done = self._step()
        except OrthancError as error:
            self._recognized_at = float("-inf")  # another index may be there when it is back
            self._others.clear()
            if isinstance(error, OrthancUnavailableError | OrthancRefusedError):
                self._leave_to_others()
            raise
        self._away_since = None
        return done

    def _leave_to_others(self) -> None:
        """Where Orthanc stays away, another one may have the same index, and its worker follows it.

        Until this one is back, and for as long as that goes on.
        """
        now = self._clock.now()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since > REFUSE_AFTER:
            self._candidate = ""

    def _step(self) -> bool:
        follows = bool(self._source) and self._follows(self._source)
        if not follows:
            self._cursor = None
        age = self._clock.now() - self._recognized_at
        if age == float("inf") or (not follows and not 0 <= age < RECOGNIZE_EVERY):
            return self._recognize()
        if not follows:
            return False
        cursor = self._cursor or self._resume()
        if not cursor.marks and self._is_wanted(cursor.source):
            return self._recognize()
        asked = self._ledger.now()
        page = self._next_page(cursor)
        if not self._goes_on(page, cursor):
            return self._recognize()
        self._recognized_at = self._clock.now()
        news = page.last > cursor.seq
        if news:
            entries = [entry for entry in page.entries if entry.seq > cursor.seq]
            self._read(cursor, entries, page.last)
        else:
            self._note_read(cursor, asked)
        self._do_at_intervals()
        return news or self._compare(self._cursor or cursor)

    def is_index(self, source: str) -> bool:
        """Whether Orthanc has the index, as was seen just now, that the ledger calls so."""
        age = self._clock.now() - self._recognized_at
        return source == self._source and 0 <= age < PROVEN_FOR

    # -- Which index it is ----------------------------------------------------------------------

    def _recognize(self) -> bool:
        """Find out which index Orthanc has; whether it is known by now."""
        name, known = self._orthanc.name(), self._ledger.indexes.all()
        found = recognize(self._ledger, self._orthanc, name, known, self._others)
        if found is None:
            return self._begin(name, known)
        match, cursor = found
        if match.is_by_name and self._is_of_another(cursor.source):
            self._others.add(cursor.source)
            self._another_since = None
            self._source = self._candidate = ""
            return True
        return self._accept(match, cursor, name, known)

    def _accept(self, match: Match, cursor: Cursor, name: str, known: Sequence[Cursor]) -> bool:
        """Go on with an index, if that is for this worker to do."""
        if not match.is_by_name and self._is_copy_of_another(cursor):
            self._candidate = ""
            self._refuse(cursor)
            return False
        self._candidate = cursor.source
        follows = self._follows(cursor.source)
        if not follows and (match.is_by_name or not cursor.marks):
            # Only a name says that it is this one, and nothing of it can be sent yet.
            if not match.is_by_name and cursor.source != self._begun:
                self._ledger.indexes.want(cursor.source)
            self._source, self._recognized_at = "", self._clock.now()
            return False
        self._another_since = None
        if not follows and (match is Match.RESTORED or self._is_apart(cursor)):
            self._refuse(cursor)
            return False
        self._refused_since = None
        self._take(match, cursor, name, follows)
        if follows and self._cursor is not None and not self._cursor.marks:
            self._mark(self._cursor, known)
        return True

    def _begin(self, name: str, known: Sequence[Cursor]) -> bool:
        """Follow an index that the ledger does not know; whether it is known by now."""
        self._source = self._candidate = ""
        new = begin(
            self._ledger,
            self._orthanc,
            name,
            self._since,
            known,
            was_down=self._was_down,
            address=self._address,
        )
        if new is None:  # another worker was first, maybe with the same
            return True
        self._begun = new.source
        return self._accept(Match.WHOLE, new, name, [*known, new])

    def _is_of_another(self, source: str) -> bool:
        """Whether an index of which only the name is this one's is to be left to another worker."""
        return self._is_wanted(source) if self._follows(source) else self._is_another()

    def _is_wanted(self, source: str) -> bool:
        """Whether an Orthanc that has the files of an index waits to have it followed."""
        now = self._clock.now()
        if source != self._asked_of or not 0 <= now - self._asked_at < RECOGNIZE_EVERY:
            self._asked_of, self._asked_at = source, now
            self._wanted = self._ledger.indexes.is_wanted(source, WANTED_FOR)
        return self._wanted

    def _is_another(self) -> bool:
        """Whether an index has only its name in common with the one that another worker follows.

        What is in it that worker would have read by now, if it were the same.
        """
        now = self._clock.now()
        if not has_anything(self._orthanc):
            self._another_since = None
        elif self._another_since is None:
            self._another_since = now
        return self._another_since is not None and now - self._another_since > REFUSE_AFTER

    def _is_copy_of_another(self, cursor: Cursor) -> bool:
        """Whether an index was refused as a copy, and its original may be back at any moment.

        What waits of the original is not in the copy, and would count as gone.
        """
        marks = self._ledger.indexes.of_copy(cursor.source)
        was_refused = self._refused == cursor.source
        if not was_refused and not any(self._has(mark) for mark in marks):
            return False
        if cursor.seen_at is not None and self._ledger.now() - cursor.seen_at < COPY_WAITS:
            return True
        self._refused = ""
        self._ledger.indexes.note_copy(cursor.source, ())
        return False

    def _is_apart(self, cursor: Cursor) -> bool:
        """Whether this one has for some time what the worker that follows the index cannot see."""
        now = self._clock.now()
        if not is_apart(self._orthanc, cursor):
            self._apart = None
        elif self._apart is None or self._apart[0] != cursor.seq:
            self._apart = cursor.seq, now
        return self._apart is not None and now - self._apart[1] > REFUSE_AFTER

    def _take(self, match: Match, cursor: Cursor, name: str, follows: bool) -> None:
        if self._begun != cursor.source and self._was_known(self._begun):
            _log.warning("Orthanc %s has the index %s now", name, cursor.source)
        elif follows and name != cursor.name:  # of several Orthancs on an index, one names it
            _log.warning("Orthanc %s is now called %s: it has the same index", cursor.name, name)
        elif self._before and cursor.source != self._before:
            _log.warning("Orthanc %s has another index now: %s", name, cursor.source)
        if follows and cursor.since >= NEVER > self._since:
            # Its first rules, or its first worker, where a command was first.
            place, since = self._orthanc.place_before(self._since), self._since
            seq = min(cursor.seq, place)
            cursor = replace(cursor, seq=seq, since=since, read_until=since)
            self._ledger.arrivals.record([], cursor)
        if match.is_by_name:  # of another Orthanc, it may be
            cursor = replace(cursor, since=min(cursor.since, self._since))
        seen_as = (name, self._address) if follows else (cursor.name,)
        cursor = self._ledger.indexes.seen(cursor, *seen_as)
        if cursor.source != self._before:
            self._compare_at, self._comparing = float("-inf"), False
            self._has_compared, self._newest_date = False, ""
        self._name, self._source, self._before = name, cursor.source, cursor.source
        self._recognized_at = self._seen_at = self._clock.now()
        self._gap = self._ledger.arrivals.has_gap(self._source)
        if follows and match < Match.PARTIAL:
            self._open_gap()
        if match in (Match.EMPTIED, Match.RESTORED) or self._is_behind(cursor):
            self._start_over(cursor, is_emptied=match is Match.EMPTIED)
        else:
            self._cursor = cursor if follows else None
        self._recognized = False
        self._note_recognized(self._cursor or cursor)

    def _is_behind(self, cursor: Cursor) -> bool:
        return not cursor.marks and self._orthanc.last_change() < cursor.seq

    def _note_recognized(self, cursor: Cursor) -> None:
        """An index in which nothing was yet is known by a name, which may change: not for sure."""
        if cursor.marks and not self._recognized:
            self._on_recognized()
            self._recognized = True

    def _was_known(self, begun: str) -> bool:
        """Whether an index that was begun here turned out to be another Orthanc's as well."""
        self._begun = ""
        return bool(begun) and self._ledger.indexes.forget_unread(begun)

    def _mark(self, cursor: Cursor, known: Sequence[Cursor]) -> None:
        """Remember what an index is recognized by from now on, if there is anything in it."""
        marked = self._marked(cursor)
        if marked.marks and not self._ledger.indexes.mark(marked, known):
            # Another worker was first, maybe with the same one.
            self._source, self._cursor, self._recognized_at = "", None, float("-inf")
        elif marked.marks:
            self._cursor = marked
            self._note_recognized(marked)

    def _marked(self, cursor: Cursor) -> Cursor:
        newest = [mark_of(one) for one in self._orthanc.newest_changes()]
        return replace(cursor, marks=add_marks((), newest))

    def _refuse(self, cursor: Cursor) -> None:
        """Two Orthancs with what was one index: only one of them may go on with it.

        Raises
        ------
        OrthancError
            Another worker follows the index, or has just now, and this one is not the same.
        """
        self._source = ""
        now = self._clock.now()
        if self._refused_since is None:
            self._refused_since, self._seen_before = now, cursor.seen_at or 0.0
        elif now - self._refused_since > REFUSE_AFTER:
            if self._refused != cursor.source and (cursor.seen_at or 0.0) > self._seen_before:
                # The other worker is none that is gone, and whose lock lasts a little longer.
                self._refused = cursor.source
                self._ledger.indexes.note_copy(cursor.source, marks_apart(self._orthanc, cursor))
            raise OrthancError(
                f"its index is a copy, or an earlier state, of {cursor.source}, which another "
                "worker follows, or has within the last quarter of an hour: nothing of it is sent "
                "(orthanc-gcp indexes --separate makes it one of its own)"
            )

    def _resume(self) -> Cursor:
        """Go on where another worker may have read to meanwhile."""
        cursor = self._ledger.indexes.get(self._source)
        if cursor is None:
            raise OrthancError(f"the ledger has lost how far {self._source} was read")
        self._gap = self._ledger.arrivals.has_gap(self._source)
        self._cursor = cursor
        return cursor

    def _next_page(self, cursor: Cursor) -> Changes:
        """What follows, after some of what was read last: that it is there shows that all is."""
        begin = min([cursor.seq, *(mark.seq for mark in _read_last(cursor))]) - 1
        page = self._orthanc.changes(max(0, begin))
        if page.entries and page.last < cursor.seq:  # those after it are gone, or never were
            return self._orthanc.changes(cursor.seq - 1)
        return page

    def _goes_on(self, page: Changes, cursor: Cursor) -> bool:
        """Whether a page goes on where reading has ended, in the same index."""
        if page.last < cursor.seq or (page.entries and not cursor.marks):
            return False  # without marks nothing was there before: this may be another index
        there = {entry.seq: mark_of(entry) for entry in page.entries}
        same = {there[mark.seq] == mark for mark in cursor.marks if mark.seq in there}
        if same or not cursor.marks or cursor.marks[0].seq > cursor.seq:
            return False not in same
        # Orthanc forgets the changes of what is deleted.
        idle = page.last == cursor.seq and self._clock.now() - self._verified < RECOGNIZE_EVERY
        if idle:
            return True
        self._verified = self._clock.now()
        match = compare(self._ledger, self._orthanc, cursor, self._name)
        if match is Match.CLEARED and page.last > cursor.seq:  # what was read is missed by nobody
            self._open_gap()
        return match >= Match.CLEARED

    def _start_over(self, cursor: Cursor, *, is_emptied: bool) -> None:
        """The last change that was read is not there: from the last on that is."""
        _log.warning(
            "Orthanc's index %s is an earlier state of what it was: it is read again, and compared",
            cursor.source,
        )
        there = tuple(mark for mark in cursor.marks if self._has(mark))
        seq = there[0].seq if there else 0
        self._restored = cursor.source
        if not is_emptied:  # what was received behind that may be nowhere any more
            newest = [seconds_of(mark.date) for mark in (*there[:1], *cursor.marks[:1])]
            since = newest[0] if there else 0.0
            self._ledger.indexes.undo(cursor.source, since, max(self._ledger.now(), *newest, 0.0))
        restored = replace(cursor, seq=seq, marks=there, missing=())
        self._cursor = restored if there else self._marked(restored)
        self._ledger.arrivals.record([], self._cursor)

    def _has(self, mark: Mark) -> bool:
        page = self._orthanc.changes(max(0, mark.seq - 1), 1)
        return mark in [mark_of(one) for one in page.entries]

    def _open_gap(self) -> None:
        """Changes are gone that nobody has read: written down, for a crash must not hide it."""
        self._another_gap = self._gap
        if not self._gap:
            self._ledger.arrivals.open_gap(self._source)
            self._gap, self._comparing = True, False

    # -- What is new ----------------------------------------------------------------------------

    def _read(self, cursor: Cursor, entries: Sequence[Change], seq: int) -> None:
        missing = _missing(cursor, entries, seq, self._ledger.now())
        if len(missing) > MOST_MISSING:
            self._open_gap()
            self._report_missing(missing[:-MOST_MISSING])
            missing = missing[-MOST_MISSING:]
        marks = add_marks(cursor.marks, [mark_of(entry) for entry in entries])
        self._record(entries, replace(cursor, seq=seq, marks=marks, missing=missing))

    def _record(self, entries: Sequence[Change], cursor: Cursor) -> None:
        new = {entry.orthanc_id: entry.seq for entry in entries if entry.kind == "NewInstance"}
        found = self._transfers_of(list(new), new.get)
        if found.unreadable:
            self._remember_unreadable(found.unreadable)
        if found.gone:  # while they do not count as read: whatever fails now, they are said
            now = self._ledger.now()
            numbers = sorted(new[name] for name in found.gone)
            self._report_missing([Missing(number, number, now) for number in numbers])
        self._note_new_studies(entries)
        is_back = self._is_set_back(cursor, entries)
        self._ledger.arrivals.record(found.arrivals, cursor, set_back=is_back)
        self._cursor = cursor
        self._note_recognized(cursor)
        if self._restored == self._source:  # and now it may be what it was before
            self._ledger.arrivals.reopen(self._source, set(new).difference(found.gone))
        self._protect(found)
        stable = [entry.orthanc_id for entry in entries if entry.kind in STABLE]
        if stable:
            self._ledger.arrivals.release(self._source, stable)
        if found.arrivals or stable:
            self._on_arrival()

    def _is_set_back(self, cursor: Cursor, entries: Sequence[Change]) -> bool:
        """Whether some changes are older, by Orthanc's clock, than one that was before them."""
        read = {entry.seq for entry in entries}
        before = [mark.date for mark in cursor.marks if mark.seq not in read]
        newest, is_back = max((self._newest_date, *before)), False
        for entry in entries:
            is_back |= entry.date < newest
            newest = max(newest, entry.date)
        self._newest_date = newest
        return is_back

    def _note_new_studies(self, entries: Sequence[Change]) -> None:
        since = self._ledger.now() - NEW_FOR
        new = [
            entry.orthanc_id
            for entry in entries
            if entry.kind == "NewStudy" and seconds_of(entry.date) >= since
        ]
        if new:
            self._on_new_studies(self._source, new)

    def _protect(self, found: _Found) -> None:
        if self._protection is not None:
            self._protection.add(self._source, found.wanted)

    def _ask_for_missing(self) -> None:
        """A change of another writer can become visible after those with higher numbers."""
        cursor = self._cursor
        if cursor is None or not cursor.missing:
            return
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
            left = _between(found, gap.first - 1, gap.last, gap.noticed_at)
            (missing if young else never).extend(left)
        if never:
            self._report_missing(never)
        if late or len(missing) != len(cursor.missing):
            self._record(late, replace(cursor, missing=tuple(missing[-MOST_MISSING:])))

    def _transfers_of(
        self, resources: Sequence[str], change: Callable[[str], int | None], since: int = 0
    ) -> _Found:
        arrivals: list[NewTransfer] = []
        wanted: list[Description] = []
        found, unreadable = self._orthanc.describe_each(resources, since)
        described = {one.orthanc_id: one for one in found}
        for one in (described[name] for name in resources if name in described):
            own = self._arrivals_of(one, change(one.orthanc_id) or 0)
            if own is None:
                unreadable.append(one.orthanc_id)
            arrivals += own or ()
            if own or own is None:
                wanted.append(one)
        gone = set(resources) - described.keys() - set(unreadable)
        arrivals = self._guard.recognize(arrivals)
        retrieved = {one.orthanc_id for one in arrivals if one.retrieved_sha256 is not None}
        to_be_sent = {one.orthanc_id for one in arrivals if one.retrieved_sha256 is None}
        not_needed = retrieved - to_be_sent
        wanted = [one for one in wanted if one.orthanc_id not in not_needed]
        return _Found(tuple(arrivals), tuple(wanted), tuple(unreadable), tuple(gone))

    def _arrivals_of(self, one: Description, change: int) -> list[NewTransfer] | None:
        """What the rules make of an instance; None where its attributes cannot be read now."""
        try:
            return list(self._rules.arrivals(self._source, one, change, Priority.LIVE))
        except (OrthancGoneError, OrthancRefusedError):  # it is there, but not its file
            return None

    def _remember_unreadable(self, unreadable: Sequence[str]) -> None:
        """Remember instances that no rule can be applied to, so that they hold up nobody."""
        arrivals = self._ledger.arrivals
        known = {*arrivals.unreadable(self._source), *unreadable}
        if len(known) > MOST_UNREADABLE:
            raise OrthancError("Orthanc cannot read what it has stored")
        _log.error("Orthanc cannot read %d instances: they are tried again", len(unreadable))
        arrivals.change_unreadable(self._source, unreadable)

    def _retry_unreadable(self) -> None:
        """Try some again, those first that were not for longest; each may take Orthanc long."""
        began = self._clock.now()
        some = self._ledger.arrivals.unreadable(self._source)[:UNREADABLE_AT_ONCE]
        if not some or began < self._retry_at:
            return
        found: list[_Found] = []
        try:
            for name in some:
                found.append(self._transfers_of([name], lambda _: 0))
                if self._clock.now() - began > RETRY_FOR:
                    break
        except OrthancRefusedError:  # all of them, still: what is new goes on
            return
        now = self._clock.now()
        self._retry_at = now + RETRY_SHARE * (now - began)
        arrivals = [arrival for one in found for arrival in one.arrivals]
        self._ledger.arrivals.record(arrivals, other_versions=True)
        gone = [name for one in found for name in one.gone]
        if gone:
            self._report_gone(gone)
        # Others may have been added meanwhile, by a backfill.
        unreadable = [name for one in found for name in one.unreadable]
        self._ledger.arrivals.change_unreadable(self._source, unreadable, some[: len(found)])
        for one in found:
            self._protect(one)
        self._on_arrival()

    def _report_gone(self, gone: Sequence[str]) -> None:
        words = (
            f"{len(gone)} instances of Orthanc {self._source}, which it could not read, are not "
            f"there any more ({', '.join(gone[:SHOWN])}): whether a rule wants them is not known"
        )
        _log.error("%s", words)
        for account in sorted(self._rules.accounts):
            self._ledger.events.add(account, "changes missing", words)

    def _note_read(self, cursor: Cursor, asked: float) -> None:
        """Nothing followed when Orthanc was asked: from some time before on, nothing is unread."""
        before = asked - READ_MARGIN
        if asked > cursor.since:
            before = max(before, cursor.since)
        # After the clock was set back, what is received counts as older than what was read.
        is_back = before < self._read_before
        if not is_back and self._clock.now() - self._read_noted <= NOTE_READ_EVERY:
            return
        if not cursor.marks or not (is_back or self._is_all_read(cursor)):
            return
        self._read_noted, self._read_before = self._clock.now(), before
        self._cursor = replace(cursor, read_until=before)
        self._on_read(before)

    def _is_all_read(self, cursor: Cursor) -> bool:
        """Whether nothing is waited for of what was received before the last change."""
        if not self._has_compared:  # its changes may have been cleared while nobody read them
            return False
        waits = self._gap or cursor.missing or self._ledger.arrivals.unreadable(self._source)
        return not waits

    def _do_at_intervals(self) -> None:
        now = self._clock.now()
        if now - self._seen_at > SEEN_EVERY and self._cursor is not None:
            self._seen_at = now
            self._cursor = self._ledger.indexes.seen(self._cursor, self._name, self._address)
        if now - self._swept > SWEEP_EVERY:
            self._swept = now
            self._ask_for_missing()
            self._release_stable()
            self._retry_unreadable()
        if self._protection is not None:
            self._protection.step(self._source)

    def _release_stable(self) -> None:
        """A restarted Orthanc never reports that what it received before is stable: ask it."""
        held = self._ledger.arrivals.held(self._source)
        if held:
            self._ledger.arrivals.release(self._source, self._orthanc.stable(held))
            self._on_arrival()

    def _report_missing(self, never: Sequence[Missing]) -> None:
        """Changes that nobody has read, and nobody can read any more: what is known of them."""
        count = sum(gap.last - gap.first + 1 for gap in never)
        some = ", ".join(f"{gap.first} to {gap.last}" for gap in never[:SHOWN])
        recycled = self._protection is not None and self._protection.recycles()
        words = (
            f"{count} changes of Orthanc {self._source} were never there to be read ({some}): what "
            f"they reported was deleted{' or recycled' if recycled else ''} before, unless Orthanc "
            "has skipped the numbers"
        )
        _log.log(logging.ERROR if recycled else logging.WARNING, "%s", words)
        for account in sorted(self._rules.accounts):
            self._ledger.events.add(account, "changes missing", words)
            if recycled:
                self._ledger.arrivals.lose(
                    account, self._source, never[0].first, never[-1].last, count
                )

    # -- What the changes do not say ------------------------------------------------------------

    def _compare(self, cursor: Cursor) -> bool:
        """Compare some of what Orthanc has; whether more is to be compared at once."""
        now = self._clock.now()
        if not self._comparing:
            for_gap = self._gap and now - self._compared_for_gap > COMPARE_AT_MOST_EVERY
            if not for_gap and now < self._compare_at:
                return False
            if self._gap:
                self._compared_for_gap = now
            self._compare_at, self._comparing, self._missed = now + self._compare_every, True, 0
            self._another_gap = False
            self._inventory.begin(self._source)
        if now < self._compare_next and not self._gap:
            return True  # soon: a pause as after the last page would be longer than the rest
        try:
            found = self._inventory.step(cursor.seq)
            if found:
                self._add_missed(cursor, found)
        except Exception:  # the page counts as compared: only a new comparison comes back to it
            self._comparing = False
            self._compare_at = min(self._compare_at, now + COMPARE_AT_MOST_EVERY)
            raise
        if found is None:
            self._end_comparison()
            return False
        after = self._clock.now()
        self._compare_next = after + PAUSE_AFTER_PAGE * (after - now)
        return True

    def _add_missed(self, cursor: Cursor, found: list[str]) -> None:
        # Orthanc records whole seconds.
        missed = self._transfers_of(found, lambda _: 0, int(cursor.since))
        if missed.unreadable:
            self._remember_unreadable(missed.unreadable)
        if missed.arrivals:
            self._missed += self._ledger.arrivals.record(missed.arrivals, other_versions=True)
            self._protect(missed)
            self._on_arrival()

    def _end_comparison(self) -> None:
        self._comparing, self._has_compared = False, True
        self._missed += self._inventory.returned
        if self._missed:
            _log.warning(
                "%d transfers were missing in the ledger, or of an older version, though Orthanc's "
                "changes do not say so: they are added",
                self._missed,
            )
            self._on_arrival()
        if self._gap and not self._another_gap:  # whose instances came behind what was compared
            self._ledger.arrivals.close_gap(self._source)
            self._gap = False


def _read_last(cursor: Cursor) -> list[Mark]:
    return [mark for mark in cursor.marks if cursor.seq - OVERLAP <= mark.seq <= cursor.seq]


def _missing(
    cursor: Cursor, entries: Sequence[Change], last: int, now: float
) -> tuple[Missing, ...]:
    """The numbers that are not there up to the last of a page, with those of before."""
    new = _between(entries, cursor.seq, last, now)
    return (*cursor.missing, *new)


def _between(
    entries: Sequence[Change], after: int, last: int, noticed_at: float
) -> Iterator[Missing]:
    for number in (*(entry.seq for entry in entries), last + 1):
        if number > after + 1:
            yield Missing(after + 1, number - 1, noticed_at)
        after = number
