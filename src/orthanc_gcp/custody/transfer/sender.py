"""Sends one batch to the store, and writes down what becomes of each instance.

A batch is one Store Transaction (DICOM PS3.18 §10.5, STOW-RS), whose answer names each instance by
its SOP Instance UID. That an instance is stored is only what the store says: it counts as
acknowledged until it was read back.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.outcomes import (
    quarantined,
    report_losses,
)
from orthanc_gcp.custody.transfer.checked import checked
from orthanc_gcp.custody.transfer.older_versions import OlderVersions, Undone
from orthanc_gcp.custody.transfer.refusals import StoreRefusals
from orthanc_gcp.custody.transfer.source_faults import SourceFaults
from orthanc_gcp.custody.verification.conflict import Comparison, Conflicts
from orthanc_gcp.dicomweb import (
    InstanceResult,
    InstanceStatus,
    Part,
    SourceError,
    Stored,
    StoreError,
)
from orthanc_gcp.errors import (
    GcpError,
    OrthancUnavailableError,
)
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Series, Transfer
from orthanc_gcp.ledger.schema import Priority, State
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["Sender"]

_log = logging.getLogger(__name__)

SLOWEST_BEHIND = 256 * 1024
"""Bytes a second that a proxy sends on at least, which has taken all of an instance: where that was
once too slow for the time limit, it may take as long."""


class Sender:
    """Sends batches; one object serves all threads of a worker.

    Parameters
    ----------
    orthanc_away, is_its_index, may_be_recycled
        See :class:`SourceFaults`.
    undone
        See :class:`OlderVersions`.

    Attributes
    ----------
    source
        What becomes of what Orthanc does not give.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        destinations: Mapping[str, Destination],
        tokens: TokenSource,
        clock: Clock,
        stopping: Callable[[], bool],
        orthanc_away: Callable[[GcpError, float], None],
        is_its_index: Callable[[str], bool],
        jitter: Callable[[], float] = random.random,
        may_be_recycled: Callable[[Transfer, float], bool] = lambda _row, _since: False,
        undone: Undone | None = None,
    ) -> None:
        self._ledger, self._orthanc, self._destinations = ledger, orthanc, destinations
        self._tokens, self._clock, self._stopping = tokens, clock, stopping
        self._older = OlderVersions(ledger, orthanc, is_its_index, undone or ledger.indexes.undone)
        self._conflicts = Conflicts(ledger, orthanc, stopping)
        self.source = SourceFaults(
            ledger, orthanc, clock, orthanc_away, is_its_index, may_be_recycled, jitter
        )
        self._refusals = StoreRefusals(ledger, tokens, self.source, jitter)

    def send(self, batch: str, transfers: Sequence[Transfer]) -> list[Series]:
        """Send the instances of a claimed batch; the series of those acknowledged.

        Sending again what was sent already is harmless: the store refuses it, or takes it as
        identical, and what it refuses is compared. What was taken from the batch meanwhile is
        not settled by it.

        Raises
        ------
        SQLAlchemyError
            The ledger is away: what became of the batch is not written down.
        """
        account = transfers[0].account
        destination = self._destinations[account]
        began = destination.congestion.now
        outcomes: list[Outcome] = []

        def settle(some: Sequence[Outcome]) -> None:
            if some:
                self._ledger.queue.settle(batch, some, self._tokens.identity(account))
                outcomes.extend(some)

        try:
            for some in self._send(destination, batch, transfers):
                settle(some)
        except SQLAlchemyError:
            raise
        except Exception as error:  # a defect, or an answer that no Orthanc gives
            settled = {outcome.id for outcome in outcomes}
            left = [row for row in transfers if row.id not in settled]
            settle(self._refusals.unexpected(destination, left, error, began) if left else [])
        lost = {outcome.id for outcome in outcomes if outcome.state == State.LOST}
        report_losses(
            Counter((row.account, row.study_instance_uid) for row in transfers if row.id in lost)
        )
        acknowledged = {outcome.id for outcome in outcomes if outcome.state == State.ACKNOWLEDGED}
        return list({row.series: 0 for row in transfers if row.id in acknowledged})

    def _send(
        self, destination: Destination, batch: str, transfers: Sequence[Transfer]
    ) -> Iterator[list[Outcome]]:
        """What becomes of all of them, some after others, as it is known."""
        if self.source.files.pause:
            yield self.source.storage_is_away(transfers)
            return
        try:
            versions = self._older.sort(transfers)
            transfers = versions.sendable
            yield self.source.index_is_unclear(versions.unclear)
            wanted = {transfer.orthanc_id: transfer.sop_instance_uid for transfer in transfers}
            found = self._orthanc.checksums.md5s(wanted)
        except OrthancUnavailableError as error:
            yield self.source.orthanc_is_away(transfers, error)
            return
        md5s = {name: md5 for name, md5 in found.items() if isinstance(md5, str)}
        unknown = found.keys() - md5s.keys()
        readable = [row for row in transfers if row.orthanc_id not in unknown]
        yield [
            self.source.without_file(row, str(found[row.orthanc_id]))
            for row in transfers
            if row.orthanc_id in unknown
        ]
        if readable:
            yield from self._send_checked(destination, batch, readable, md5s)

    def _send_checked(
        self,
        destination: Destination,
        batch: str,
        transfers: Sequence[Transfer],
        md5s: Mapping[str, str],
    ) -> Iterator[list[Outcome]]:
        digests: dict[str, str] = {}
        parts = [
            self._part(transfer, md5s.get(transfer.orthanc_id), digests) for transfer in transfers
        ]
        priority = Priority(transfers[0].priority)
        throttle = _Throttle(destination.byte_throttles(priority), self._clock)
        try:
            with destination.request(priority) as began:
                stored = self._store(destination, batch, transfers, parts, throttle)
        except SourceError as error:
            self.source.files.succeeded(digests, began)
            yield self.source.without(_present(transfers, digests), error, md5s)
            return
        except StoreError as error:
            self.source.files.succeeded(digests, began)
            present = _present(transfers, digests)
            yield self._refusals.of_request(destination, present, error, began)
            return
        self.source.files.succeeded(digests, began)
        transfers = _present(transfers, digests)
        there = [row for row in transfers if stored.results[row.sop_instance_uid].is_there]
        if not there:
            yield self._untaken(destination, transfers, stored, began)
            return
        size = sum(transfer.size_bytes for transfer in transfers)
        # What a cap takes is no slowness of the store.
        seconds = self._clock.now() - began - throttle.seconds
        was_away = destination.congestion.is_away
        destination.congestion.succeeded(len(transfers), size, seconds, began)
        self._note_success(destination, there, began, was_away=was_away)
        yield from self._outcomes(destination, transfers, stored, digests)

    def _store(
        self,
        destination: Destination,
        batch: str,
        transfers: Sequence[Transfer],
        parts: Sequence[Part],
        throttle: _Throttle,
    ) -> Stored:
        # The option may have another value than when it was to be replaced.
        replaces = transfers[0].replace and destination.replaces
        client = destination.upsert if replaces else destination.store

        def is_held() -> bool:
            return self._ledger.queue.held(batch) >= {row.id for row in transfers}

        return client.store(
            parts,
            replace=replaces,
            throttle=throttle.acquire if throttle else None,
            stop=self._stopping,
            # Nothing else hinders an upsert that lasts from replacing what was sent meanwhile.
            may_end=is_held if replaces else None,
            patience=_patience(transfers),
        )

    def _part(self, transfer: Transfer, md5: str | None, digests: dict[str, str]) -> Part:
        def read() -> AbstractContextManager[Iterator[bytes]]:
            source = self._orthanc.read(
                transfer.orthanc_id, transfer.attachment_uuid, transfer.size_bytes
            )
            return checked(source, transfer, md5, digests)

        return Part(
            transfer.study_instance_uid,
            transfer.series_instance_uid,
            transfer.sop_instance_uid,
            transfer.size_bytes,
            read,
        )

    # -- The answer of the store ----------------------------------------------------------------

    def _untaken(
        self,
        destination: Destination,
        transfers: Sequence[Transfer],
        stored: Stored,
        began: float,
    ) -> list[Outcome]:
        """The store has none of them: it or a proxy may be at fault, or their UIDs are others."""
        results = [stored.results[row.sop_instance_uid] for row in transfers]
        others = [one for one in results if one.status is not InstanceStatus.INVALID]
        if not others:
            errors = [_untaken(one) for one in results]
            return self._refusals.of_each(destination, transfers, errors, began)
        if others[0].status is InstanceStatus.UNACKNOWLEDGED:
            misnamed = self.source.all_misnamed(transfers)
            if misnamed:
                return misnamed
        return self._refusals.of_instances(destination, transfers, _untaken(others[0]), began)

    def _outcomes(
        self,
        destination: Destination,
        transfers: Sequence[Transfer],
        stored: Stored,
        digests: Mapping[str, str],
    ) -> Iterator[list[Outcome]]:
        """Of what the store has already at last: to compare it may take long."""
        results = {row: stored.results[row.sop_instance_uid] for row in transfers}
        refused = {
            row: digests[row.orthanc_id]
            for row, result in results.items()
            if result.status is InstanceStatus.CONFLICT and row.orthanc_id in digests
        }
        again = [
            row
            for row, result in results.items()
            if result.status is InstanceStatus.STORED and row.worker is not None
        ]
        overwritten = self.source.overwritten(again) if again else set()
        yield [
            self._outcome(
                destination, row, result, digests.get(row.orthanc_id), row.id in overwritten
            )
            for row, result in results.items()
            if row not in refused
        ]
        rows = {row.id: row for row in refused}
        for compared in self._compare(destination, refused) if refused else ():
            different = [row for row, one in compared.items() if one.difference is not None]
            outdated = self._ledger.versions.outdated(different) if different else set()
            yield [
                self._conflict(destination, row, refused[row], one, row.id in outdated)
                for row, one in ((rows[number], one) for number, one in compared.items())
            ]

    def _compare(
        self, destination: Destination, refused: Mapping[Transfer, str]
    ) -> Iterator[dict[int, Comparison]]:
        began = destination.congestion.now
        for compared in self._conflicts.compare(destination, refused):
            done = [row for row, one in compared.items() if one.error is None]
            if done:
                destination.comparing.succeeded(done, began, destination.congestion.now)
            yield compared

    def _outcome(
        self,
        destination: Destination,
        row: Transfer,
        result: InstanceResult,
        digest: str | None,
        overwritten: bool,
    ) -> Outcome:
        if result.status is InstanceStatus.STORED and digest is not None:
            if row.replace and destination.replaces:
                self._add_event(
                    row, "replaced", f"by the upsert of version v1beta1, SHA-256 {digest}"
                )
            return Outcome(
                row.id,
                State.ACKNOWLEDGED,
                sha256=digest,
                attempts=row.attempts + 1,
                replace=row.replace,
                other_is_there=overwritten or result.warned,
            )
        if result.status is InstanceStatus.UNACKNOWLEDGED and row.attempts:
            # The store may have skipped it once, for another reason.
            misnamed = self.source.misnamed(row)
            if misnamed is not None:
                return misnamed
        if result.status is InstanceStatus.INVALID:
            return quarantined(row, TransferReason.INVALID, result.detail, digest)
        return self._refusals.delayed(row, _reason_of(result), result.detail, most=1)

    def _conflict(
        self,
        destination: Destination,
        row: Transfer,
        digest: str,
        compared: Comparison,
        outdated: bool,
    ) -> Outcome:
        """The store says that it has the instance, with whatever bytes: they were compared."""
        if compared.error is not None:
            if compared.outage is None:
                return self._refusals.uncompared(destination, row, compared.error)
            return self._refusals.unread(destination, row, compared.outage, asked=compared.asked)
        difference = compared.difference
        if difference is None:
            return Outcome(
                row.id,
                State.ACKNOWLEDGED,
                TransferReason.COMPARED if compared.read else None,
                sha256=digest,
                attempts=row.attempts + 1,
            )
        if outdated:
            words = f"a newer version of it, with the same UIDs, was received; {difference}"
            return Outcome(
                row.id,
                State.SUPERSEDED,
                TransferReason.SUPERSEDED,
                words,
                sha256=digest,
                attempts=row.attempts + 1,
                seen=compared.seen,
            )
        if not destination.replaces or row.replace:
            ended = quarantined(row, TransferReason.CONFLICT, difference, digest)
            return replace(ended, seen=compared.seen)
        self._add_event(row, "replacing", difference)
        return Outcome(
            row.id,
            State.WAITING,
            TransferReason.REPLACING,
            difference,
            attempts=row.attempts + 1,
            replace=True,
        )

    def _note_success(
        self,
        destination: Destination,
        there: Sequence[Transfer],
        began: float,
        *,
        was_away: bool,
    ) -> None:
        """The store has some instances: what has failed with all others is due again."""
        rows, now = [row.id for row in there], destination.congestion.now
        if destination.storing.succeeded(rows, began, now) or was_away:
            self._ledger.queue.hasten(destination.account)

    def _add_event(self, row: Transfer, kind: str, words: str) -> None:
        self._ledger.events.add(
            row.account, kind, words, row.study_instance_uid, row.sop_instance_uid
        )


