"""Which of the indexes that the ledger knows an Orthanc has.

Nothing of Orthanc's REST API names an index: ``Name`` and ``DicomAet`` of ``/system`` are options,
and the DICOM identifiers of Orthanc are the same wherever an instance is. What tells indexes apart
is what they have: the changes that were read (``/changes``: number, kind, resource and date), and
the random UUIDs of stored files. An index that was restored from a backup, or cloned, has those of
before that moment, and not those that were read later.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum

from orthanc_gcp.errors import OrthancError
from orthanc_gcp.ledger.indexes import add_marks
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Cursor, Mark, Sample
from orthanc_gcp.orthanc.resources import Change, Description, OrthancSource, seconds_of

__all__ = [
    "NEVER",
    "Match",
    "begin",
    "compare",
    "has_anything",
    "has_mark",
    "is_apart",
    "lacks_changes",
    "mark_of",
    "marks_apart",
    "newest_received",
    "recognize",
    "source_of",
]

_log = logging.getLogger(__name__)

_TRIES, _RECEIVED = 5, "NewInstance"
_NO_CHANCE = 600.0
"""Changes over so many seconds show by themselves which index it is; over less, they may be those
of two Orthancs that receive the same at once (Orthanc tells whole seconds)."""
NEVER = 253_402_300_799.0
"""The end of the year 9999: from when on what Orthanc receives is sent where no rule ever was."""
READ_MARGIN = 600.0
"""All that was received so many seconds before Orthanc has said that nothing follows was read: a
change of another writer may become visible late, and the clock may be set back."""


class Match(IntEnum):
    """How what Orthanc has compares with what was read of an index; the highest is the surest."""

    NONE = 0
    EMPTIED = 1
    """Nothing of it is there any more. Its Orthanc has the name, and nothing else says so."""
    UNREAD = 2
    """Nothing was read of it yet. Its Orthanc has the name, and nothing else says so."""
    RESTORED = 3
    """It is the index as it was at an earlier moment, and maybe went on from there otherwise."""
    CLEARED = 4
    """It has the files, and none of the changes: somebody has cleared them, or deleted much."""
    PARTIAL = 5
    """An earlier change is there, and the last that was read is gone with its resource; or all
    changes are there, and the files are others: they were stored anew."""
    WHOLE = 6
    """The last change that was read is there."""

    @property
    def is_by_name(self) -> bool:
        """Whether only a name says so, which another Orthanc may have, too."""
        return self in (Match.EMPTIED, Match.UNREAD)


def mark_of(change: Change) -> Mark:
    """A change as the ledger remembers it."""
    return Mark(change.seq, change.kind, change.orthanc_id, change.date)


def has_mark(orthanc: OrthancSource, mark: Mark) -> bool:
    """Whether an Orthanc has a change, unchanged.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    """
    return mark in map(mark_of, orthanc.changes(max(0, mark.seq - 1), 1).entries)


def recognize(
    ledger: Ledger,
    orthanc: OrthancSource,
    name: str,
    known: Sequence[Cursor] | None = None,
    others: Collection[str] = (),
) -> tuple[Match, Cursor] | None:
    """Which index an Orthanc has; None for one that the ledger does not know.

    Parameters
    ----------
    name
        What the Orthanc is called.
    known
        All indexes that the ledger knows, if they were read just now.
    others
        What the ledger calls those that it is not as far as only a name says so.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found = [
        (compare(ledger, orthanc, cursor, name), cursor.name == name, _newest(cursor), cursor)
        for cursor in (ledger.indexes.all() if known is None else known)
    ]
    found = [
        one
        for one in found
        if one[0] is not Match.NONE and not (one[0].is_by_name and one[3].source in others)
    ]
    if not found:
        return None
    match, _, _, cursor = max(found, key=lambda one: one[:3])
    return match, cursor


