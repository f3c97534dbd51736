"""What becomes of instances that the store does not take.

It may refuse all alike, or be away: then nothing is held against any of them, and the account
pauses. Or it takes others meanwhile: then whose fault it is, is found by sending apart what was
sent together, and ends in quarantine for those that it always refuses.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.custody.destinations.congestion import ASKS_FOR_LESS
from orthanc_gcp.custody.destinations.destination import INSTANCE_BACKOFF, Destination
from orthanc_gcp.custody.destinations.fault_scope import Blame, Verdict
from orthanc_gcp.custody.outcomes import BISECT_AFTER, most_together, quarantined, requeued
from orthanc_gcp.custody.transfer.source_faults import SourceFaults
from orthanc_gcp.custody.verification.read_back import presumed
from orthanc_gcp.dicomweb import InstanceStatus, StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.logs import places
from orthanc_gcp.reasons import StoreReason, TransferReason

__all__ = ["StoreRefusals"]

_log = logging.getLogger(__name__)

_WITHOUT_TOKEN = (StoreReason.NO_TOKEN, StoreReason.UNAUTHORIZED)
_REFUSE_INSTANCES = (400, 409, 411, 413, 415, 422)
_REFUSE_ALL_OR_ONE = (403, 404)
"""What the store says to an account without a permission, and a proxy of what it does not let pass:
PUT, v1beta1 of the API, or what one instance holds."""
_OF_ALL = (401, 403, 404, 429)
"""What it says to an account without a token, a permission or a quota."""
MOST_UNKNOWN_REFUSALS = 4
"""Attempts of an instance alone that the store refuses without a reason that is known."""
FEWEST_REFUSALS = 3
"""Of these, since the worker began."""
MOST_LONELY_REFUSALS = 16
"""The same where nothing else is sent meanwhile that would succeed, or for what may pass."""
MOST_FAILURES = 16
"""Attempts of an instance that the store fails at, while it takes others, since the worker began: a
store that fails now and then does not fail so often at one."""
MOST_UNCOMPARED = 8
"""Attempts to compare an instance that the store has already and does not let be read."""
MOST_UNREAD, MOST_LONELY_UNREAD = 16, 64
"""The same where the store fails at it, while others are compared, and while there are none."""
_MOST_UNREAD = {Blame.SUBJECT: MOST_UNREAD, Blame.UNKNOWN: MOST_LONELY_UNREAD}
_UNCOMPARED = "the store has something under its UIDs, which could not be compared"
_MAY_PASS = (InstanceStatus.BUSY, TransferReason.REFUSED)
"""Why the store does not take an instance that it names, for minutes: as its study is deleted."""
_NOT_THERE = (403, 404)
"""What stores answer for an instance that they do not have by these UIDs."""
_TO_READ = "healthcare.dicomStores.dicomWebRead"
LONGEST_PAUSE = 3600.0
"""Seconds until an instance is tried again while all are refused; a success ends them all."""
SUSPECTS_EVERY = 3.0
"""Seconds between two requests of what is refused again and again while little else is sent."""


class StoreRefusals:
    """Settles what a store refuses; one object serves all threads.

    Parameters
    ----------
    source
        Finds out whether what the store does not name has other UIDs than Orthanc says.
    """

    def __init__(
        self,
        ledger: Ledger,
        tokens: TokenSource,
        source: SourceFaults,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger, self._tokens, self._source = ledger, tokens, source
        self._jitter = jitter

    def of_request(
        self,
        destination: Destination,
        transfers: Sequence[Transfer],
        error: StoreError,
        began: float,
    ) -> list[Outcome]:
        """The request failed as a whole."""
        if error.reason == StoreReason.ABORTED:
            return [requeued(row) for row in transfers]
        words, reason = str(error), error.reason
        together = len(transfers)
        if error.reason == StoreReason.TOO_LARGE and together > 1:
            destination.congestion.too_large(error)
        apart = transfers[0].replace or transfers[0].max_batch_instances == 1
        doubtful = apart or destination.congestion.failures >= BISECT_AFTER
        if _is_about_instances(error) or (doubtful and error.status in _REFUSE_ALL_OR_ONE):
            return self.of_instances(destination, transfers, error, began)
        asks_for_less = error.status in ASKS_FOR_LESS or error.retry_after is not None
        # One instance may be what the store is always unavailable for.
        may_be_one = error.status not in _OF_ALL
        suspect = together == 1 and transfers[0].attempts >= BISECT_AFTER
        if asks_for_less and not (may_be_one and suspect):
            pause = destination.congestion.throttled(error, began)
            return [
                self.delayed(row, reason, words, together, pause=pause, counts=may_be_one)
                for row in transfers
            ]
        if error.status == 401:
            self._tokens.renew(destination.account)
        paused = destination.congestion.failed(
            error, too_big=reason == StoreReason.TIMEOUT, suspect=suspect
        )
        # As long as it is not away, one of them may be what it fails at; else others go first.
        until_due = 2 * paused if destination.congestion.is_away else None
        # Without permission nothing is wrong with the instances: they wait for it.
        counts = error.status not in (401, 403, 404) and reason not in _WITHOUT_TOKEN
        if suspect and counts and self._is_hopeless(destination, transfers[0], began):
            return [quarantined(transfers[0], reason, words, None)]
        return [
            self.delayed(row, reason, words, together, pause=until_due, counts=counts)
            for row in transfers
        ]

    def _is_hopeless(self, destination: Destination, row: Transfer, began: float) -> bool:
        """Whether the store fails at one instance again and again, and takes others meanwhile."""
        verdict = destination.storing.failed(row.id, began, destination.congestion.now)
        final = verdict.is_final(row.attempts + 1, MOST_FAILURES, MOST_FAILURES)
        return final and verdict.blame is Blame.SUBJECT

    def unexpected(
        self,
        destination: Destination,
        transfers: Sequence[Transfer],
        error: Exception,
        began: float,
    ) -> list[Outcome]:
        """One of them is in the way of no other, whatever it is that nobody has thought of."""
        name = type(error).__name__
        _log.error("account %s: unexpected %s\n%s", destination.account, name, places(error))
        words = f"unexpected {name}, the log says where"
        failure = StoreError(words, reason=TransferReason.UNEXPECTED, retryable=True)
        return self.of_instances(destination, transfers, failure, began)

    def of_instances(
        self,
        destination: Destination,
        transfers: Sequence[Transfer],
        error: StoreError,
        began: float,
    ) -> list[Outcome]:
        """A refusal that may be for what was sent: what becomes of the others says whose it is."""
        now, scope = destination.congestion.now, destination.storing
        if len(transfers) > 1:
            if scope.failed_together([row.id for row in transfers], now):
                return self._shared(destination, transfers, error)
            return _halves(transfers, error)
        return self.of_each(destination, transfers, [error], began, most=1)

    def of_each(
        self,
        destination: Destination,
        transfers: Sequence[Transfer],
        errors: Sequence[StoreError],
        began: float,
        *,
        most: int | None = None,
    ) -> list[Outcome]:
        """Each of them was refused by itself, and none that was sent with them is taken.

        Parameters
        ----------
        errors
            Why each was.
        most
            How many may be sent together from now on; None for as many as before.
        """
        scope, congestion = destination.storing, destination.congestion
        verdicts = scope.failed_each([row.id for row in transfers], began, congestion.now)
        blames = {verdict.blame for verdict in verdicts}
        if Blame.DESTINATION in blames:
            return self._shared(destination, transfers, errors[0], apart=most is not None)
        together = len(transfers)
        breath = SUSPECTS_EVERY * scope.sharing / together
        outcomes = []
        for row, verdict, error in zip(transfers, verdicts, errors, strict=True):
            reason, words = error.reason, str(error)
            if _is_final(row, verdict, error):
                outcomes.append(quarantined(row, reason, words, None))
                continue
            pause = INSTANCE_BACKOFF.delay(verdict.failures + 1, self._jitter)
            if verdict.blame is Blame.DOUBTFUL:
                pause = min(max(pause, breath), LONGEST_PAUSE)
            counts = _counts(verdict, error)
            outcomes.append(
                self.delayed(row, reason, words, together, pause=pause, counts=counts, most=most)
            )
        if any(one.state == State.DELAYED for one in outcomes):
            congestion.failed(errors[0], suspect=True, several=Blame.DOUBTFUL in blames)
        elif blames == {Blame.UNKNOWN}:
            congestion.answered()
        return outcomes

    def _shared(
        self,
        destination: Destination,
        transfers: Sequence[Transfer],
        error: StoreError,
        *,
        apart: bool = True,
    ) -> list[Outcome]:
        """All are refused alike: the account pauses, then another one is tried than these.

        Also one that was not tried yet: it may be the first that is taken again. And what was sent
        together goes apart, for some of it may be what is refused for ever.
        """
        together = len(transfers)
        requests = destination.storing.sharing / together
        pause = destination.congestion.failed(error) * (2 + requests)
        words = f"nothing that is sent is taken: {error}"
        most = transfers[0].max_batch_instances
        if apart and together > 1:
            most = _half(together)
        return [
            self.delayed(
                row, error.reason, words, pause=min(pause, LONGEST_PAUSE), counts=False, most=most
            )
            for row in transfers
        ]

    def unread(
        self, destination: Destination, row: Transfer, error: StoreError, *, asked: bool
    ) -> Outcome:
        """The store has something, and fails at giving it, which may pass.

        Parameters
        ----------
        asked
            Whether it was asked for this one.
        """
        words, attempts = f"{_UNCOMPARED}: {error}", _comparisons(row)
        if not asked:
            return self._compared_later(row, words, attempts)
        now = destination.congestion.now
        verdict = destination.comparing.failed(row.id, now, now, otherwise=presumed(error))
        if error.status == 401:
            self._tokens.renew(destination.account)
        if verdict.blame in (Blame.DESTINATION, Blame.UNKNOWN):
            destination.congestion.read_failed(error, suspect=verdict.blame is Blame.UNKNOWN)
        most = _MOST_UNREAD.get(verdict.blame, float("inf"))
        if verdict.is_final(attempts, most, MOST_UNCOMPARED):
            return quarantined(row, TransferReason.UNCOMPARED, words, None)
        return self._compared_later(row, words, attempts, max_batch_instances=1)

    def uncompared(self, destination: Destination, row: Transfer, error: StoreError) -> Outcome:
        """The store has something, and does not let it be read."""
        if error.reason == StoreReason.ABORTED:
            return requeued(row)
        if error.status in _NOT_THERE and row.attempts:
            misnamed = self._source.misnamed(row)
            if misnamed is not None:
                return misnamed
        words = f"{_UNCOMPARED}: {error}"
        if error.status == 403:
            words += f"; if it is there, the account needs the permission {_TO_READ}"
        now = destination.congestion.now
        verdict = destination.comparing.failed(row.id, now, now)
        attempts = _comparisons(row)
        if attempts >= _most_comparisons(verdict, error):
            return quarantined(row, TransferReason.UNCOMPARED, words, None)
        return self._compared_later(row, words, attempts)

    def _compared_later(self, row: Transfer, words: str, attempts: int, **changes: int) -> Outcome:
        return requeued(
            row,
            state=State.DELAYED,
            reason=TransferReason.UNCOMPARED,
            detail=words,
            next_attempt_at=self._ledger.now() + INSTANCE_BACKOFF.delay(attempts, self._jitter),
            attempts=attempts,
            **changes,
        )

    def delayed(
        self,
        row: Transfer,
        reason: str,
        detail: str,
        together: int = 1,
        *,
        pause: float | None = None,
        counts: bool = True,
        most: int | None = None,
    ) -> Outcome:
        attempts = row.attempts + counts
        if most is None:
            most = most_together(row, attempts, together) if counts else row.max_batch_instances
        if pause is None:
            pause = INSTANCE_BACKOFF.delay(attempts + 1, self._jitter)
        return requeued(
            row,
            state=State.DELAYED,
            reason=reason,
            detail=detail,
            next_attempt_at=self._ledger.now() + pause,
            max_batch_instances=most,
            attempts=attempts,
        )


def _comparisons(row: Transfer) -> int:
    """Attempts to compare it; those that ended otherwise say nothing of what can be read."""
    return row.attempts + 1 if row.reason == TransferReason.UNCOMPARED else 1


def _most_comparisons(verdict: Verdict, error: StoreError) -> float:
    """How often what the store has may not let itself be read."""
    if verdict.blame is Blame.SUBJECT or error.status in _NOT_THERE:
        return MOST_UNCOMPARED
    return MOST_LONELY_REFUSALS if verdict.blame is Blame.UNKNOWN else float("inf")


def _is_final(row: Transfer, verdict: Verdict, error: StoreError) -> bool:
    """Whether an instance was refused often enough, for what others have become meanwhile."""
    known = _is_known(verdict, error)
    most = MOST_UNKNOWN_REFUSALS if known else MOST_LONELY_REFUSALS
    if known and error.reason == StoreReason.TOO_LARGE:
        most = 1
    if error.status in _REFUSE_ALL_OR_ONE:
        most = MOST_FAILURES
    counts = _counts(verdict, error)
    return counts and verdict.is_final(row.attempts + 1, most, FEWEST_REFUSALS)


def _counts(verdict: Verdict, error: StoreError) -> bool:
    """Whether a refusal is held against an instance."""
    if error.status in _REFUSE_ALL_OR_ONE:  # the account may have no permission for anything
        return _is_known(verdict, error)
    return verdict.blame is not Blame.DOUBTFUL


def _is_known(verdict: Verdict, error: StoreError) -> bool:
    """Whether it is the instance that is at fault, and not for a while."""
    return verdict.blame is Blame.SUBJECT and error.reason not in _MAY_PASS


def _halves(transfers: Sequence[Transfer], error: StoreError) -> list[Outcome]:
    """Sent apart, to find the one at fault."""
    _log.info("account %s: sent in halves: %s", transfers[0].account, error)
    half = _half(len(transfers))
    return [
        requeued(row, reason=error.reason, detail=str(error), max_batch_instances=half)
        for row in transfers
    ]


def _half(together: int) -> int:
    return (together + 1) // 2


def _is_about_instances(error: StoreError) -> bool:
    """Whether a refusal may be for what was sent, and not for the state of the store."""
    if error.reason == StoreReason.PRECONDITION:
        return False
    return error.status in _REFUSE_INSTANCES
