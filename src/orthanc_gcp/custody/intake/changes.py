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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration.options import DEFAULT_COMPARE_EVERY_SECONDS
from orthanc_gcp.custody.intake.identity import (
    READ_MARGIN,
    Match,
    compare,
    has_mark,
    lacks_changes,
    mark_of,
    newest_received,
)
from orthanc_gcp.custody.intake.inventory import Comparison
from orthanc_gcp.custody.intake.missing import MOST_MISSING, MissingChanges, missing_between
from orthanc_gcp.custody.intake.protection import Protection
from orthanc_gcp.custody.intake.recognition import (
    RECOGNIZE_EVERY,
    REFUSE_AFTER,
    Accepted,
    Pending,
    Recognition,
)
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.custody.intake.selection import (
    Selection,
    Selector,
    TooManyUnreadableError,
    Unreadable,
)
from orthanc_gcp.errors import OrthancError, OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.ledger.indexes import SetBackError, add_marks
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor, Mark, Missing
from orthanc_gcp.orthanc.resources import Change, Changes, OrthancSource, seconds_of

__all__ = ["NEW_FOR", "NOTE_READ_EVERY", "SEEN_EVERY", "SWEEP_EVERY", "Follower"]

_log = logging.getLogger(__name__)

SWEEP_EVERY = 15.0
"""Seconds until what is held, and what could not be read, is asked for again."""
SEEN_EVERY = 60.0
"""Seconds until it is written down again that an Orthanc has the index."""
OVERLAP = 20
"""Of so many changes that were read before, the remembered ones are looked at with each page."""
NEW_FOR = 86400.0
"""Seconds for which a study counts as new: an index may be read again from its beginning."""
NOTE_READ_EVERY = 60.0
_FAILED_FOR = 2 * REFUSE_AFTER
"""Seconds for which it counts that an index could not be read, after it was let go."""
_STABLE = ("StableSeries", "StableStudy")


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
        self._ledger, self._orthanc, self._clock = ledger, orthanc, clock
        self._on_arrival, self._on_new_studies = on_arrival, on_new_studies
        self._on_recognized, self._on_read = on_recognized, on_read
        self._protection = protection
        self._recognition = Recognition(
            ledger, orthanc, clock, since, follows, was_down=was_down, address=address
        )
        self._pages = _Pages(ledger, orthanc, clock)
        self._missing = MissingChanges(ledger, orthanc, rules, protection)
        self._selector = Selector(ledger, orthanc, rules)
        self._unreadable = Unreadable(ledger, clock, rules, self._selector)
        self._comparison = Comparison(
            ledger, orthanc, clock, compare_every, self._add_missed, on_arrival
        )
        self._dates, self._read_until = _Dates(), _ReadUntil(clock)
        self._cursor: Cursor | None = None
        self._is_noted = False  # that the index was recognized
        self._let_go_at: Cursor | None = None
        self._undone: tuple[str, Collection[Sequence[float]]] | None = None
        self._read_before = _ReadBefore()
        self._failure: tuple[OrthancError, float] | None = None
        self._seen_at = self._swept_at = float("-inf")

    @property
    def source(self) -> str:
        """What the ledger calls the index of this Orthanc; empty until it was recognized."""
        return self._recognition.source

    @property
    def known(self) -> str:
        """The same as it was last recognized, while that cannot be seen any more, too."""
        return self._recognition.known

    @property
    def candidate(self) -> str:
        """The same, before it is known for sure: whoever follows that index can find out."""
        return self._recognition.candidate

    @property
    def cannot_read(self) -> bool:
        """Whether what this worker follows, and no other, cannot be read, though it is there."""
        return self._failed_lately() is not None

    def is_index(self, source: str) -> bool:
        """Whether Orthanc has the index, as was seen just now, that the ledger calls so."""
        return self._recognition.is_index(source)

    def undone(self, source: str) -> Collection[Sequence[float]]:
        """The times of which an index may have nothing any more, as the ledger has them.

        They are remembered while this worker follows the index: no other one finds out more then.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        remembered = self._undone
        if remembered is not None and remembered[0] == source:
            return remembered[1]
        return self._ledger.indexes.undone(source)

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
        except SetBackError:  # it is gone on from where the ledger is
            self._let_go()
            done = True
        except OrthancError as error:
            is_away = isinstance(error, OrthancUnavailableError | OrthancRefusedError)
            self._recognition.note_failure(is_away=is_away)
            raise
        if not self._recognition.follows and (failure := self._failed_lately()):
            # This worker may follow it again at once: it has not succeeded with what had failed.
            raise failure.with_traceback(None)
        self._failure = None
        self._recognition.note_success()
        return done

    def _step(self) -> bool:
        follows = self._recognition.follows
        if not follows:
            self._let_go()
        if self._recognition.is_due(follows=follows):
            done = self._recognize()
            if self._failure is None:
                return done
            follows = self._recognition.follows
        return follows and self._follow_or_note()

    def _follow_or_note(self) -> bool:
        try:
            return self._follow()
        except OrthancError as error:
            self._failure = error, self._clock.now()
            raise

    def _failed_lately(self) -> OrthancError | None:
        """Why what was followed could not be read, if that was just now."""
        failure = self._failure  # asked for by other threads, too
        if failure is None:
            return None
        error, failed_at = failure
        return error if 0 <= self._clock.now() - failed_at < _FAILED_FOR else None

    def _follow(self) -> bool:
        cursor = self._cursor or self._resume()
        if not cursor.marks and self._recognition.is_wanted(cursor.source):
            return self._recognize()
        asked = self._ledger.now()
        page = self._pages.after(cursor)
        match = self._pages.compare(page, cursor, self._recognition.name)
        if match < Match.CLEARED:
            return self._recognize()
        news = page.last > cursor.seq
        were_cleared = False
        if news and match is Match.CLEARED:  # what was read before is missed by nobody
            self._comparison.open_gap()
            were_cleared = self._were_cleared(cursor)
        self._recognition.confirm()
        try:
            if news:
                self._read(cursor, page, were_cleared=were_cleared)
            else:
                self._note_read(cursor, asked)
        except TooManyUnreadableError:
            self._sweep()  # which may make room; it does not count as followed meanwhile
            raise
        self._do_at_intervals()
        more = self._comparison.step(self._cursor or cursor, has_news=news)
        return news or more

    # -- Where reading begins -------------------------------------------------------------------

    def _recognize(self) -> bool:
        """Find out which index Orthanc has; whether it is known by now, or soon."""
        found = self._recognition.find()
        if isinstance(found, Pending):
            return found is Pending.AGAIN
        self._take(found)
        return True

    def _take(self, found: Accepted) -> None:
        self._seen_at = self._clock.now()
        self._comparison.turn_to(found.cursor.source, was_read_on=self._cursor is None)
        if found.follows and found.match < Match.PARTIAL:
            self._comparison.open_gap()
        if found.match is Match.EMPTIED:
            self._go_on_emptied(found.cursor)
        elif found.match is Match.RESTORED or self._is_behind(found.cursor):
            self._start_over(found.cursor)
        elif found.follows:
            self._go_on_with(found.cursor)
        else:
            self._let_go()
        self._recognition.settle(found)
        self._is_noted = False
        self._note_recognized(self._cursor or found.cursor)
        if found.follows and self._cursor is not None and not self._cursor.marks:
            self._mark(self._cursor, found.known)

    def _is_behind(self, cursor: Cursor) -> bool:
        return not cursor.marks and self._orthanc.last_change() < cursor.seq

    def _go_on_emptied(self, cursor: Cursor) -> None:
        """Nothing of what was read is there any more, and the numbers of the changes go on."""
        _log.info(
            "Orthanc has nothing of its index %s any more that was read: what it has is compared",
            cursor.source,
        )
        self._take_up(self._marked(replace(cursor, marks=())))

    def _start_over(self, cursor: Cursor) -> None:
        """The last change that was read is not there: from the last on that is."""
        _log.warning(
            "Orthanc's index %s is an earlier state of what it was: it is read again, and compared",
            cursor.source,
        )
        there = tuple(mark for mark in cursor.marks if has_mark(self._orthanc, mark))
        seq = there[0].seq if there else 0
        self._read_before.add(cursor)
        # What was received behind that may be nowhere any more.
        source, newest = cursor.source, [seconds_of(mark.date) for mark in cursor.marks[:1]]
        if there:
            since = seconds_of(there[0].date)
        else:  # its changes were cleared, too
            since = newest_received(self._ledger, self._orthanc, source)
        self._undone = None
        self._ledger.indexes.undo(source, since, max(self._ledger.now(), since, *newest))
        self._undone = source, self._ledger.indexes.undone(source)
        restored = replace(cursor, seq=seq, marks=there, missing=())
        self._take_up(restored if there else self._marked(restored))

    def _take_up(self, cursor: Cursor) -> None:
        """Go on from elsewhere than the ledger says: written down."""
        self._let_go_at = None
        self._cursor = cursor
        self._ledger.arrivals.record([], cursor)

    def _mark(self, cursor: Cursor, known: Sequence[Cursor]) -> None:
        """Remember what an index is recognized by from now on, if there is anything in it."""
        marked = self._marked(cursor)
        if marked.marks and not self._ledger.indexes.mark(marked, known):
            # Another worker was first, maybe with the same one.
            self._cursor = self._undone = None
            self._recognition.forget()
        elif marked.marks:
            self._cursor = marked
            self._note_recognized(marked)

    def _marked(self, cursor: Cursor) -> Cursor:
        newest = [mark_of(one) for one in self._orthanc.newest_changes()]
        return replace(cursor, marks=add_marks((), newest))

    def _note_recognized(self, cursor: Cursor) -> None:
        """An index in which nothing was yet is known by a name, which may change: not for sure."""
        if cursor.marks and not self._is_noted:
            self._on_recognized()
            self._is_noted = True

    def _resume(self) -> Cursor:
        """Go on where another worker may have read to meanwhile."""
        cursor = self._ledger.indexes.get(self.source)
        if cursor is None:
            raise OrthancError(f"the ledger has lost how far {self.source} was read")
        self._comparison.turn_to(self.source, was_read_on=True)
        self._go_on_with(cursor)
        return cursor

    def _let_go(self) -> None:
        """Another worker may read on from where this one has; or has already."""
        self._let_go_at, self._cursor = self._cursor or self._let_go_at, None
        self._undone = None

    def _go_on_with(self, cursor: Cursor) -> None:
        """Read on from where the ledger is."""
        self._let_go()
        before, self._let_go_at = self._let_go_at, None
        if before is not None and before.source == cursor.source and cursor.seq < before.seq:
            _log.warning(
                "the ledger is an earlier state of what it was: %s is read again", cursor.source
            )
            self._comparison.open_gap()  # what was found by none of its changes
        self._undone = cursor.source, self._ledger.indexes.undone(cursor.source)
        self._cursor = cursor

    # -- What is new ----------------------------------------------------------------------------

    def _were_cleared(self, cursor: Cursor) -> bool:
        """Whether all changes that were read are gone, though something of them is there.

        What is deleted, or recycled, takes along no changes but its own. What was read before they
        were cleared once shows nothing any more.
        """
        oldest = self._orthanc.changes(0, 1).entries
        if any(entry.seq <= cursor.seq for entry in oldest):
            return False
        source, indexes = cursor.source, self._ledger.indexes
        before = indexes.cleared_to(source)
        if before == cursor.seq:  # as was seen, and nothing could be read since
            return True
        if not lacks_changes(self._ledger, self._orthanc, source, before):
            return False
        indexes.note_cleared(source, cursor.seq)
        return True

    def _read(self, cursor: Cursor, page: Changes, *, were_cleared: bool) -> None:
        entries = [entry for entry in page.entries if entry.seq > cursor.seq]
        after = cursor.seq
        if were_cleared:  # the comparison finds what those before have reported
            after = entries[0].seq - 1 if entries else page.last
            self._missing.report_cleared(cursor.source, cursor.seq + 1, after)
        new = missing_between(entries, after, page.last, self._ledger.now())
        missing = (*cursor.missing, *new)
        if len(missing) > MOST_MISSING:
            self._comparison.open_gap()
            self._missing.report(cursor.source, missing[:-MOST_MISSING])
            missing = missing[-MOST_MISSING:]
        marks = add_marks(cursor.marks, [mark_of(entry) for entry in entries])
        self._record(entries, replace(cursor, seq=page.last, marks=marks, missing=missing))

    def _record(self, entries: Sequence[Change], cursor: Cursor) -> None:
        """Write down what some changes report, with how far they were read."""
        source = cursor.source
        new = {entry.orthanc_id: entry.seq for entry in entries if entry.kind == "NewInstance"}
        found = self._selector.select(source, list(new), new.get)
        if found.unreadable:
            self._unreadable.remember(source, found.unreadable)
        if found.gone:  # while they do not count as read: whatever fails now, they are said
            now = self._ledger.now()
            numbers = sorted(new[name] for name in found.gone)
            self._missing.report(source, [Missing(number, number, now) for number in numbers])
        self._note_new_studies(source, entries)
        is_back = self._dates.are_set_back(cursor, entries)
        read_to = self._cursor.seq if self._cursor else None
        self._ledger.arrivals.record(found.arrivals, cursor, read_to=read_to, set_back=is_back)
        self._cursor = cursor
        self._note_recognized(cursor)
        again = self._read_before.among(source, new) - set(found.gone)
        if again:  # and now it may be what it was before
            self._ledger.arrivals.reopen(source, again)
        self._protect(found)
        stable = [entry.orthanc_id for entry in entries if entry.kind in _STABLE]
        if stable:
            self._ledger.arrivals.release(source, stable)
        if found.arrivals or stable:
            self._on_arrival()

    def _note_new_studies(self, source: str, entries: Sequence[Change]) -> None:
        since = self._ledger.now() - NEW_FOR
        new = [
            entry.orthanc_id
            for entry in entries
            if entry.kind == "NewStudy" and seconds_of(entry.date) >= since
        ]
        if new:
            self._on_new_studies(source, new)

    def _protect(self, found: Selection) -> None:
        if self._protection is not None:
            self._protection.add(self.source, found.wanted)

    def _add_missed(self, cursor: Cursor, names: list[str]) -> int:
        """Write down instances that a comparison has found; how many transfers they make."""
        # Orthanc records whole seconds.
        missed = self._selector.select(cursor.source, names, since=int(cursor.since))
        if missed.unreadable:
            self._unreadable.remember(cursor.source, missed.unreadable)
        if not missed.arrivals:
            return 0
        count = self._ledger.arrivals.record(missed.arrivals, other_versions=True)
        self._protect(missed)
        self._on_arrival()
        return count

    # -- What is done now and then --------------------------------------------------------------

    def _do_at_intervals(self) -> None:
        now, recognition = self._clock.now(), self._recognition
        if self._cursor is not None and self._is_to_be_seen(self._cursor, now):
            self._seen_at = now
            written = self._ledger.indexes.get(self._cursor.source)
            if written is None or written.seq != self._cursor.seq:
                raise SetBackError
            self._cursor = self._ledger.indexes.seen(
                self._cursor, recognition.name, recognition.address
            )
        self._sweep()
        if self._protection is not None:
            self._protection.step(self.source)

    def _sweep(self) -> None:
        now = self._clock.now()
        if now - self._swept_at > SWEEP_EVERY:
            self._swept_at = now
            self._retry_unreadable()  # first: there may be no room for what is late
            self._release_stable()
            self._ask_for_missing()

    def _is_to_be_seen(self, cursor: Cursor, now: float) -> bool:
        """Now and then, and at once where the clock was set, by which others look at it."""
        age = self._ledger.now() - (cursor.seen_at or 0.0)
        return now - self._seen_at > SEEN_EVERY or not -SEEN_EVERY <= age <= 2 * SEEN_EVERY

    def _ask_for_missing(self) -> None:
        cursor = self._cursor
        late = self._missing.ask_again(cursor) if cursor is not None and cursor.missing else None
        if cursor is not None and late is not None:
            self._record(late.entries, replace(cursor, missing=late.missing))

    def _release_stable(self) -> None:
        """A restarted Orthanc never reports that what it received before is stable: ask it."""
        held = self._ledger.arrivals.held(self.source)
        if held:
            self._ledger.arrivals.release(self.source, self._orthanc.stable(held))
            self._on_arrival()

    def _retry_unreadable(self) -> None:
        found = self._unreadable.retry(self.source)
        for one in found:
            self._protect(one)
        if found:
            self._on_arrival()

    def _note_read(self, cursor: Cursor, asked: float) -> None:
        """Nothing followed when Orthanc was asked: from some time before on, nothing is unread."""
        moment = self._read_until.moment(cursor, asked, partial(self._is_all_read, cursor))
        if moment is not None:
            self._cursor = replace(cursor, read_until=moment)
            self._on_read(moment)

    def _is_all_read(self, cursor: Cursor) -> bool:
        """Whether nothing is waited for of what was received before the last change."""
        comparison = self._comparison
        if not comparison.has_ended:  # its changes may have been cleared while nobody read them
            return False
        waits = comparison.gap or cursor.missing or self._ledger.arrivals.unreadable(cursor.source)
        return not waits


class _Pages:
    """Reads pages of changes, each with the proof that it goes on where reading had ended."""

    def __init__(self, ledger: Ledger, orthanc: OrthancSource, clock: Clock) -> None:
        self._ledger, self._orthanc, self._clock = ledger, orthanc, clock
        self._compared_at = float("-inf")

    def after(self, cursor: Cursor) -> Changes:
        """What follows, after some of what was read last: that it is there shows that all is."""
        begin = min([cursor.seq, *(mark.seq for mark in _read_last(cursor))]) - 1
        page = self._orthanc.changes(max(0, begin))
        if page.entries and page.last < cursor.seq:  # those after it are gone, or never were
            return self._orthanc.changes(cursor.seq - 1)
        return page

    def compare(self, page: Changes, cursor: Cursor, name: str) -> Match:
        """Whether a page goes on where reading has ended, in the same index: where not, NONE."""
        if page.last < cursor.seq or (page.entries and not cursor.marks):
            return Match.NONE  # without marks nothing was there before: this may be another index
        there = {entry.seq: mark_of(entry) for entry in page.entries}
        same = {there[mark.seq] == mark for mark in cursor.marks if mark.seq in there}
        if same or not cursor.marks or cursor.marks[0].seq > cursor.seq:
            return Match.NONE if False in same else Match.WHOLE
        # Orthanc forgets the changes of what is deleted.
        now = self._clock.now()
        if page.last == cursor.seq and now - self._compared_at < RECOGNIZE_EVERY:
            return Match.PARTIAL  # as it was just now, and nothing has come
        self._compared_at = now
        return compare(self._ledger, self._orthanc, cursor, name)


class _ReadBefore:
    """Numbers of changes that were read before an index was restored: they are there once more.

    What a higher number reports is new to the ledger, whatever that says of it.
    """

    def __init__(self) -> None:
        self._source, self._last = "", 0

    def add(self, cursor: Cursor) -> None:
        """An index was read so far when it was restored."""
        before = self._last if cursor.source == self._source else 0
        self._source, self._last = cursor.source, max(cursor.seq, before)

    def among(self, source: str, new: Mapping[str, int]) -> set[str]:
        """Those of some instances of an index, each with its change, that may be so."""
        return {name for name, seq in new.items() if source == self._source and seq <= self._last}


class _Dates:
    """The order in which changes were read, by Orthanc's clock."""

    def __init__(self) -> None:
        self._source = self._newest = ""  # of all changes that were read, as far as that is known

    def are_set_back(self, cursor: Cursor, entries: Sequence[Change]) -> bool:
        """Whether some changes are older than one that was before them.

        Parameters
        ----------
        cursor
            How far the index is read with these.
        """
        if cursor.source != self._source:
            self._source, self._newest = cursor.source, ""
        read = {entry.seq for entry in entries}
        before = [mark.date for mark in cursor.marks if mark.seq not in read]
        newest, is_back = max((self._newest, *before)), False
        for entry in entries:
            is_back |= entry.date < newest
            newest = max(newest, entry.date)
        self._newest = newest
        return is_back


class _ReadUntil:
    """Up to which moment all was read that Orthanc has received."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted_at = self._noted = float("-inf")

    def moment(self, cursor: Cursor, asked: float, is_all_read: Callable[[], bool]) -> float | None:
        """That moment, in UTC seconds, where it is to be noted now.

        Parameters
        ----------
        asked
            When nothing followed what was read.
        is_all_read
            Whether nothing is waited for of what was received before the last change.
        """
        before = asked - READ_MARGIN
        if asked > cursor.since:
            before = max(before, cursor.since)
        # After the clock was set back, what is received counts as older than what was read.
        is_back = before < self._noted
        if not is_back and self._clock.now() - self._noted_at <= NOTE_READ_EVERY:
            return None
        if not cursor.marks or not (is_back or is_all_read()):
            return None
        self._noted_at, self._noted = self._clock.now(), before
        return before


def _read_last(cursor: Cursor) -> list[Mark]:
    return [mark for mark in cursor.marks if cursor.seq - OVERLAP <= mark.seq <= cursor.seq]
