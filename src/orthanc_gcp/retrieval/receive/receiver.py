"""Pulls one subscription, has its instances fetched, and acknowledges what Orthanc has.

What a message names is written into the ledger as a retrieval, which is made as any other. Only
which delivery stands for it is in memory: one that is not acknowledged is delivered again, and the
ledger recognizes it. So nothing is lost by a crash at any moment, and nothing is fetched twice.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.errors import GcpError, SubscriptionError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import Notified, RetrievalRow
from orthanc_gcp.ledger.schema import RetrievalState
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.receive.notification import Delivery, Unwanted, read_delivery
from orthanc_gcp.retrieval.receive.subscription import Subscription

__all__ = ["Receiver", "Result"]

_log = logging.getLogger(__name__)

MOST_HELD, MOST_PULLED = 200, 100
"""So many messages wait for their instances at once; so many are pulled by one request."""
LEASE, FIRST_LEASE = 60, 10
"""Seconds for which a message is held at a time; and at first, the shortest deadline that there is
("Extend ack time with lease management")."""
RENEW_BEFORE = 30.0
MOST_HELD_SECONDS = 3600.0
"""After so long a message is let go: it is delivered again, to the same retrieval."""
MOST_LOST = 5
"""After so many instances in a row that did not come, it is asked whether the store can be read."""
MOST_AT_ONCE = 1000
"""So many deliveries are named in one request."""
BACKOFF = Backoff(1.0, 120.0)


class Result(StrEnum):
    """What became of a message."""

    RECEIVED = "received"  # Orthanc has the instance
    OWN = "own"  # this Orthanc has sent it there itself
    UNWANTED = "unwanted"  # the rule, or what has happened to it, wants nothing of it
    FOREIGN = "foreign"  # it names another store
    MALFORMED = "malformed"  # it is no notification
    GIVEN_UP = "given_up"  # the instance does not come: the retrieval says why


_OF_UNWANTED = {
    Unwanted.MALFORMED: Result.MALFORMED,
    Unwanted.FOREIGN: Result.FOREIGN,
    Unwanted.ACTION: Result.UNWANTED,
    Unwanted.MODALITY: Result.UNWANTED,
}
_LEFT = (Result.MALFORMED, Result.FOREIGN, Result.GIVEN_UP)
"""What goes to the dead letters, where the subscription has a policy for them."""
_SAID_ONCE = {
    Result.MALFORMED: "a message is no notification of a DICOM store",
    Result.FOREIGN: "a message is of another store than the account's",
}


@dataclass
class _Held:
    """A delivery that is not acknowledged.

    Attributes
    ----------
    retrieval
        Its number; None where nothing is fetched.
    since, until
        When it was delivered, and when it comes again.
    result
        What became of it; None while that is not known.
    """

    delivery: Delivery
    retrieval: int | None
    since: float
    until: float
    result: Result | None = None

    @property
    def is_left(self) -> bool:
        """Whether it is for the dead letters."""
        return self.result in _LEFT and self.delivery.attempt > 0


class Receiver:
    """One subscription: a thread pulls it, and a loop makes its steps.

    Parameters
    ----------
    store_path
        ``projects/…/dicomStores/…`` of the account.
    renew_token
        Called when the token was refused.
    on_request
        Called when there is something to retrieve.
    read
        Reads anything of the store; raises a GcpError where it cannot be read.

    Attributes
    ----------
    totals
        How many messages ended how, since this process has begun.
    most_attempts
        How often one was delivered that was counted, at most.
    """

    def __init__(
        self,
        rule: ReceiveRule,
        store_path: str,
        subscription: Subscription,
        ledger: Ledger,
        clock: Clock,
        conditions: Conditions,
        renew_token: Callable[[], None],
        on_request: Callable[[], None],
        read: Callable[[], object],
    ) -> None:
        self._read, self._lost = read, 0
        self.rule, self._store_path, self._subscription = rule, store_path, subscription
        self._ledger, self._clock, self._conditions = ledger, clock, conditions
        self._renew_token, self._on_request = renew_token, on_request
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}  # by delivery
        self._failures, self._resume = 0, float("-inf")
        self._error: GcpError | None = None
        self._failing_since: float | None = None
        place = f"account {rule.account}: {subscription.name}"
        self._outage = Outage(_log, f"{place} cannot be pulled", f"{place} is pulled again", clock)
        self.totals: Counter[Result] = Counter()
        self.most_attempts = 0

    def total(self, result: str) -> int:
        """How many messages have ended so, since this process has begun."""
        return self.totals[Result(result)]

    @property
    def held(self) -> int:
        """How many messages are not acknowledged yet."""
        with self._lock:
            return len(self._held)

    @property
    def error(self) -> GcpError | None:
        """Why nothing can be received just now."""
        return self._error

    @property
    def failing_since(self) -> float | None:
        """Since when, in seconds since 1970."""
        return self._failing_since

    # -- What comes -----------------------------------------------------------------------------

    def pull(self) -> bool:
        """Pull messages, and wait for them; whether there were any. For a thread of its own.

        Raises
        ------
        SQLAlchemyError
            The ledger is away: what was pulled is delivered again.
        """
        room, source = MOST_HELD - self.held, self._conditions.source()
        if room <= 0 or not source or self._conditions.must_stop() or not self._may_ask():
            return False
        if not self._conditions.allowed(self.rule.account) or not self._can_read():
            return False
        began = self._clock.now()
        try:
            # Whether it can be pulled again is not to be known only when a message comes.
            received = self._subscription.pull(
                min(room, MOST_PULLED), at_once=self._error is not None
            )
        except GcpError as error:
            self._failed(error, by="pull")
            return False
        self._succeeded(began, by="pull")
        if self._conditions.must_stop() or source != self._conditions.source():
            return False
        found = [read_delivery(one, self._store_path, self.rule) for one in received]
        self._take(source, [one for one in found if one is not None])
        return bool(received)

    def _can_read(self) -> bool:
        """Whether the store can be read: else one message after the other would be given up."""
        if self._lost < MOST_LOST:
            return True
        began = self._clock.now()
        try:
            self._read()
        except GcpError as error:
            self._failed(error, by="read")
            return False
        self._lost = 0
        self._succeeded(began, by="read")
        return True

    def _take(self, source: str, deliveries: Sequence[Delivery]) -> None:
        """Write down what messages name, and hold them until that has come."""
        now = self._clock.now()
        wanted = [one for one in deliveries if one.uids is not None and one.unwanted is None]
        notified = [Notified(one.message_id, one.uids) for one in wanted if one.uids is not None]
        numbers = self._ledger.retrievals.notified(self.rule.account, source, notified)
        by_delivery = dict(zip((one.ack_id for one in wanted), numbers, strict=True))
        for one in deliveries:
            self.most_attempts = max(self.most_attempts, one.attempt)
            held = _Held(one, by_delivery.get(one.ack_id), now, now + FIRST_LEASE)
            if one.unwanted is not None:
                self._settle(held, _OF_UNWANTED[one.unwanted])
            elif held.retrieval is None:
                self._settle(held, Result.OWN)
            with self._lock:
                self._held[one.ack_id] = held
        if any(number is not None for number in numbers):
            self._on_request()

    # -- What becomes of it ---------------------------------------------------------------------

    def step(self) -> bool:
        """Acknowledge what Orthanc has, and hold what it has not; whether anything was done.

        Raises
        ------
        SQLAlchemyError
            The ledger is away.
        """
        if self._conditions.must_stop():
            return False
        with self._lock:
            waiting = [one for one in self._held.values() if one.result is None]
        ended = self._ledger.retrievals.ended({one.retrieval for one in waiting if one.retrieval})
        for one in waiting:
            if one.retrieval in ended:
                self._settle(one, _result_of(ended[one.retrieval]))
        self._let_go()
        if not self._may_ask():
            return False
        began, done = self._clock.now(), 0
        try:
            done = self._extend() + self._return()
        except GcpError as error:
            self._failed(error, by="acknowledge")
        else:
            if done:
                self._succeeded(began, by="acknowledge")
        return bool(done)

    def _settle(self, held: _Held, result: Result) -> None:
        held.result = result
        self.totals[result] += 1
        if result is Result.RECEIVED:
            self._lost = 0
        elif result is Result.GIVEN_UP and held.delivery.attempt <= 1:
            self._lost += 1
        if result in _SAID_ONCE and self.totals[result] == 1:
            _log.warning(
                "account %s: %s: %s: nothing is fetched for it, and for others like it; they %s",
                self.rule.account,
                self._subscription.name,
                _SAID_ONCE[result],
                "go to the dead letters" if held.delivery.attempt else "are acknowledged",
            )

    def _let_go(self) -> None:
        """Forget what was held for too long, and what is delivered again by now."""
        now = self._clock.now()
        with self._lock:
            for key, one in list(self._held.items()):
                if now - one.since > MOST_HELD_SECONDS or now > one.until + LEASE:
                    del self._held[key]

    def _extend(self) -> int:
        """Hold for longer what would be delivered again soon."""
        now = self._clock.now()
        with self._lock:
            some = [one for one in self._held.values() if one.result is None]
        some = [one for one in some if one.until - now < _renewed_before(one)]
        for part in _portions(some):
            names = [one.delivery.ack_id for one in part]
            if self._counts(partial(self._subscription.extend, names, LEASE)):
                for one in part:
                    one.until = now + LEASE
            else:
                self._forget(names)
        return len(some)

    def _return(self) -> int:
        """Acknowledge what is done; what is for the dead letters is refused."""
        with self._lock:
            done = [one for one in self._held.values() if one.result is not None]
        for left in (False, True):
            for part in _portions([one for one in done if one.is_left is left]):
                self._return_some(part, left=left)
        return len(done)

    def _return_some(self, some: Sequence[_Held], *, left: bool) -> None:
        names = [one.delivery.ack_id for one in some]
        if left:
            self._counts(partial(self._subscription.extend, names, 0))
        else:
            self._counts(partial(self._subscription.acknowledge, names))
        self._forget(names)

    @staticmethod
    def _counts(say: Callable[[], None]) -> bool:
        """Say something of deliveries; whether all of them still count by their names.

        Where one does not, all of them come again, under others.
        """
        try:
            say()
        except SubscriptionError as error:
            if error.reason != StoreReason.BAD_REQUEST:
                raise
            _log.debug("%s", error)
            return False
        return True

    def _forget(self, ack_ids: Collection[str]) -> None:
        with self._lock:
            for one in ack_ids:
                self._held.pop(one, None)

    # -- When it is asked again -----------------------------------------------------------------

    def _may_ask(self) -> bool:
        return self._clock.now() >= self._resume

    def _failed(self, error: GcpError, *, by: str) -> None:
        if error.reason == StoreReason.UNAUTHORIZED:
            self._renew_token()
        self._failures += 1
        pause = max(BACKOFF.delay(self._failures), getattr(error, "retry_after", None) or 0.0)
        self._resume = self._clock.now() + pause
        if self._failing_since is None:
            self._failing_since = self._ledger.now()
        self._error = error
        self._outage.failed(str(error), pause, kind=error.kind, by=by)

    def _succeeded(self, began: float, *, by: str) -> None:
        self._outage.ended(by=by, began=began)
        if not self._outage.active:
            self._failures, self._error, self._failing_since = 0, None, None


def _renewed_before(held: _Held) -> float:
    """So many seconds before it comes again it is held for longer."""
    return RENEW_BEFORE if held.until - held.since > FIRST_LEASE else FIRST_LEASE / 2


def _result_of(row: RetrievalRow | None) -> Result:
    if row is None or row.state == RetrievalState.UNWANTED:
        return Result.UNWANTED
    return Result.RECEIVED if row.state == RetrievalState.COMPLETE else Result.GIVEN_UP


def _portions(some: Sequence[_Held]) -> Iterable[Sequence[_Held]]:
    return (some[begin : begin + MOST_AT_ONCE] for begin in range(0, len(some), MOST_AT_ONCE))
