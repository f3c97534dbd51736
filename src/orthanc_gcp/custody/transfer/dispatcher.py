"""Decides what is sent when: makes batches of what waits, as fast as each account's pace allows."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from orthanc_gcp.clock import Clock
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.transfer.open_time import OpenTime
from orthanc_gcp.custody.transfer.threads import TransferThreads, lent_to_backfills
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Amount, Series, Transfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.ledger.workers import has_several

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)

DUE_EVERY, ABANDONED_EVERY, GIVE_UP_EVERY = 0.5, 10.0, 30.0
"""Seconds between two searches for what is due, for what no thread sends, for what is too old."""
BACKFILL_LASTS = 2.0
"""Seconds that a request of a capped backfill may take: the connections are not lent for long."""
URGENT_IN_A_ROW = 8
"""So many batches of live instances may be started before one of what is less urgent goes first."""
OTHERS_EVERY = 2.0
"""Seconds between two questions whether anything of another Orthanc waits, or others send."""
TURN = 1.0
"""Seconds for which the only connection is left to other Orthancs, for which something waits: they
look for it a few times in that time."""
MOST_READING = 200
"""Series of an account that are due, and wait to be read back at a time."""

DUE_AT_A_TIME = 10
"""Instances that wait again at a time while nothing is taken."""
ANNOUNCED_FOR = 0.25
"""Seconds for which more is waited for that is about to be queued: a page of Orthanc takes less."""
LEAST_VARIED = 4 << 20
"""Bytes of batches whose sizes are varied."""
_GOLDEN = 0.618
"""Its multiples have fractions that are spread evenly."""


@dataclass(frozen=True)
class _UnderWay:
    """A batch that is being sent since a time of the clock."""

    account: str
    began: float
    holds: Amount


@dataclass(frozen=True)
class _Way:
    """A choice of what is claimed; see :meth:`orthanc_gcp.ledger.queue.Queue.claim`."""

    priorities: Collection[Priority]
    together: bool = False
    newest: bool = False


class Dispatcher:
    """Claims batches for the threads of one worker.

    Parameters
    ----------
    source
        The ledger's name for the Orthanc that can be read from; empty until it is known.
    allowed
        Account -> what may be sent to it now: nothing while it is paused.
        See :meth:`orthanc_gcp.custody.transfer.permissions.Permissions.priorities`.
    give_up_after
        Account -> seconds for which something could be sent, after which what was not goes to
        quarantine; None for never.
    backfill_rate
        Bytes a second that a backfill is capped to; None for no cap.
    """

    def __init__(
        self,
        ledger: Ledger,
        destinations: Mapping[str, Destination],
        threads: TransferThreads,
        worker: str,
        clock: Clock,
        source: Callable[[], str],
        allowed: Callable[[str], Collection[Priority]],
        give_up_after: Mapping[str, float | None],
        backfill_rate: int | None = None,
    ) -> None:
        self._ledger, self._destinations, self._threads = ledger, destinations, threads
        self._worker, self._clock, self._allowed = worker, clock, allowed
        self._source, self._give_up_after = source, give_up_after
        self._open_time = OpenTime(ledger)
        self._backfill_rate, self._lock = backfill_rate, threading.Lock()
        self._due_at = self._abandoned_at = self._gave_up_at = float("-inf")
        self._counted_at = float("-inf")
        self._ahead = float("inf")
        self._urgent: Counter[str] = Counter()  # account -> live batches in a row
        self._was_alone: set[str] = set()  # accounts whose last batch was sent alone
        self._was_newest: set[str] = set()  # of those that are away, the ones that tried the newest
        self._alone: dict[str, str] = {}  # batches that are sent alone -> account
        self._under_way: dict[str, _UnderWay] = {}  # batch -> what it holds
        self._announced: Counter[str] = Counter()  # account -> instances that are about to wait
        self._announced_at = float("-inf")
        self._batches = 0
        # Account -> when asked, the other Orthancs that wait, and how many batches each sends.
        self._others: dict[str, tuple[float, Mapping[str, int]]] = {}
        self._has_others = False
        self._sent_at: dict[str, float] = {}  # account -> when this worker was last seen to send

    def announce(self, account: str, instances: int) -> None:
        """So many more instances of an account are about to be queued, or so many less.

        A hint: it makes their first batches as large as those that follow.
        """
        with self._lock:
            self._announced[account] += instances
            self._announced_at = self._clock.now()

    def step(self) -> bool:
        """Start what can be started; whether something was.

        Raises
        ------
        SQLAlchemyError
            The ledger is away; what was started goes on.
        """
        now = self._clock.now()
        due = now - self._due_at > DUE_EVERY
        if due:
            self._due_at = now
            self._notice_clock_set_back(now)
        if now - self._abandoned_at > ABANDONED_EVERY:
            self._abandoned_at = now
            self._requeue_abandoned()
        if now - self._counted_at > OTHERS_EVERY:
            self._counted_at = now
            self._has_others = has_several(self._ledger.engine)
            self._threads.lend(lends=not self._has_others)
        started = False
        for destination in self._destinations.values():
            urgent, behind = self._due(destination) if due else ([], [])
            started |= self._start_allowed(destination)  # it asks what may be asked for at all
            self._threads.read_back(destination.account, urgent, behind)
        if now - self._gave_up_at > GIVE_UP_EVERY:
            self._gave_up_at = now
            self._give_up()
        return started

    def _start_allowed(self, destination: Destination) -> bool:
        priorities, of_all = self._allowed(destination.account), destination.congestion.max_requests
        share, of_all = self._share(destination.account, of_all)
        window = min(destination.congestion.window, share)
        window = destination.useful(window)
        if not priorities or not window:
            return False
        size = destination.congestion.most_bytes(window)
        backfill_size = size
        if self._backfill_rate is not None:
            backfill_size = min(size, int(self._backfill_rate * BACKFILL_LASTS))
        live = [priority for priority in priorities if priority != Priority.BACKFILL]
        backfill = [Priority.BACKFILL] if Priority.BACKFILL in priorities else []
        started = False
        if self._urgent[destination.account] >= URGENT_IN_A_ROW:
            # What arrives may be more than is sent, for days: the rest goes on all the same.
            self._urgent[destination.account] = 0
            demanded = [priority for priority in live if priority != Priority.LIVE]
            one = min(window, self._threads.sending(destination.account) + 1)
            started |= self._start(destination, backfill, one, of_all, backfill_size)
            one = min(window, self._threads.sending(destination.account) + 1)
            started |= self._start(destination, demanded, one, of_all, size)
        started |= self._start(destination, live, window, of_all, size)
        lent = lent_to_backfills(window), lent_to_backfills(of_all)
        return self._start(destination, backfill, *lent, backfill_size) or started

    def _share(self, account: str, of_all: int) -> tuple[int, int]:
        """How many connections this worker may use, and how many may be in use for it to begin.

        Of those that all workers have. The last one is left to another Orthanc of which anything
        waits, as long as that uses fewer than its share: who uses them all would claim each that is
        free again before others ask for it. Where several wait, they have it one after the other.
        Where there is only one connection, all take turns.
        """
        now = self._clock.now()
        mine = self._threads.sending(account)
        if mine:
            self._sent_at[account] = now
        asked_at, others = self._others.get(account, (float("-inf"), {}))
        if now - asked_at > OTHERS_EVERY and self._source():
            others = self._ledger.queue.others_waiting(account, self._source())
            self._others[account] = now, others
        if others and of_all == 1:
            is_theirs = now - self._sent_at.get(account, float("-inf")) < TURN
            return (0 if self._has_others and is_theirs else 1), 1
        share = of_all // (1 + len(others))
        if all(sending >= max(share, 1) for sending in others.values()):
            return of_all, of_all
        return of_all - 1, of_all - (mine >= share)

    def _start(
        self,
        destination: Destination,
        priorities: Collection[Priority],
        here: int,
        of_all: int,
        size: int,
    ) -> bool:
        """Start batches until so many run here, or with all workers; or nothing waits."""
        account, started = destination.account, False
        limits: Amount | None = None
        while self._may_begin(destination, here) and self._source() and priorities:
            limits = limits or self._limits(destination, priorities, here, size)
            if limits is None:
                break
            batch = f"batch-{uuid.uuid4().hex}"
            claimed = self._claim(
                destination, batch, priorities, of_all, self._varied(limits, size)
            )
            if not claimed:
                break
            held = Amount(len(claimed), sum(row.size_bytes for row in claimed))
            destination.congestion.begun(held.size_bytes)
            self._under_way[batch] = _UnderWay(account, self._clock.now(), held)
            self._sent_at[account] = self._clock.now()
            is_backfill = claimed[0].priority == Priority.BACKFILL
            self._threads.send(account, batch, claimed, behind=is_backfill)
            self._urgent[account] += claimed[0].priority == Priority.LIVE
            started = True
        return started

    def _may_begin(self, destination: Destination, here: int) -> bool:
        """Whether a connection is free, and a quota is not used up."""
        in_flight = self._threads.sending(destination.account)
        is_free = in_flight < here and self._threads.free(destination.account) > 0
        return is_free and destination.congestion.may_begin(in_flight)

    def _limits(
        self, destination: Destination, priorities: Collection[Priority], here: int, size: int
    ) -> Amount | None:
        """What a batch may hold so that all connections end together: a share of all that is left.

        None where nothing waits, or not yet as much.

        Parameters
        ----------
        here
            So many connections are used.
        size
            The most bytes that the next batch may have, whatever is left.
        """
        congestion = destination.congestion
        most = congestion.batch_instances
        ready = self._ready(destination, priorities, here * most)
        if not ready.instances:
            return None
        left, expected = self._left(destination.account, congestion), 0
        with self._lock:
            if self._clock.now() - self._announced_at < ANNOUNCED_FOR:
                expected = max(0, self._announced[destination.account])
        mean = ready.size_bytes / ready.instances
        # That the sizes of instances differ must not leave a few for another round.
        share = (ready.size_bytes + left.size_bytes + expected * mean) / here + mean / 2
        # Bytes count; only where instances are tiny, their number does.
        instances = 2 * (ready.instances + left.instances + expected) // here
        least = congestion.least
        limits = Amount(
            min(most, max(least.instances, instances)), min(size, max(least.size_bytes, int(share)))
        )
        is_less = ready.instances < limits.instances and ready.size_bytes < limits.size_bytes
        return None if expected and is_less else limits

    def _ready(
        self, destination: Destination, priorities: Collection[Priority], most: int
    ) -> Amount:
        """How much waits.

        Where nothing is taken, and one request at a time asks, what is due waits a few after the
        others, or the oldest would go first again and again.
        """
        account, source, queue = destination.account, self._source(), self._ledger.queue
        ready = queue.ready(account, source, priorities, most)
        if ready.instances or not destination.congestion.is_away:
            return ready
        if not queue.requeue_first_due(account, source, priorities, DUE_AT_A_TIME):
            return ready
        return queue.ready(account, source, priorities, most)

    def _varied(self, limits: Amount, size: int) -> Amount:
        """The same, or less where more waits than all connections carry at once.

        Requests that begin together would end together, and those that follow might be refused
        together, before the first refusal is known.
        """
        if limits.size_bytes < max(size, LEAST_VARIED):
            return limits
        self._batches += 1
        part = 0.5 + 0.5 * (_GOLDEN * self._batches % 1)
        return limits._replace(size_bytes=int(part * size))

    def _left(self, account: str, congestion: CongestionWindow) -> Amount:
        """What is left to be sent of the batches that are under way, by the pace so far."""
        active = self._threads.active()
        self._under_way = {one: of for one, of in self._under_way.items() if one in active}
        now, instances, size = self._clock.now(), 0.0, 0.0
        for one in self._under_way.values():
            if one.account == account:
                part = congestion.part_left(one.holds.size_bytes, now - one.began)
                instances += part * one.holds.instances
                size += part * one.holds.size_bytes
        return Amount(int(instances), int(size))

    def _claim(
        self,
        destination: Destination,
        batch: str,
        priorities: Collection[Priority],
        of_all: int,
        limits: Amount,
    ) -> list[Transfer]:
        """What is to be sent next.

        Instances that are to be sent alone have failed, and may do so again and again: however many
        they are, they take turns with the others, and leave a connection to them. Where nothing is
        taken, all that was tried takes turns with the newest that was not: it may be that all of
        these are refused for ever.
        """
        account, window = destination.account, destination.congestion.window
        choices = [True] if account in self._was_alone else []
        if self._sending_alone(account) < lent_to_backfills(window):
            choices.append(False)
        ways: list[_Way] = [_Way(priorities, together=together) for together in choices or [True]]
        if destination.congestion.is_away and account not in self._was_newest:
            ways = [*(_Way([one], newest=True) for one in sorted(priorities)), *ways]
            self._was_newest.add(account)
        else:
            self._was_newest.discard(account)
        for way in ways:
            claimed = self._ledger.queue.claim(
                account,
                self._source(),
                batch,
                self._worker,
                most_instances=limits.instances,
                most_bytes=limits.size_bytes,
                most_batches=of_all,
                priorities=way.priorities,
                together=way.together,
                newest=way.newest,
            )
            if claimed:
                self._note_alone(account, batch, claimed)
                return claimed
        return []

    def _note_alone(self, account: str, batch: str, claimed: Sequence[Transfer]) -> None:
        if claimed[0].max_batch_instances == 1:
            self._was_alone.add(account)
            self._alone[batch] = account
        else:
            self._was_alone.discard(account)

    def _sending_alone(self, account: str) -> int:
        """How many instances are being sent alone."""
        if self._alone:
            active = self._threads.active()
            self._alone = {batch: of for batch, of in self._alone.items() if batch in active}
        return sum(of == account for of in self._alone.values())

    def _due(self, destination: Destination) -> tuple[list[Series], list[Series]]:
        """Queue what is to be tried again by now; what is to be read back, of backfills apart.

        Of these may wait any number, and what is urgent does not wait among them.
        """
        if destination.congestion.delay:
            return [], []
        account = destination.account
        if not destination.congestion.is_away:
            self._ledger.queue.requeue_due(account)
        asked = self._threads.reading(account)

        def due(*, behind: bool) -> list[Series]:
            room = MOST_READING - self._threads.due(account, behind=behind)
            if room <= 0:
                return []
            return self._ledger.confirmations.due(account, room, asked, backfilled=behind)

        return due(behind=False), due(behind=True)

    def _notice_clock_set_back(self, now: float) -> None:
        """When the wall clock was set back, nothing is to wait until it is the old time again.

        Whether that happened before this worker started is not known.
        """
        ahead = self._ledger.now() - now
        if ahead < self._ahead - 1:
            self._ledger.queue.bring_forward()
        self._ahead = ahead

    def _requeue_abandoned(self) -> None:
        """What no thread sends waits again: of one that failed, of this worker before it died.

        A batch is claimed on this very thread, and settled before its own ends: one that is not
        being sent, and that the ledger has a moment later, never will be.
        """
        active = self._threads.active()
        abandoned = set(self._ledger.queue.claimed_batches(self._worker)) - active
        if abandoned:
            _log.warning("interrupted requests: %d; what they held waits again", len(abandoned))
            self._ledger.queue.requeue_batches(abandoned)

    def _give_up(self) -> None:
        """What could not be sent for as long as ``GiveUpAfterSeconds`` needs a person."""
        source = self._source()
        for account, seconds in self._give_up_after.items():
            if seconds is None or not source or not self._allowed(account):
                continue
            before = self._open_time.note(account, source, seconds)
            if before is not None:
                self._ledger.queue.give_up(account, source, before)
