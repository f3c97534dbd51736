"""Keeps Orthanc from recycling what is not confirmed yet.

At its limits Orthanc deletes whole patients (:mod:`orthanc_gcp.orthanc.recycling`), and whole
patients are protected from it: from the moment that an instance of them is written down until all
of them is confirmed. Only a protection of our own is taken away again; it stands in the ledger
before it is made. Too much of Orthanc's storage is never protected, or it would refuse what it is
sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.intake.patients import (
    COVERED,
    UNPROTECTED,
    Patient,
    Patients,
    Total,
)
from orthanc_gcp.custody.outcomes import ABSENT_FOR, report_losses
from orthanc_gcp.errors import OrthancError, OrthancRefusedError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Transfer, portions
from orthanc_gcp.ledger.schema import Guard
from orthanc_gcp.orthanc.recycling import StorageLimits
from orthanc_gcp.orthanc.resources import Description, OrthancSource

__all__ = ["SCAN_EVERY", "Protection", "release"]

_log = logging.getLogger(__name__)

SCAN_EVERY = 2.0
"""Seconds after which all patients are gone through again, at the earliest."""
SHARE = 10
"""Nothing is gone through for so many times as long as it took."""
STEP = 0.1
"""Seconds after which a page of changes is read between."""
_GONE = (Guard.GONE, Guard.BEGUN_GONE)
_OURS = (Guard.BEGUN, Guard.BEGUN_REFUSED, Guard.OWN, Guard.BEGUN_GONE, Guard.OWN_DELETED)
"""What may be protected by us, also where Orthanc does not have it just now."""
_KNOWN = (*_OURS, Guard.FOREIGN, Guard.FOREIGN_DELETED, Guard.REMOVED)
_ABSENT = {
    Guard.BEGUN: Guard.BEGUN_GONE,
    Guard.BEGUN_REFUSED: Guard.BEGUN_GONE,
    Guard.BEGUN_GONE: Guard.BEGUN_GONE,
    Guard.OWN: Guard.OWN_DELETED,
    Guard.OWN_DELETED: Guard.OWN_DELETED,
    Guard.FOREIGN: Guard.FOREIGN_DELETED,
    Guard.FOREIGN_DELETED: Guard.FOREIGN_DELETED,
}
"""What becomes of one that Orthanc does not have; all others are gone."""
_UNDONE = range(400, 500)
"""The answers that say that nothing was done."""
PORTION = 50
"""So many patients are asked for one after the other."""


class Protection:
    """The patients of one Orthanc.

    Parameters
    ----------
    enabled
        Whether patients are to be protected; where not, our protection is taken away.
    up_to_percent
        How much of each limit of Orthanc may be protected.
    configured
        The limits that the configuration says, where Orthanc does not say them.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        clock: Clock,
        *,
        enabled: bool,
        up_to_percent: int,
        configured: StorageLimits,
    ) -> None:
        self._ledger, self._patients = ledger, Patients(ledger)
        self._orthanc, self._recycling = orthanc, orthanc.recycling
        self._clock, self._enabled, self._percent = clock, enabled, up_to_percent
        self._configured = configured
        self._known: StorageLimits | None = None
        self._scan: Iterator[None] | None = None
        self._scanned, self._busy = "", 0.0
        self._next = self._rested = self._step_began = float("-inf")
        self._unprotected, self._refused = 0, False
        self._measured: dict[str, int] = {}
        self._absent: dict[str, float] = {}

    def recycles(self) -> bool:
        """Whether this Orthanc may delete something by itself.

        Raises
        ------
        OrthancError
            Orthanc cannot be asked just now.
        """
        known = self._known  # other threads ask, too, while it is asked for anew
        if known is None:
            known = self._known = self._recycling.limits(self._configured)
        return known.recycles

    def may_be_recycled(self, row: Transfer, absent_since: float) -> bool:
        """Whether an instance that Orthanc does not have any more may have been recycled.

        Orthanc recycles nothing that is protected: such a thing was deleted by somebody.

        Parameters
        ----------
        absent_since
            When Orthanc was first seen not to have it, in seconds since 1970.

        Raises
        ------
        OrthancError
            Orthanc cannot be asked just now.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        return self.recycles() and not self._patients.covers(row.id, absent_since)

    def add(self, source: str, instances: Sequence[Description]) -> None:
        """Protect the patients of instances that were written down just now.

        Raises
        ------
        OrthancError
            Orthanc does not answer: it is made up for by the next steps.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away: likewise.
        """
        try:
            if instances and self._is_active():
                self._protect(source, self._write_down(source, instances), anew=True)
                self._give_up_newest(source)
        except OrthancRefusedError as error:
            self._report_refusal(error)

    def step(self, source: str) -> None:
        """Go through some of what is to be protected, or not any more.

        Raises
        ------
        OrthancError
            Orthanc does not answer: it is gone through again.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away: likewise.
        """
        began = self._step_began = self._clock.now()
        if source != self._scanned:
            self._scan, self._scanned, self._next = None, source, float("-inf")
        if self._scan is None:
            if began < self._next:
                return
            self._scan, self._busy = self._go_through(source), 0.0
        ended = True
        try:
            next(self._scan)
            ended = False
        except StopIteration:
            pass
        except OrthancRefusedError as error:
            self._report_refusal(error)
        finally:
            now = self._clock.now()
            self._busy += now - began
            if ended:
                self._scan, self._rested = None, now + SHARE * self._busy
                self._next = max(self._rested, now + SCAN_EVERY)

    def release_all(self, source: str) -> None:
        """Go through all at once; see :meth:`step`."""
        for _ in self._go_through(source):
            pass

    # -- All patients, some after others --------------------------------------------------------

    def _is_active(self) -> bool:
        return self._enabled and self.recycles()

    def _go_through(self, source: str) -> Iterator[None]:
        self._known = None  # an Orthanc that was started anew may have other limits
        active = self._is_active()
        unread = self._write_down_unreadable(source) if active else set[str]()
        for page in self._pages(source):
            names = [patient.orthanc_id for patient in page]
            needed = unread | self._patients.in_need(source, names) if active else unread
            self._release(source, [one for one in page if one.orthanc_id not in needed])
            yield from self._rest()
        if active:
            # What was sent on demand, by a backfill or again, or what a crash has left.
            for rows in self._patients.without_patient(source):
                found = self._describe([row.orthanc_id for row in rows])
                if found:
                    patients = {one.orthanc_id: one.parents["Patient"] for one in found}
                    named = [row for row in rows if row.orthanc_id in patients]
                    self._patients.set_patients({row.id: patients[row.orthanc_id] for row in named})
                    self._protect(source, self._write_down(source, found), anew=False)
                yield from self._rest()
            yield from self._measure_all(source)
            for page in self._pages(source):
                guards = self._protect(source, page, anew=False)
                self._lose(source, [one for one in page if guards[one.orthanc_id] in _GONE])
                yield from self._rest()
            self._give_up_newest(source)
        self._report(source)

    def _measure_all(self, source: str) -> Iterator[None]:
        """Where there seems to be no room, ask for the sizes of all, some after others."""
        limits = self._known
        while limits is not None and limits.mebibytes:
            wanted = self._patients.not_protected_yet(source)
            if self._has_room(limits, self._patients.total(source), wanted):
                return
            if self._measure_some(source):
                return
            yield from self._rest()

    def _rest(self) -> Iterator[None]:
        """A page of changes is read before it goes on, where it has taken long by now."""
        if self._clock.now() - self._step_began > STEP:
            yield

    def _pages(self, source: str) -> Iterator[list[Patient]]:
        page = self._patients.page(source, "", PORTION)
        while page:
            yield page
            page = self._patients.page(source, page[-1].orthanc_id, PORTION)

    def _describe(self, instances: Sequence[str]) -> list[Description]:
        try:
            return self._orthanc.describe_each(instances)[0]
        except OrthancRefusedError as error:  # others may have a patient all the same
            self._report_refusal(error)
            return []

    def _write_down_unreadable(self, source: str) -> set[str]:
        """The patients of instances of which nobody knows yet whether a rule wants them."""
        instances = self._ledger.arrivals.unreadable(source)
        found = self._orthanc.describe_each(instances)[0] if instances else []
        studies: dict[str, set[str]] = {}
        for one in found:
            studies.setdefault(one.parents["Patient"], set()).add(one.study_instance_uid)
        if studies:
            self._patients.add(source, studies, {})
        return set(studies)

    def _write_down(self, source: str, instances: Sequence[Description]) -> list[Patient]:
        studies: dict[str, set[str]] = {}
        sizes: dict[str, int] = {}
        for one in instances:
            name = one.parents["Patient"]
            studies.setdefault(name, set()).add(one.study_instance_uid)
            sizes[name] = sizes.get(name, 0) + one.size_bytes
        return self._patients.add(source, studies, sizes)

    # -- Some patients --------------------------------------------------------------------------

    def _protect(self, source: str, patients: Sequence[Patient], *, anew: bool) -> dict[str, Guard]:
        """See that these are protected, as far as there is room; what was found.

        Parameters
        ----------
        anew
            Whether something of them was received just now: a protection of ours that somebody has
            taken away is made again only then.
        """
        found: dict[str, Guard] = {}
        for some in portions(patients, PORTION):
            guards = {one.orthanc_id: self._guard(source, one, anew=anew) for one in some}
            begun = [one for one in some if guards[one.orthanc_id] is Guard.WANTED]
            guards |= {one.orthanc_id: Guard.BEGUN for one in begun}
            left, sure = self._without_room(source, begun)
            for one in begun:
                if one.orthanc_id in left:
                    known = (sure and not anew) or one.guard in UNPROTECTED
                    guards[one.orthanc_id] = Guard.NO_ROOM if known else Guard.WANTED
                    # There may be room as soon as what is confirmed by now is released.
                    self._next = self._rested
            changed = {
                one.orthanc_id: guards[one.orthanc_id]
                for one in some
                if guards[one.orthanc_id] is not one.guard
            }
            late = [one.orthanc_id for one in some if one.guard in UNPROTECTED]
            self._note_absent(source, [name for name in late if guards[name] in COVERED])
            self._patients.set_guards(source, changed)
            names = [one.orthanc_id for one in begun]
            self._begin(source, [name for name in names if guards[name] is Guard.BEGUN])
            found |= guards
        return found

    def _guard(self, source: str, patient: Patient, *, anew: bool) -> Guard:
        """What becomes of a patient by what Orthanc says of it; wanted where it is to be tried."""
        guard = patient.guard
        try:
            there = self._recycling.is_protected(patient.orthanc_id)
        except OrthancRefusedError as error:
            self._report_refusal(error)
            # What is ours, or may be, stays known as ours.
            return guard if guard in _KNOWN else Guard.REFUSED
        if there is None:
            return _ABSENT.get(guard, Guard.GONE)
        self._absent.pop(patient.orthanc_id, None)
        if there:
            return Guard.OWN if guard in _OURS else Guard.FOREIGN
        was_ours = guard in (Guard.OWN, Guard.REMOVED) and not anew
        if was_ours and not self._was_undone(source, patient):
            return Guard.REMOVED
        return Guard.WANTED

    def _note_absent(self, source: str, names: Sequence[str]) -> None:
        """What is gone of patients before they are protected does not count as protected."""
        rows = self._patients.written_down_lately(source, names) if names else {}
        try:
            found, others = self._orthanc.describe_each(list(set(rows.values())))
        except OrthancRefusedError as error:
            self._report_refusal(error)
            return
        known = {*(one.orthanc_id for one in found), *others}
        gone = [row for row, name in rows.items() if name not in known]
        if gone:
            self._patients.note_absent(gone)

    def _was_undone(self, source: str, patient: Patient) -> bool:
        """Whether the index was restored from a backup of before we have protected a patient."""
        since = patient.since
        return since is not None and self._ledger.indexes.was_undone(source, since)

    def _without_room(self, source: str, begun: Sequence[Patient]) -> tuple[set[str], bool]:
        """Those that there is no room for, each asked for its size where that counts.

        Returns
        -------
        tuple
            Them, and whether that is sure, or what is protected may take less than is known.
        """
        left: set[str] = set()
        if not begun or self._known is None:
            return left, True
        own = sum(one.size_bytes for one in begun)
        more = Total(len(begun), own)
        (count, size), sure = self._total(source, self._known, more)
        sizes = {}
        for one in begun:
            own = one.size_bytes
            if one.guard in (Guard.BEGUN, Guard.OWN, Guard.FOREIGN):  # it is counted already
                count, size = count - 1, size - own
            if self._known.mebibytes and self._known.has_room(self._percent, count + 1, size):
                own = sizes[one.orthanc_id] = self._size(one)
            if self._known.has_room(self._percent, count + 1, size + own):
                count, size = count + 1, size + own
            else:
                left.add(one.orthanc_id)
        self._note_sizes(source, sizes)
        return left, sure

    def _total(self, source: str, limits: StorageLimits, more: Total) -> tuple[Total, bool]:
        """What is protected, some of it asked for where there seems to be no room.

        What Orthanc has received again, or what its changes have reported again, counts twice.

        Returns
        -------
        tuple
            The total, and whether it is sure that it is not less.
        """
        total = self._patients.total(source)
        if not limits.mebibytes:
            return total, True
        if self._has_room(limits, total, more):
            return total, False
        all_of_them = self._measure_some(source)
        return self._patients.total(source), all_of_them

    def _has_room(self, limits: StorageLimits, total: Total, more: Total) -> bool:
        return limits.has_room(
            self._percent, total.patients + more.patients, total.size_bytes + more.size_bytes
        )

    def _measure_some(self, source: str) -> bool:
        """Ask for the sizes of a few that may take less; whether there are no others.

        No more of them: the following waits for it.
        """
        grown = [
            one
            for one in self._patients.largest_protected(source)
            if self._measured.get(one.orthanc_id) != one.size_bytes
        ]
        self._note_sizes(source, {one.orthanc_id: self._size(one) for one in grown[:PORTION]})
        return len(grown) <= PORTION

    def _note_sizes(self, source: str, sizes: dict[str, int]) -> None:
        if sizes:
            self._measured |= sizes
            self._patients.set_sizes(source, sizes)

    def _size(self, patient: Patient) -> int:
        try:
            return self._recycling.size_bytes(patient.orthanc_id) or patient.size_bytes
        except OrthancRefusedError as error:
            self._report_refusal(error)
            return patient.size_bytes

    def _begin(self, source: str, names: Sequence[str]) -> None:
        """Protect those that the ledger says are being protected."""
        if not names:
            return
        guards = {}
        for name in names:
            try:
                if not self._recycling.protect(name, protected=True):
                    guards[name] = Guard.GONE
            except OrthancRefusedError as error:
                self._report_refusal(error)
                # Orthanc may have done what a proxy before it did not wait for.
                is_undone = error.status in _UNDONE
                guards[name] = Guard.REFUSED if is_undone else Guard.BEGUN_REFUSED
        self._patients.set_guards(source, guards)
        done = [name for name in names if name not in guards]
        undone = set(done) - self._patients.own(source, done)
        if not undone:
            return
        try:
            for name in undone:
                # Another worker has taken over meanwhile, and does not need it any more.
                self._unprotect(name)
        finally:
            self._patients.question(source, undone)

    def _lose(self, source: str, patients: Sequence[Patient]) -> None:
        """Those that were not protected and have been gone for long are gone for ever."""
        now = self._ledger.now()
        gone = {
            one.orthanc_id: one.since
            for one in patients
            if one.guard in _GONE and one.since is not None and now - one.since >= ABSENT_FOR
        }
        if gone:
            report_losses(self._patients.lose(source, gone))

    def _release(self, source: str, patients: Sequence[Patient]) -> None:
        """All of these is confirmed, or nothing is protected any more."""
        ours = [one.orthanc_id for one in patients if one.guard in _OURS]
        if ours:
            # What ends half-way was no person's doing, should it be in need again.
            self._patients.question(source, ours)
        try:
            kept = {name for name in ours if not self._unprotect(name)}
        except OrthancError:
            self._patients.question(source, ours)  # another worker may count on it by now
            raise
        done = [one.orthanc_id for one in patients if one.orthanc_id not in kept]
        if done:
            self._patients.forget(source, done)
            for name in done:
                self._measured.pop(name, None)
                self._absent.pop(name, None)

    def _unprotect(self, name: str) -> bool:
        """Take our protection away; whether it is away for good.

        What Orthanc does not have just now may be back with it, unless it is absent for long.
        """
        try:
            there = self._recycling.protect(name, protected=False)
        except OrthancRefusedError as error:
            self._report_refusal(error)
            return self._is_unprotected(name)
        now = self._clock.now()
        since = self._absent.pop(name, now)
        if there:
            return True
        self._absent[name] = since
        return now - since >= ABSENT_FOR

    def _is_unprotected(self, name: str) -> bool:
        """Whether Orthanc has a patient, not protected, for all that it has refused."""
        try:
            return self._recycling.is_protected(name) is False
        except OrthancRefusedError:
            return False

    def _give_up_newest(self, source: str) -> None:
        """What is protected has grown: leave Orthanc the room that it needs to receive."""
        limits = self._known
        if limits is None:
            return
        total, sure = self._total(source, limits, Total(0, 0))
        if not sure and not limits.has_room(self._percent, *total):
            self._next = self._rested  # the others are asked for then
            return
        while not limits.has_room(self._percent, *total):
            newest = self._patients.newest_own(source, 1)
            if not newest:
                return
            name = newest[0].orthanc_id
            # In the ledger it counts as ours until Orthanc has it not protected.
            self._patients.set_guards(source, {name: Guard.BEGUN})
            if self._unprotect(name):
                self._patients.set_guards(source, {name: Guard.NO_ROOM})
            total = self._patients.total(source)

    # -- What the log says ----------------------------------------------------------------------

    def _report(self, source: str) -> None:
        before, self._unprotected = self._unprotected, self._patients.unprotected(source)
        if self._unprotected and not before:
            _log.error(
                "Orthanc %s: %d patients are not protected from its recycling, though something of "
                "them is not confirmed and may be lost: ProtectUpToPercent of its storage is "
                "protected, or it does not let us, or somebody has taken our protection away",
                source,
                self._unprotected,
            )
        elif before and not self._unprotected:
            _log.warning("Orthanc %s: all patients are protected again that have to be", source)

    def _report_refusal(self, error: OrthancRefusedError) -> None:
        if not self._refused:
            _log.error("Orthanc does not let patients be protected from its recycling: %s", error)
        self._refused = True


def release(ledger: Ledger, orthanc: OrthancSource, source: str, clock: Clock) -> None:
    """Take away what is protected by us, where no worker does it.

    Parameters
    ----------
    source
        What the ledger calls the index that Orthanc has.

    Raises
    ------
    OrthancError
        Orthanc does not answer: some may be protected still.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: likewise.
    """
    unlimited = StorageLimits()
    protection = Protection(
        ledger, orthanc, clock, enabled=False, up_to_percent=1, configured=unlimited
    )
    protection.release_all(source)
