"""Brings instances from a store into Orthanc, request by request, and says what became of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace

from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import OrthancGoneError, OrthancRefusedError, StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import (
    Coming,
    Digests,
    Resource,
    RetrievalOutcome,
    RetrievalRow,
    RetrievedRow,
)
from orthanc_gcp.ledger.schema import RetrievedState
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import RetrievalReason, StoreReason
from orthanc_gcp.retrieval.comparison import has_bytes, has_sha256, read_digests
from orthanc_gcp.retrieval.digest_notes import DigestNotes
from orthanc_gcp.retrieval.held import held
from orthanc_gcp.retrieval.judgement import Judgement, Taken, judge
from orthanc_gcp.retrieval.plan import Fetch
from orthanc_gcp.retrieval.remote import BACKOFF, RemoteStore
from orthanc_gcp.retrieval.side_by_side import LARGEST, SideBySide
from orthanc_gcp.retrieval.upload import (
    NoFileError,
    checked,
    head_of,
    small,
    sop_instance_uid,
    throttled,
)

__all__ = ["OF_USER", "Fetcher"]

MOST_REFUSALS, MOST_ATTEMPTS = 4, 8
"""So often one is asked for that the store does not give, or that fails otherwise."""
OF_USER = (401, 403)
"""What Orthanc refuses whatever it is asked."""
LARGEST_IN_MEMORY = 1024 * 1024
"""Bytes of a file that is read first: Orthanc takes it for less if it knows its length before."""
MOST_FULL = 8
"""So often Orthanc is asked whether it has room by now."""


class _PassedOverError(Exception):
    """A file is not to be given to Orthanc after all."""


class Fetcher:
    """Retrieves into one Orthanc; several threads may use it at once.

    Parameters
    ----------
    settle
        Gets what became of each instance.
    on_full
        Gets the instance that Orthanc has no room for, whether it is given up, and Orthanc's words.
    uploads
        Gives Orthanc small files that come together.
    must_stop
        Whether what is on its way is to be broken off.
    overwrites
        Whether Orthanc overwrites what it has with what it is given (``OverwriteInstances``).
    """

    def __init__(
        self,
        ledger: Ledger,
        rest: OrthancRest,
        orthanc: OrthancSource,
        clock: Clock,
        settle: Callable[[RetrievalOutcome], None],
        on_full: Callable[[RetrievedRow, bool, str], None],
        uploads: Executor,
        must_stop: Callable[[], bool] = lambda: False,
        *,
        overwrites: bool = False,
    ) -> None:
        self._notes = DigestNotes(ledger.retrievals.note_digests)
        self._uploads = uploads
        self._ledger, self._rest, self._orthanc = ledger, rest, orthanc
        self._clock, self._settle, self._on_full = clock, settle, on_full
        self._must_stop, self._overwrites = must_stop, overwrites

    def fetch(self, remote: RemoteStore, retrieval: RetrievalRow, fetch: Fetch) -> None:
        """Bring what a request asks for; nothing that the store does is raised.

        Raises
        ------
        OrthancError
            Orthanc is away: what is not settled waits.
        SQLAlchemyError
            The ledger is away: so it does.
        """
        began, left = self._clock.now(), {row.id: row for row in fetch.rows}
        remote.wait_for_request()
        try:
            if not fetch.is_single:
                self._fetch_several(remote, fetch, left)
            elif fetch.rows[0].state == RetrievedState.COMPARING:
                self._compare(remote, retrieval, fetch.rows[0])
            else:
                self._fetch_one(remote, fetch.rows[0])
        except StoreError as error:
            if error.reason != StoreReason.ABORTED:
                self._store_failed(remote, list(left.values()), error)
        except (OrthancGoneError, OrthancRefusedError) as error:
            if error.status in OF_USER:
                raise
            is_gone = isinstance(error, OrthancGoneError)  # so it is not compared, but brought
            for row in left.values():
                one = replace(row, state=RetrievedState.WAITING) if is_gone else row
                self._missing(one, RetrievalReason.ORTHANC, str(error), MOST_ATTEMPTS)
        else:
            remote.pace.succeeded(began)

    def _throttles(self, remote: RemoteStore) -> list[Callable[[int], None]]:
        return [self._break_off, *remote.throttles()]

    def _break_off(self, _count: int) -> None:
        """End what is on its way when this program is to end: it waits, and comes anew."""
        if self._must_stop():
            raise StoreError("it was broken off", reason=StoreReason.ABORTED, retryable=True)

    # -- One ------------------------------------------------------------------------------------

    def _fetch_one(self, remote: RemoteStore, row: RetrievedRow) -> None:
        if row.md5 is not None and self._has_come(remote, row):
            return
        if row.attempts >= MOST_ATTEMPTS:
            words = "Orthanc has broken off whenever it was given it"
            self._missing(row, RetrievalReason.ORTHANC, words, MOST_ATTEMPTS)
            return
        with remote.client.open(*row.uids) as pieces:
            self._bring(remote, row, throttled(pieces, self._throttles(remote)))

    def _has_come(self, remote: RemoteStore, row: RetrievedRow) -> bool:
        """Whether Orthanc has what came before this program was interrupted."""
        for there in held(self._rest, self._orthanc, [Resource(*row.uids)]):
            for one in there:
                names = {one.orthanc_id: row.sop_instance_uid}
                if one.uids == row.uids and (
                    self._orthanc.checksums.md5s(names).get(one.orthanc_id) == row.md5
                ):
                    self._done(remote, row, RetrievedState.RECEIVED, one.orthanc_id)
                    return True
        return False

    def _bring(self, remote: RemoteStore, row: RetrievedRow, pieces: Iterator[bytes]) -> None:
        """Give Orthanc a file; the ledger has its digests before Orthanc has all of it.

        That it was given is counted before, too: one that ends Orthanc ends this process with it.
        """
        came: list[Digests] = []

        def note(digests: Digests) -> None:
            came.append(digests)
            if self._passed_over(remote, [(row, digests)]):
                raise _PassedOverError
            self._notes.note([Coming(row.id, row.attempts + 1, digests)])

        try:
            content, body = small(checked(pieces, note), LARGEST_IN_MEMORY)
            judgement = judge(*self._rest.upload("/instances", content or body))
        except NoFileError as error:
            self._missing(row, RetrievalReason.INVALID, str(error), MOST_REFUSALS)
            return
        except _PassedOverError:
            return
        self._judged(remote, row, came[0] if came else None, judgement)

    def _passed_over(
        self, remote: RemoteStore, files: Sequence[tuple[RetrievedRow, Digests]]
    ) -> Collection[int]:
        """Those of some that Orthanc has received since it was looked at, which it would overwrite.

        They are compared; what is between this moment and that in which it is given is not seen.
        """
        if not self._overwrites:
            return ()
        asked = [Resource(*row.uids) for row, _ in files]
        there = [one for some in held(self._rest, self._orthanc, asked) for one in some]
        found = set[int]()
        for row, digests in files:
            uid, own = row.sop_instance_uid, [one for one in there if one.uids == row.uids]
            if not own:
                continue
            alike = (one for one in own if has_bytes(self._orthanc, one.orthanc_id, uid, digests))
            same = next(alike, None)  # several patients may have it
            identifier = (same or own[0]).orthanc_id
            self._compared(remote, row, identifier, same is not None, RetrievedState.PRESENT)
            found.add(row.id)
        return found

    def _judged(
        self,
        remote: RemoteStore,
        row: RetrievedRow,
        digests: Digests | None,
        judgement: Judgement,
    ) -> None:
        """What becomes of one, by what Orthanc says; it may have said it before it had all."""
        if judgement.taken is Taken.STORED:
            self._done(remote, row, RetrievedState.RECEIVED, judgement.orthanc_id)
        elif judgement.taken is Taken.ALREADY and digests is not None:
            identifier, uid = judgement.orthanc_id, row.sop_instance_uid
            same = has_bytes(self._orthanc, identifier, uid, digests)
            self._compared(remote, row, identifier, same, RetrievedState.RECEIVED)
        else:
            self._not_taken(row, judgement)

    def _not_taken(self, row: RetrievedRow, judgement: Judgement) -> None:
        most = {Taken.REFUSED: 1, Taken.FULL: MOST_FULL}.get(judgement.taken, MOST_ATTEMPTS)
        reason = judgement.reason or RetrievalReason.ORTHANC
        ended = self._missing(
            row,
            reason,
            judgement.words,
            most,
            may_be_in_orthanc=judgement.taken not in (Taken.REFUSED, Taken.FULL),
        )
        if judgement.taken is Taken.FULL:
            self._on_full(row, ended, judgement.words)

    # -- Several --------------------------------------------------------------------------------

    def _fetch_several(
        self, remote: RemoteStore, fetch: Fetch, left: dict[int, RetrievedRow]
    ) -> None:
        """Bring what comes together; each that does is taken away from what is left."""
        wanted = {row.sop_instance_uid: row for row in fetch.rows}
        twice = len(wanted) < len(fetch.rows)  # two series have one of the same UID

        def settle(row: RetrievedRow, digests: Digests, judgement: Judgement) -> None:
            self._judged(remote, row, digests, judgement)
            del left[row.id]

        def passed_over(files: Sequence[tuple[RetrievedRow, Digests]]) -> Collection[int]:
            found = self._passed_over(remote, files)
            for number in found:
                del left[number]
            return found

        small_ones = SideBySide(self._uploads, self._notes.note, self._give, settle, passed_over)
        throttles = self._throttles(remote)
        with remote.client.retrieve(fetch.study, fetch.series) as files:
            try:
                for pieces in () if twice else files:
                    head, whole = head_of(throttled(pieces, throttles))
                    row = wanted.pop(sop_instance_uid(head) or "", None)
                    if row is None:
                        continue
                    content, whole = small(whole, LARGEST)
                    if content is not None:
                        small_ones.add(row, content)
                    else:
                        self._bring(remote, row, whole)
                        del left[row.id]
            finally:
                small_ones.end()
        for row in left.values():
            words = "the store did not give it with the others"
            self._missing(row, RetrievalReason.NOT_GIVEN, words, MOST_ATTEMPTS)

    def _give(self, contents: Sequence[bytes]) -> Iterator[Judgement]:
        return (judge(*answer) for answer in self._rest.upload_each("/instances", contents))

    # -- What Orthanc has already ---------------------------------------------------------------

    def _compare(self, remote: RemoteStore, retrieval: RetrievalRow, row: RetrievedRow) -> None:
        identifier = row.orthanc_id or ""
        known = self._ledger.retrievals.stored_digests(retrieval.account, [row]).get(row.uids)
        if known is not None and not retrieval.compare_bytes:
            same = has_sha256(self._orthanc, identifier, known[0])
        else:
            digests = read_digests(remote.client, row, self._throttles(remote))
            same = has_bytes(self._orthanc, identifier, row.sop_instance_uid, digests)
        self._compared(remote, row, identifier, same, RetrievedState.PRESENT)

    def _compared(
        self,
        remote: RemoteStore,
        row: RetrievedRow,
        identifier: str,
        same: bool,
        state: RetrievedState,
    ) -> None:
        if same:
            self._done(remote, row, state, identifier)
            return
        words = "Orthanc has it with other bytes than the store, and is left as it is"
        remote.pace.forget(row.id)
        self._settle(
            RetrievalOutcome(
                row.id,
                RetrievedState.DIFFERENT,
                row.attempts,
                None,
                RetrievalReason.DIFFERENT,
                words,
                identifier,
                may_be_in_orthanc=False,
            )
        )

    # -- What becomes of them -------------------------------------------------------------------

    def _done(
        self, remote: RemoteStore, row: RetrievedRow, state: RetrievedState, identifier: str
    ) -> None:
        remote.pace.forget(row.id)
        self._settle(RetrievalOutcome(row.id, state, row.attempts, orthanc_id=identifier))

    def _store_failed(
        self, remote: RemoteStore, rows: Sequence[RetrievedRow], error: StoreError
    ) -> None:
        if error.reason == StoreReason.UNAUTHORIZED:
            remote.renew_token()
        counted = remote.failed([row.id for row in rows], error)
        most = MOST_ATTEMPTS if error.retryable else MOST_REFUSALS
        for row in rows:
            self._missing(row, error.reason, str(error), most, counts=row.id in counted)

    def _missing(
        self,
        row: RetrievedRow,
        reason: str,
        words: str,
        most: int,
        *,
        counts: bool = True,
        may_be_in_orthanc: bool = True,
    ) -> bool:
        """One has not come: it is asked for again, unless that was often enough, which is said."""
        attempts = row.attempts + counts
        ended = attempts >= most
        pause = BACKOFF.delay(max(1, attempts))
        self._settle(
            RetrievalOutcome(
                row.id,
                RetrievedState.MISSING if ended else RetrievedState(row.state),
                attempts,
                None if ended else self._ledger.now() + pause,
                reason,
                words,
                may_be_in_orthanc=may_be_in_orthanc,
            )
        )
        return ended