def begin(
    ledger: Ledger,
    orthanc: OrthancSource,
    name: str,
    since: float,
    known: Sequence[Cursor],
    *,
    was_down: bool,
    address: str = "",
) -> Cursor | None:
    """Begin to follow an index that the ledger does not know; None when it may by now.

    Parameters
    ----------
    known
        The indexes that it was compared with.
    since
        What Orthanc has received from then on is followed, in UTC seconds.
    was_down
        Whether Orthanc may have received something for its rules before that moment: an index that
        has come into the place of another, by name or by address, is followed from when that one
        was last read or seen, whichever was before, and one that may be another, of which nothing
        was read, from where that one is. Whatever it says, one that may be another, all of which
        was deleted, is followed from when that was read or seen.
    address
        Where the Orthanc is asked; empty where that does not tell it from others.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    for one in known:
        match = compare(ledger, orthanc, one, one.name)
        was_there = match is Match.EMPTIED or (was_down and _had_its_place(one, name, address))
        if was_there and one.seen_at is not None:
            since = min(since, one.seen_at, _read_until(one))
        elif was_down and match is Match.UNREAD:
            since = min(since, one.since)
    place = orthanc.place_before(since)
    marks = add_marks((), [mark_of(one) for one in orthanc.newest_changes()])
    instances = orthanc.instance_count()
    begun = ledger.indexes.begin(name, place, since, marks, known, address)
    if begun is not None:
        _log.warning(
            "following Orthanc %s for the first time, as %s; it has %d instances: those that it "
            "had before are not sent, unless Backfill in the configuration wants them",
            name,
            begun.source,
            instances,
        )
    return begun


def source_of(ledger: Ledger, orthanc: OrthancSource) -> str:
    """What the ledger calls the index of an Orthanc.

    Since when a new one is followed, its first worker says: it may have been loaded before.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now, or its index is an earlier state of what it was, or a
        copy, or one in the place of another: a worker finds out since when that is to be followed.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    name = orthanc.name()
    for _ in range(_TRIES):
        known = ledger.indexes.all()
        found = recognize(ledger, orthanc, name, known)
        if found is not None and found[0] in (Match.EMPTIED, Match.RESTORED):
            raise OrthancError(
                "its index is an earlier state of what it was, or was emptied: start a worker first"
            )
        if found is not None and is_apart(orthanc, found[1]):
            raise OrthancError(
                f"it has what no worker has read: is it a copy of {found[1].source}?"
            )
        if found is not None:
            return found[1].source
        if any(_had_its_place(one, name, orthanc.url) for one in known):
            raise OrthancError("its index is in the place of another: start a worker first")
        begun = begin(ledger, orthanc, name, NEVER, known, was_down=False)
        if begun is not None:
            return begun.source
    raise OrthancError("which index Orthanc has is not clear: try again")


def compare(ledger: Ledger, orthanc: OrthancSource, cursor: Cursor, name: str = "") -> Match:
    """Whether an Orthanc has an index.

    Parameters
    ----------
    name
        What the Orthanc is called: it counts where nothing was read of the index yet.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found: list[Mark] = []
    contradicted = False
    for mark in cursor.marks:
        page = orthanc.changes(max(0, mark.seq - 1), 1)
        there = next((mark_of(one) for one in page.entries if one.seq == mark.seq), None)
        if there == mark:
            found.append(mark)
        elif there is not None and found:
            return Match.NONE  # the same later and not before: a coincidence
        elif not found:
            contradicted |= there is not None or page.last < mark.seq
    if not cursor.marks or cursor.marks[0].seq < cursor.seq:  # the last were not to be remembered
        contradicted |= orthanc.changes(max(0, cursor.seq - 1), 1).last < cursor.seq
    same = _has_files_of(orthanc, ledger.indexes.samples(cursor.source), found)
    if same is None and not found:  # it may be long ago that it had those of both ends
        same = _has_files_of(orthanc, ledger.indexes.samples_between(cursor.source), found)
    if same is False and (contradicted or (found and not _are_proof(found))):
        return Match.NONE
    if found and not contradicted:
        is_whole = found[0] is cursor.marks[0] and same is not False
        return Match.WHOLE if is_whole else Match.PARTIAL
    if found or same:
        return Match.RESTORED if contradicted else Match.CLEARED
    return _by_name(ledger, orthanc, cursor, name, contradicted)


def is_apart(orthanc: OrthancSource, cursor: Cursor) -> bool:
    """Whether an Orthanc has a change that was not read, though all that was later was.

    So it is with a copy of an index whose original has nothing new: it has all that was read.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    """
    if cursor.read_until is None or cursor.read_until >= NEVER:
        return False
    certain = cursor.read_until - READ_MARGIN  # clocks may differ
    return any(seconds_of(one.date) < certain for one in orthanc.changes(cursor.seq, 1).entries)


def marks_apart(orthanc: OrthancSource, cursor: Cursor) -> tuple[Mark, ...]:
    """Changes of an Orthanc that are of a copy of an index for certain, and not of the index.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    """
    others = []
    for mark in cursor.marks:
        page = orthanc.changes(max(0, mark.seq - 1), 1).entries
        others += [one.seq for one in page if one.seq == mark.seq and mark_of(one) != mark]
    if not others and is_apart(orthanc, cursor):
        others = [cursor.seq + 1]
    newest = [mark_of(one) for one in orthanc.newest_changes()]
    return tuple(one for one in add_marks((), newest) if others and one.seq >= min(others))


def newest_received(ledger: Ledger, orthanc: OrthancSource, source: str) -> float:
    """When the newest was received that an Orthanc has of an index, in UTC seconds; 0 without any.

    Of an earlier state of the index, or a copy, it is no later than that. Some instances are
    looked at, with ever longer steps into the past: so it may be earlier.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    there = _samples_there(ledger, orthanc, source)
    return max((one.received_at for one, _ in there), default=0.0)


