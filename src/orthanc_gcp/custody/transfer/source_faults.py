"""What becomes of instances that Orthanc does not give as it received them.

Orthanc may be away, or its whole storage: then nothing is held against any of them. Or it has one
no more, or not its file, or other bytes than it received, or knows it by UIDs that are not those
of its file: that instance is settled by itself, and the others of its batch go on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.destinations.destination import INSTANCE_BACKOFF
from orthanc_gcp.custody.destinations.fault_scope import Blame
from orthanc_gcp.custody.outcomes import quarantined, requeued
from orthanc_gcp.custody.transfer.absence import of_absent
from orthanc_gcp.custody.transfer.own_uids import uid_difference
from orthanc_gcp.custody.transfer.stored_files import StoredFiles
from orthanc_gcp.errors import (
    GcpError,
    OrthancError,
    OrthancGoneError,
    OrthancUnavailableError,
    SourceError,
)
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.reasons import SourceReason, StoreReason, TransferReason

__all__ = ["SourceFaults"]

_OTHER_BYTES = (SourceReason.DAMAGED_FILE, SourceReason.SIZE)
MOST_UNREADABLE, MOST_LONELY_UNREADABLE = 8, 16
"""Attempts of an instance whose file Orthanc cannot give, while it gives others; and where it has
no others."""


class SourceFaults:
    """Settles what one Orthanc does not give; one object serves all threads.

    Parameters
    ----------
    orthanc_away
        Called when Orthanc cannot be read from, and how many seconds later it is tried again.
    is_its_index
        Whether Orthanc has the index, just now, that the ledger calls so.
    may_be_recycled
        Whether Orthanc may have deleted by itself what it does not have any more, and has not had
        since a moment.

    Attributes
    ----------
    files
        Whether Orthanc's files can be read.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        clock: Clock,
        orthanc_away: Callable[[GcpError, float], None],
        is_its_index: Callable[[str], bool],
        may_be_recycled: Callable[[Transfer, float], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger, self._orthanc, self._jitter = ledger, orthanc, jitter
        self._orthanc_away, self._is_its_index = orthanc_away, is_its_index
        self._may_be_recycled = may_be_recycled
        self.files = StoredFiles(orthanc, clock, jitter)

    def orthanc_is_away(self, transfers: Sequence[Transfer], error: GcpError) -> list[Outcome]:
        pause = INSTANCE_BACKOFF.delay(3, self._jitter)
        self._orthanc_away(error, pause)
        due = self._ledger.now() + pause
        why = {"reason": TransferReason.ORTHANC, "detail": str(error)}
        return [requeued(row, state=State.DELAYED, next_attempt_at=due, **why) for row in transfers]

    def index_is_unclear(self, transfers: Sequence[Transfer]) -> list[Outcome]:
        """Orthanc has older versions of these: it may have been restored, or have another index."""
        due = self._ledger.now() + INSTANCE_BACKOFF.delay(3, self._jitter)
        words = "Orthanc has an older version of it: it is looked first which index that is"
        why = {"reason": TransferReason.ORTHANC, "detail": words}
        return [requeued(row, state=State.DELAYED, next_attempt_at=due, **why) for row in transfers]

    def storage_is_away(self, transfers: Sequence[Transfer]) -> list[Outcome]:
        """Orthanc can give no file at all: that is the fault of none of them."""
        due = self._ledger.now() + self.files.pause
        why = {"reason": TransferReason.ORTHANC, "detail": self.files.problem}
        return [requeued(row, state=State.DELAYED, next_attempt_at=due, **why) for row in transfers]

    def without(
        self, transfers: Sequence[Transfer], error: SourceError, md5s: Mapping[str, str]
    ) -> list[Outcome]:
        """One instance could not be read; nothing was stored, and the others go at once.

        Where Orthanc does not have it, what else of them it does not have goes with none of them:
        each would break a request of its own, and send the bytes before it in vain.
        """
        at_fault = [row for row in transfers if row.sop_instance_uid == error.sop_instance_uid]
        others = [row for row in transfers if row.sop_instance_uid != error.sop_instance_uid]
        try:
            outcomes = [self._unreadable(row, error, md5s.get(row.orthanc_id)) for row in at_fault]
        except OrthancUnavailableError as away:
            if not self._orthanc.answers():  # the others would fail as well
                return self.orthanc_is_away(transfers, away)
            outcomes = [self.without_file(row, str(away)) for row in at_fault]
        if isinstance(error.__cause__, OrthancGoneError):
            absent = self._absent(others)
            outcomes += absent.values()
            others = [row for row in others if row.id not in absent]
        if self.files.pause:
            return outcomes + self.storage_is_away(others)
        return outcomes + [requeued(row) for row in others]

    def _unreadable(self, row: Transfer, error: SourceError, md5: str | None) -> Outcome:
        """What becomes of an instance that could not be read.

        Raises
        ------
        OrthancUnavailableError
            Orthanc is away: it is the fault of none.
        """
        try:
            gone = isinstance(error.__cause__, OrthancGoneError)
            if gone and not self._orthanc.describe([row.orthanc_id]):
                return self._of_absent(row)
            size = self._orthanc.size(row.orthanc_id)
            if size not in (None, row.size_bytes):
                return Outcome(row.id, State.WAITING, size_bytes=size, attempts=row.attempts + 1)
            if error.reason in _OTHER_BYTES:
                return self._damaged(row, error, md5)
        except OrthancUnavailableError:
            raise
        except OrthancError as problem:
            return self.without_file(row, str(problem))
        return self.without_file(row, str(error))

    def _absent(self, transfers: Sequence[Transfer]) -> dict[int, Outcome]:
        """What becomes of those of some rows that Orthanc does not have; none while it is away."""
        try:
            described, refused = self._orthanc.describe_each([row.orthanc_id for row in transfers])
            there = {one.orthanc_id for one in described}.union(refused)
            return {
                row.id: self._of_absent(row)
                for row in transfers
                if row.orthanc_id not in there and self._is_gone(row)
            }
        except OrthancError:
            return {}

    def _is_gone(self, row: Transfer) -> bool:
        """Whether there is no file of it either: one that can be read is sent.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        try:
            with self._orthanc.read(row.orthanc_id, row.attachment_uuid, row.size_bytes):
                return False
        except OrthancGoneError:
            return True

    def _of_absent(self, row: Transfer) -> Outcome:
        return of_absent(
            row,
            self._ledger.now(),
            self._is_its_index,
            self._may_be_recycled,
            self._ledger.indexes.was_undone,
        )

    def _damaged(self, row: Transfer, error: SourceError, md5: str | None) -> Outcome:
        """Other bytes than Orthanc received, unless it has received others meanwhile."""
        now = self._orthanc.checksums.attachment(row.orthanc_id)
        if now is None or now.md5 != (md5 or "") or row.attachment_uuid not in ("", now.uuid):
            return self.without_file(row, "Orthanc has received it anew")
        if self.files.failed(row, str(error)) is Blame.DESTINATION:
            return self.storage_is_away([row])[0]
        return quarantined(row, TransferReason.DAMAGED_FILE, str(error), row.sha256)

    def without_file(self, row: Transfer, words: str) -> Outcome:
        """Orthanc has it and cannot give its bytes: so it stays until somebody restores them."""
        blame = self.files.failed(row, words)
        if blame is Blame.DESTINATION:
            return self.storage_is_away([row])[0]
        # Attempts that ended otherwise say nothing of its file.
        attempts = row.attempts + 1 if row.reason == TransferReason.ORTHANC else 1
        most = MOST_UNREADABLE if blame is Blame.SUBJECT else MOST_LONELY_UNREADABLE
        if attempts >= most:
            why = f"Orthanc has it in its index and cannot give its file: {words}"
            return quarantined(row, TransferReason.UNREADABLE_FILE, why, row.sha256)
        return requeued(
            row,
            state=State.DELAYED,
            reason=TransferReason.ORTHANC,
            detail=words,
            next_attempt_at=self._ledger.now() + INSTANCE_BACKOFF.delay(attempts + 1, self._jitter),
            max_batch_instances=1,
            attempts=attempts,
        )

    def overwritten(self, transfers: Sequence[Transfer]) -> set[int]:
        """Those of some rows that were sent again, of which other bytes may have been sent before.

        Orthanc gives an instance the file that it has now, also before anybody has read there that
        it was overwritten. It is the file of the row for certain while Orthanc has that one still.
        """
        names = list({row.orthanc_id for row in transfers})
        try:
            described, _ = self._orthanc.describe_each(names)
        except OrthancError:
            described = []
        files = {one.orthanc_id: one.attachment_uuid for one in described}
        return {
            row.id
            for row in transfers
            if not row.attachment_uuid or files.get(row.orthanc_id) != row.attachment_uuid
        }

    # -- UIDs -----------------------------------------------------------------------------------

    def all_misnamed(self, transfers: Sequence[Transfer]) -> list[Outcome]:
        """What becomes of a batch of which the store names nothing, if that is why; or nothing."""
        first = self.misnamed(transfers[0])
        if first is None:
            return []
        others = [self.misnamed(row) or requeued(row) for row in transfers[1:]]
        return [first, *others]

    def misnamed(self, row: Transfer) -> Outcome | None:
        """What becomes of it if its file has other UIDs than Orthanc says; None otherwise."""
        try:
            with self._orthanc.read(row.orthanc_id, row.attachment_uuid, row.size_bytes) as pieces:
                difference = uid_difference(row, pieces)
        except (OrthancError, OSError):
            return None
        return quarantined(row, StoreReason.UID, difference, row.sha256) if difference else None
