"""A round of a retrieval: what the store lists of it, and what Orthanc has of that.

The first round says what is to come; when all has come, another one says whether that was all.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
from orthanc_gcp.retrieval.held import described, held
from orthanc_gcp.retrieval.listing import listed
from orthanc_gcp.retrieval.remote import BACKOFF, RemoteStore

__all__ = ["Asked", "Rounds"]

_log = logging.getLogger(__name__)

MOST_ROUNDS = 10
"""So often a store is asked whether it lists more by now."""
MOST_REFUSALS, MOST_FAILURES = 4, 8
"""So often it is asked that refuses to list, or fails otherwise."""
MOST_LOST = 2
"""So often one is brought that Orthanc does not keep."""
_PORTION = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """A retrieval whose store was asked.

    Attributes
    ----------
    listed
        What the store lists, and is not written down yet.
    """

    retrieval: RetrievalRow
    listed: tuple[Listed, ...] = ()


class Rounds:
    """Makes the rounds of retrievals into one Orthanc: asks each store, then looks at several."""

    def __init__(
        self, ledger: Ledger, rest: OrthancRest, orthanc: OrthancSource, clock: Clock
    ) -> None:
        self._ledger, self._rest, self._orthanc, self._clock = ledger, rest, orthanc, clock

    def ask(self, remote: RemoteStore, retrieval: RetrievalRow) -> Asked | None:
        """Ask the store; None where there is nothing to look for in Orthanc.

        Raises
        ------
        SQLAlchemyError
            The ledger is away: it has to be asked again.
        """
        if not self.needs_store(remote, retrieval):
            return Asked(retrieval)
        named = retrieval.cause == Cause.NOTIFICATION
        began = self._clock.now()
        remote.wait_for_request()
        try:
            some = [] if named else self._list(remote, retrieval)
            wanted = not named or self._is_wanted(remote, retrieval)
        except StoreError as error:
            self._not_listed(remote, retrieval, error)
            return None
        remote.pace.succeeded(began)
        if not wanted:
            self._ledger.retrievals.forget(retrieval)
            return None
        return Asked(retrieval, tuple(some))

    @staticmethod
    def needs_store(remote: RemoteStore, retrieval: RetrievalRow) -> bool:
        """Whether the store has to be asked at all."""
        # A notification names its instance, which is listed already.
        named = retrieval.cause == Cause.NOTIFICATION
        return not named or (remote.wants is not None and not retrieval.rounds)

    def look(self, asked: Sequence[Asked]) -> None:
        """Look what Orthanc has of some, and end those of which nothing more comes.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses: the rounds have to be made again.
        SQLAlchemyError
            The ledger is away: so they have.
        """
        rounds = self._ledger.retrieval_rounds
        rounds.add_listed([(one.retrieval, each) for one in asked for each in one.listed])
        some = rounds.having([one.retrieval for one in asked])
        for one in asked:
            if one.retrieval.id not in some:
                words = "the store lists no such study, series or instance"
                self.end(one.retrieval, RetrievalReason.NOT_LISTED, words)
        if not some:
            return
        retrievals = list(some.values())
        self._see(retrievals)
        ended = rounds.close(retrievals)
        for retrieval in retrievals:
            number = retrieval.rounds + 1
            if retrieval.id in ended:
                self._log_end(retrieval, complete=ended[retrieval.id])
            elif number >= MOST_ROUNDS:
                words = f"the store listed more each time that it was asked, {number} times"
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
        self._log_end(retrieval, reason, words, complete=complete)

    def _log_end(
        self,
        retrieval: RetrievalRow,
        reason: RetrievalReason | str | None = None,
        words: str = "",
        *,
        complete: bool,
    ) -> None:
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

    def _is_wanted(self, remote: RemoteStore, retrieval: RetrievalRow) -> bool:
        """Whether an instance that a notification names has the attributes that are asked for."""
        resource = retrieval.resource
        series, instance = resource.series_instance_uid or "", resource.sop_instance_uid or ""
        attributes = remote.client.metadata(resource.study_instance_uid, series, instance)
        return remote.wants is None or remote.wants(attributes)

    def _list(self, remote: RemoteStore, retrieval: RetrievalRow) -> list[Listed]:
        """What the store lists; of much, the most is written down at once, and the rest given."""
        some: list[Listed] = []
        for one in listed(remote.client, retrieval.resource):
            some.append(one)
            if len(some) >= _PORTION:
                self._ledger.retrieval_rounds.add_listed([(retrieval, each) for each in some])
                some.clear()
        return some

    def _not_listed(self, remote: RemoteStore, retrieval: RetrievalRow, error: StoreError) -> None:
        if error.reason == StoreReason.UNAUTHORIZED:
            remote.renew_token()
        counts = bool(remote.failed([-retrieval.id], error))
        most = MOST_FAILURES if error.retryable else MOST_REFUSALS
        if counts:
            ended = retrieval.attempts + 1 >= most
            self.failed(retrieval, error.reason, str(error), ended=ended)
        else:
            self._ledger.retrievals.postpone(
                retrieval, retrieval.attempts, 0.0, error.reason, str(error)
            )

    # -- Orthanc --------------------------------------------------------------------------------

    def _see(self, some: Sequence[RetrievalRow]) -> None:
        """See what Orthanc has of these, and what it does not have any more."""
        rounds, settle = self._ledger.retrieval_rounds, self._ledger.retrievals.settle
        searched = rounds.having(some, RetrievedState.WAITING)
        known = [one for one in some if one.id not in searched]
        for there in self._there(list(searched.values()), known):
            settle(self._present(some, rounds.recognize(some, there), there))
        while gone := rounds.gone(some):
            settle([self._lost(row) for row in gone])

    def _there(
        self, searched: Sequence[RetrievalRow], known: Sequence[RetrievalRow]
    ) -> Iterator[list[Arrived]]:
        """What Orthanc has: by UIDs where anything waits to come, else by what it had."""
        if searched:
            yield from held(self._rest, self._orthanc, [one.resource for one in searched])
        after = 0
        while known and (page := self._ledger.retrieval_rounds.identifiers(known, after)):
            yield from described(self._orthanc, [identifier for _, identifier in page])
            after = page[-1][0]

    def _present(
        self,
        some: Sequence[RetrievalRow],
        rows: Sequence[RetrievedRow],
        there: Sequence[Arrived],
    ) -> list[RetrievalOutcome]:
        """What becomes of those that Orthanc has already."""
        # What was on its way when this program ended is brought again: whose bytes Orthanc has is
        # not known.
        fresh: dict[int, list[RetrievedRow]] = defaultdict(list)
        for row in rows:
            if row.md5 is None:
                fresh[row.retrieval_id].append(row)
        by_uids = {one.uids: one for one in there}
        outcomes: list[RetrievalOutcome] = []
        for retrieval in some:
            own, known = fresh.get(retrieval.id, []), {}
            if own and not retrieval.compare_bytes:
                known = self._ledger.retrievals.stored_digests(retrieval.account, own)
            for row in own:
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