def lacks_changes(ledger: Ledger, orthanc: OrthancSource, source: str, after: int) -> bool:
    """Whether an Orthanc has something of an index without the change that has reported it.

    Parameters
    ----------
    after
        What was read by no later change says nothing.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    there = _samples_there(ledger, orthanc, source, after)
    return any(not _has_change(orthanc, one.orthanc_id, sample.change) for one, sample in there)


def _samples_there(
    ledger: Ledger, orthanc: OrthancSource, source: str, after: int = -1
) -> list[tuple[Description, Sample]]:
    """The samples of an index that an Orthanc has with the same file, read by a later change."""
    indexes = ledger.indexes
    found = {**indexes.samples_between(source), **indexes.samples(source)}
    samples = {name: one for name, one in found.items() if one.change > after}
    described = orthanc.describe_each(list(samples))[0]
    pairs = [(one, samples[one.orthanc_id]) for one in described]
    return [(one, sample) for one, sample in pairs if one.attachment_uuid == sample.file]


def _had_its_place(cursor: Cursor, name: str, address: str) -> bool:
    """Whether an index was of an Orthanc of this name, or at this address."""
    return cursor.name == name or (bool(address) and cursor.address == address)


def _by_name(
    ledger: Ledger, orthanc: OrthancSource, cursor: Cursor, name: str, contradicted: bool
) -> Match:
    """Where Orthanc has nothing of what was read: its name, and the numbers of its changes."""
    unread = not cursor.marks and not ledger.indexes.has_rows(cursor.source)
    if cursor.name != name or (contradicted and not unread):
        return Match.NONE
    if unread:
        return Match.UNREAD
    # An index is taken for one of which no change was ever read only while nothing is in it: the
    # changes of the one, with the files of the other, would make both the same from then on.
    known_by_files = not (cursor.marks or ledger.indexes.has_rows(cursor.source, read=True))
    return Match.NONE if known_by_files and has_anything(orthanc) else Match.EMPTIED


def has_anything(orthanc: OrthancSource) -> bool:
    """Whether an index has anything to be recognized by.

    Raises
    ------
    OrthancError
        Orthanc cannot be read from just now.
    """
    return bool(orthanc.newest_changes() or next(orthanc.instances(), []))


def _are_proof(found: Sequence[Mark]) -> bool:
    """Whether changes that are there show which index it is, whatever files it has.

    ``/attachments/dicom/compress`` and ``uncompress`` store files anew and keep their changes.
    """
    moments = [seconds_of(mark.date) for mark in found]
    return max(moments) - min(moments) >= _NO_CHANCE


def _has_files_of(
    orthanc: OrthancSource, samples: Mapping[str, Sample], found: Sequence[Mark]
) -> bool | None:
    """Whether an Orthanc has files of an index, and no other ones in their place.

    None where nothing can be said: it has none of the instances, or received them later again, or
    has stored them anew (``/reconstruct`` with ``ReconstructFiles``, the Housekeeper plugin).

    Parameters
    ----------
    found
        Changes of the index that it has.
    """
    others = {}
    described, _ = orthanc.describe_each(list(samples))  # those it refuses say nothing
    for one in described:
        sample = samples[one.orthanc_id]
        if one.attachment_uuid == sample.file:
            return True
        if one.attachment_uuid and one.received_at == sample.received_at:
            others[one.orthanc_id] = sample.change
    keeps_changes = any(mark.kind == _RECEIVED for mark in found)
    told = (_has_change(orthanc, *one) if one[1] else keeps_changes for one in others.items())
    return False if any(told) else None


def _has_change(orthanc: OrthancSource, orthanc_id: str, change: int) -> bool:
    """Whether an Orthanc has the change that an instance was received with.

    It deletes the instance with its changes before it stores the file anew, and reports none.
    """
    page = orthanc.changes(change - 1, 1).entries
    return any((one.seq, one.orthanc_id) == (change, orthanc_id) for one in page)


def _read_until(cursor: Cursor) -> float:
    """When all that Orthanc had received into an index was read, for certain, in UTC seconds.

    What it received after that may be in the index that has come into its place: the same one, it
    may be, of which nothing is left to recognize it by.
    """
    if cursor.read_until is not None:
        return cursor.read_until
    read = [mark for mark in cursor.marks if mark.seq <= cursor.seq]
    return max(cursor.since, seconds_of(read[0].date) - READ_MARGIN if read else 0.0)


def _newest(cursor: Cursor) -> int:
    return cursor.marks[0].seq if cursor.marks else cursor.seq
