"""A round of a retrieval: what the store lists of it, and what Orthanc has of that.

The first round says what is to come; when all has come, another one says whether that was all.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import (
    Arrived,
    Listed,
    RetrievalOutcome,
    RetrievalRow,
    RetrievedRow,
)
from orthanc_gcp.ledger.schema import Cause, RetrievedState
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import RetrievalReason, StoreReason
from orthanc_gcp.retrieval.held import held
from orthanc_gcp.retrieval.listing import listed
from orthanc_gcp.retrieval.remote import BACKOFF, RemoteStore

__all__ = ["Rounds"]

_log = logging.getLogger(__name__)

MOST_ROUNDS = 10
"""So often a store is asked whether it lists more by now."""
MOST_REFUSALS, MOST_FAILURES = 4, 8
"""So often it is asked that refuses to list, or fails otherwise."""
MOST_LOST = 2
"""So often one is brought that Orthanc does not keep."""
_PORTION = 500


class Rounds:
    """Makes the rounds of retrievals into one Orthanc."""

    def __init__(
        self, ledger: Ledger, rest: OrthancRest, orthanc: OrthancSource, clock: Clock
    ) -> None:
        self._ledger, self._rest, self._orthanc, self._clock = ledger, rest, orthanc, clock

    def make(self, remote: RemoteStore, retrieval: RetrievalRow) -> None:
        """Make a round, and end the retrieval where it shows that nothing more comes.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses: the round has to be made again.
        SQLAlchemyError
            The ledger is away: so it has.
        """
        new = self._ask(remote, retrieval)
        if new is None:
            return
        retrievals, number = self._ledger.retrievals, retrieval.rounds + 1
        if not retrievals.count(retrieval):
            words = "the store lists no such study, series or instance"
            self.end(retrieval, RetrievalReason.NOT_LISTED, words)
            return
        self._look(retrieval, number)
        retrievals.listed(retrieval, number)
        if not retrievals.any_pending(retrieval):
            self.end(retrieval)
        elif number >= MOST_ROUNDS:
            words = f"the store listed {new} more when it was asked for the {number}th time"
            self.end(retrieval, RetrievalReason.UNSTABLE, words)

    def end(
        self, retrieval: RetrievalRow, reason: RetrievalReason | str | None = None, words: str = ""
    ) -> None:
        """End a retrieval, and say how in the log.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        complete = self._ledger.retrievals.end(retrieval, reason, words or None)
        what = f"retrieval {retrieval.id} of study {retrieval.study_instance_uid!r}"
        if complete and retrieval.cause == Cause.NOTIFICATION:
            _log.debug("account %s: %s: Orthanc has it", retrieval.account, what)
        elif complete:
            _log.info("account %s: %s: Orthanc has all of it", retrieval.account, what)
        else:
            why = f" ({reason}): {words}" if reason else ": see /gcp/accounts/…/retrievals"
            _log.error("account %s: %s has ended INCOMPLETE%s", retrieval.account, what, why)

    def failed(
        self, retrieval: RetrievalRow, reason: RetrievalReason | str, words: str, *, ended: bool
    ) -> None:
        """A round could not be made: it is made again later, unless that was often enough.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        attempts = retrieval.attempts + 1
        if ended:
            self.end(retrieval, reason, words)
        else:
            pause = BACKOFF.delay(attempts)
            self._ledger.retrievals.postpone(retrieval, attempts, pause, reason, words)

    # -- The store ------------------------------------------------------------------------------

    def _ask(self, remote: RemoteStore, retrieval: RetrievalRow) -> int | None:
        """Ask the store; how much is new, None where there is nothing to look for in Orthanc."""
        # A notification names its instance, which is listed already.
        named = retrieval.cause == Cause.NOTIFICATION
        if named and (remote.wants is None or retrieval.rounds):
            return 0
        began = self._clock.now()
        remote.wait_for_request()
        try:
            new = 0 if named else self._list(remote, retrieval)
            wanted = not named or self._is_wanted(remote, retrieval)
        except StoreError as error:
            self._not_listed(remote, retrieval, error)
            return None
        remote.pace.succeeded(began)
        if not wanted:
            self._ledger.retrievals.forget(retrieval)
        return new if wanted else None

    def _is_wanted(self, remote: RemoteStore, retrieval: RetrievalRow) -> bool:
        """Whether an instance that a notification names has the attributes that are asked for."""
        resource = retrieval.resource
        series, instance = resource.series_instance_uid or "", resource.sop_instance_uid or ""
        attributes = remote.client.metadata(resource.study_instance_uid, series, instance)
        return remote.wants is None or remote.wants(attributes)

    def _list(self, remote: RemoteStore, retrieval: RetrievalRow) -> int:
        """Write down what the store lists; how much of it is new."""
        new, some = 0, list[Listed]()
        for one in listed(remote.client, retrieval.resource):
            some.append(one)
            if len(some) >= _PORTION:
                new += self._ledger.retrievals.add_listed(retrieval, some)
                some.clear()
        return new + self._ledger.retrievals.add_listed(retrieval, some)

    def _not_listed(self, remote: RemoteStore, retrieval: RetrievalRow, error: StoreError) -> None:
        if error.reason == StoreReason.UNAUTHORIZED:
            remote.renew_token()
        counts = bool(remote.pace.failed([-retrieval.id], error))
        most = MOST_FAILURES if error.retryable else MOST_REFUSALS
        if counts:
            ended = retrieval.attempts + 1 >= most
            self.failed(retrieval, error.reason, str(error), ended=ended)
        else:
            self._ledger.retrievals.postpone(
                retrieval, retrieval.attempts, 0.0, error.reason, str(error)
            )

    # -- Orthanc --------------------------------------------------------------------------------

    def _look(self, retrieval: RetrievalRow, number: int) -> None:
        """See what Orthanc has, and what it does not have any more."""
        retrievals = self._ledger.retrievals
        for some in held(self._rest, self._orthanc, retrieval.resource):
            found = retrievals.recognize(retrieval, some, number)
            retrievals.settle(self._present(retrieval, found, some))
        while gone := retrievals.gone(retrieval, number):
            retrievals.settle([self._lost(row) for row in gone])

    def _present(
        self, retrieval: RetrievalRow, rows: Sequence[RetrievedRow], there: Sequence[Arrived]
    ) -> list[RetrievalOutcome]:
        """What becomes of those that Orthanc has already."""
        # What was on its way when this program ended is brought again: whose bytes Orthanc has is
        # not known.
        fresh = [row for row in rows if row.md5 is None]
        known = {}
        if not retrieval.compare_bytes:
            known = self._ledger.retrievals.stored_digests(retrieval.account, fresh)
        by_uids = {one.uids: one for one in there}
        outcomes = []
        for row in fresh:
            one = by_uids[row.uids]
            sent = one.attachment_uuid in known[row.uids][1] if row.uids in known else True
            is_same = sent and not retrieval.compare_bytes
            state = RetrievedState.PRESENT if is_same else RetrievedState.COMPARING
            outcomes.append(RetrievalOutcome(row.id, state, orthanc_id=one.orthanc_id))
        return outcomes

    def _lost(self, row: RetrievedRow) -> RetrievalOutcome:
        """What becomes of one that Orthanc took, or had, and does not have."""
        attempts = row.attempts + 1
        if row.orthanc_id and self._orthanc.describe([row.orthanc_id]):
            reason, words = RetrievalReason.OTHER_INSTANCE, "the store gave another in its place"
            attempts = MOST_LOST
        else:
            reason, words = RetrievalReason.GONE, "Orthanc has deleted it before all had come"
        ended = attempts >= MOST_LOST
        state = RetrievedState.MISSING if ended else RetrievedState.WAITING
        return RetrievalOutcome(row.id, state, attempts, None, reason, words)