class _Throttle:
    """Keeps the bytes of a request to all limits.

    Attributes
    ----------
    seconds
        So long they have been waited for.
    """

    def __init__(self, limits: Sequence[Callable[[int], None]], clock: Clock) -> None:
        self._limits, self._clock = limits, clock
        self.seconds = 0.0

    def __bool__(self) -> bool:
        return bool(self._limits)

    def acquire(self, count: int) -> None:
        before = self._clock.now()
        for acquire in self._limits:
            acquire(count)
        self.seconds += self._clock.now() - before


def _present(transfers: Sequence[Transfer], digests: Container[str]) -> list[Transfer]:
    """The same; those whose files were read are not absent from Orthanc."""
    return [
        replace(row, absent_since=None)
        if row.absent_since is not None and row.orthanc_id in digests
        else row
        for row in transfers
    ]


def _patience(transfers: Sequence[Transfer]) -> float:
    """Seconds that the answer may take longer: of many instances, fewer are sent together."""
    row = transfers[0]
    was_too_slow = len(transfers) == 1 and row.reason == StoreReason.TIMEOUT
    return row.size_bytes / SLOWEST_BEHIND if was_too_slow else 0.0


def _untaken(result: InstanceResult) -> StoreError:
    return StoreError(result.detail, reason=_reason_of(result), retryable=True)


def _reason_of(result: InstanceResult) -> str:
    """Why an instance was not taken, as the ledger has it."""
    if result.status is InstanceStatus.OTHER:
        return TransferReason.REFUSED
    return str(result.status)
