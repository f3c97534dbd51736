"""The threads of a worker: some send batches, some read back what was sent.

They remember nothing. What a worker has claimed stands in the ledger, and waits again when the
worker, or the thread, ends before it has settled it: the ledger is the queue, and the only memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import ceil
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.ledger.database import is_away, words_of
from orthanc_gcp.ledger.rows import Series, Transfer
from orthanc_gcp.thread_pools import submit

__all__ = ["TransferThreads", "lent_to_backfills"]

_log = logging.getLogger(__name__)

MOST_UNREAD = 2000
"""Series of an account that wait to be read back while the store is slow to answer searches."""
MOST_TOGETHER = 10
"""So many series one thread reads back one after the other: the ledger is asked once for them."""
SECONDS_EACH = 0.2
"""How long a series is thought to take before one was read back (Google's "DICOM best practices":
0.2 to 0.33 s a request)."""
LENT_FROM, LENT_FOR = 0.1, 1.0
"""Seconds that a series takes where connections that send are lent: a quicker store is hardly
waited for, and more threads are only in each other's way; a slower one gives them back too late."""
LENT_AGAIN_AFTER = 0.3
"""Seconds for which none is lent after one was missing."""
MOMENT = 0.1
"""Seconds of reading back that are not divided among threads."""
KEPT_FOR = 3.0
"""Seconds after which threads that have nothing to read back end."""
URGENT_IN_A_ROW = 8
"""So many urgent series, or groups of them, before what is of a backfill comes next."""


@dataclass
class _Waiting:
    """Series that wait to be read back.

    Attributes
    ----------
    sent, due
        For they were sent just now, or as the ledger has it.
    is_turn_of_due
        Whether one that is due comes next, where both wait.
    """

    sent: dict[Series, None] = field(default_factory=dict)
    due: dict[Series, None] = field(default_factory=dict)
    is_turn_of_due: bool = False

    def __contains__(self, one: Series) -> bool:
        """Whether a series waits."""
        return one in self.sent or one in self.due

    def __bool__(self) -> bool:
        """Whether any does."""
        return bool(self.sent or self.due)

    def discard(self, one: Series) -> None:
        """It does not wait here."""
        self.sent.pop(one, None)
        self.due.pop(one, None)

    def next(self, asked: Container[Series], threads: int) -> list[Series]:
        """What one of some threads reads back next, but for those that are asked for.

        Of what was sent, the less, the fewer there are for all threads. One that is due by itself:
        if the store is slow to answer for it, it holds up no other.
        """
        self.is_turn_of_due = not self.is_turn_of_due
        waiting, most = self.sent, max(1, len(self.sent) // threads)
        if self.due and (self.is_turn_of_due or not self.sent):
            waiting, most = self.due, 1
        # What is being read back waits until that has ended: more of it was sent meanwhile.
        free = (one for one in waiting if one not in asked)
        series = list(islice(free, min(most, MOST_TOGETHER)))
        for one in series:
            del waiting[one]
        return series


@dataclass
class _Reading:
    """What of one account is read back, and is to be.

    Attributes
    ----------
    urgent, behind
        What waits; that of backfills is behind what is urgent.
    urgent_in_a_row
        How often what is urgent has come next since something of a backfill has.
    asked
        Those that are being read back.
    threads, threads_behind
        How many read back, or are about to; and those of them that read what is of backfills.
    seconds_each
        How long a series takes.
    lent_again_at
        Until then no connection is lent, by the monotonic clock.
    pool
        Their threads; None while nothing is read back: none of them is there then.
    idle_since
        When the last of them had nothing to do any more, by the monotonic clock.
    """

    urgent: _Waiting = field(default_factory=_Waiting)
    behind: _Waiting = field(default_factory=_Waiting)
    urgent_in_a_row: int = 0
    asked: set[Series] = field(default_factory=set)
    threads: int = 0
    threads_behind: int = 0
    seconds_each: float = SECONDS_EACH
    lent_again_at: float = float("-inf")
    pool: Executor | None = None
    idle_since: float = 0.0

    @property
    def due(self) -> list[Series]:
        """What waits as the ledger has it."""
        return [*self.urgent.due, *self.behind.due]

    def add_due(self, one: Series, *, behind: bool) -> None:
        """One is due; that it is urgent is not forgotten."""
        if one in self.asked or (behind and one in self.urgent):
            return
        for waiting in self.urgent, self.behind:
            waiting.discard(one)
        (self.behind if behind else self.urgent).due[one] = None

    def add_sent(self, one: Series, *, behind: bool) -> None:
        """One was sent just now; where there is no room for it, it is due a little later."""
        waiting = self.behind if behind else self.urgent
        if one in waiting or (behind and one in self.urgent) or len(waiting.sent) >= MOST_UNREAD:
            return
        self.behind.discard(one)
        waiting.sent[one] = None

    def next(self, most_behind: int) -> tuple[list[Series], bool]:
        """What one thread reads back next, and whether it is of a backfill.

        Parameters
        ----------
        most_behind
            How many threads may read back what is of backfills.
        """
        is_turn_of_behind = self.urgent_in_a_row >= URGENT_IN_A_ROW
        for behind in is_turn_of_behind, not is_turn_of_behind:
            if behind and self.threads_behind >= most_behind:
                continue
            waiting = self.behind if behind else self.urgent
            if series := waiting.next(self.asked, self.threads):
                self.urgent_in_a_row = 0 if behind else self.urgent_in_a_row + 1
                self.asked.update(series)
                self.threads_behind += behind
                return series, behind
        return [], False

    def end_idle(self) -> None:
        """Let its threads end where they have had nothing to do for a while."""
        is_idle = not self.threads and monotonic() - self.idle_since > KEPT_FOR
        if self.pool is not None and is_idle:
            self.pool.shutdown(wait=False)
            self.pool = None

    def wanted(self, allowed: int, most_behind: int, least: int) -> int:
        """How many threads more have something to do for a moment, or at least so many."""
        room = allowed - self.threads
        if not self.urgent:
            room = min(room, most_behind - self.threads_behind)
        waiting = len(self.urgent.sent) + len(self.behind.sent)
        busy = min(waiting, ceil(waiting * self.seconds_each / MOMENT))
        more = max(busy - self.threads, min(least, waiting), 0)
        return max(0, min(more + len(self.due), room))


class TransferThreads:
    """Two pools for each account, so that no account and no reading back holds up a request.

    Parameters
    ----------
    connections
        Account -> the most requests that send at once: so many threads do.
    searches
        Says how many series of an account may be read back at once, where so many of the
        connections that send are lent.
    on_free
        Called when a connection that sends is free again: its batch was sent, whatever came of it,
        or it was lent.
    pool
        Makes one of so many threads, whose names begin so.
    slow
        Accounts of which each series holds a thread for long, as its bytes are read: backfills
        leave some threads to what is urgent.
    """

    def __init__(
        self,
        sender: Sender,
        read_back: ReadBack,
        connections: Mapping[str, int],
        searches: Callable[[str, int], int],
        on_free: Callable[[], None],
        pool: Callable[[int, str], Executor] = ThreadPoolExecutor,
        slow: Container[str] = (),
    ) -> None:
        self._sender, self._read_back, self._on_free = sender, read_back, on_free
        self._slow = slow
        self._connections, self._searches, self._pool = connections, searches, pool
        self._senders = {
            account: pool(most, f"gcp-send-{account}") for account, most in connections.items()
        }
        self._changed = threading.Condition()
        self._sending: dict[str, str] = {}  # batch -> account
        self._readings = {account: _Reading() for account in connections}
        self._tasks = 0
        self._lends = self._stopped = False

    def sending(self, account: str) -> int:
        """How many batches of an account this worker is sending."""
        with self._changed:
            return sum(of == account for of in self._sending.values())

    def free(self, account: str) -> int:
        """How many more batches of an account may be sent, for those of its connections lent.

        Where that is none, those that are lent are given back, one by one.
        """
        most, reading = self._connections[account], self._readings[account]
        with self._changed:
            lent = max(0, reading.threads - most)
            free = most - lent - self.sending(account)
            if lent and free <= 0:
                reading.lent_again_at = monotonic() + LENT_AGAIN_AFTER
            return free

    def due(self, account: str, *, behind: bool = False) -> int:
        """How many series of an account are due, and wait to be read back; or of backfills."""
        reading = self._readings[account]
        with self._changed:
            return len((reading.behind if behind else reading.urgent).due)

    def reading(self, account: str) -> list[Series]:
        """These series, and those that are being read back."""
        reading = self._readings[account]
        with self._changed:
            return [*reading.due, *reading.asked]

    def active(self) -> set[str]:
        """The batches that this worker is sending."""
        with self._changed:
            return set(self._sending)

    def lend(self, *, lends: bool) -> None:
        """Whether connections that send nothing may read back: not where others may send."""
        self._lends = lends

    def send(
        self, account: str, batch: str, transfers: Sequence[Transfer], *, behind: bool = False
    ) -> None:
        """Send a claimed batch, then read back its series.

        Parameters
        ----------
        behind
            It is of a backfill: what is urgent is read back before it.

        Raises
        ------
        RuntimeError
            No thread can be started for it: it is not sent.
        """
        with self._changed:
            self._sending[batch] = account
        try:
            task = partial(self._send, account, batch, transfers, behind)
            self._submit(self._senders[account], task)
        except RuntimeError:
            with self._changed:
                del self._sending[batch]
            raise

    def read_back(
        self, account: str, urgent: Iterable[Series] = (), behind: Iterable[Series] = ()
    ) -> None:
        """Read back some series that are due, but for those of which that is being done.

        And go on with what has waited while nothing might be asked for.

        Parameters
        ----------
        behind
            Those of backfills.

        Raises
        ------
        RuntimeError
            No thread can be started for it: it waits.
        """
        reading = self._readings[account]
        with self._changed:
            for one in urgent:
                reading.add_due(one, behind=False)
            for one in behind:
                reading.add_due(one, behind=True)
            reading.end_idle()
        self._start_reading(account)

    def rest(self, seconds: float) -> bool:
        """Wait some seconds for what runs; whether nothing does any more."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks, seconds)

    def stop(self) -> None:
        """Begin nothing more; what still runs is not waited for."""
        with self._changed:
            self._stopped = True
            readers = [one.pool for one in self._readings.values() if one.pool is not None]
        for pool in (*self._senders.values(), *readers):
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: Executor, task: Callable[[], None]) -> None:
        """Let a thread of a pool do something.

        Raises
        ------
        RuntimeError
            None can be started for it: it is never done.
        """
        with self._changed:
            self._tasks += 1
        try:
            submit(pool, partial(self._counted, task))
        except RuntimeError:
            self._count_ended()
            raise

    def _counted(self, task: Callable[[], None]) -> None:
        try:
            task()
        finally:
            self._count_ended()

    def _count_ended(self) -> None:
        with self._changed:
            self._tasks -= 1
            self._changed.notify_all()

    def _send(self, account: str, batch: str, transfers: Sequence[Transfer], behind: bool) -> None:
        series: list[Series] = []
        try:
            series = self._sender.send(batch, transfers)
        except Exception as error:
            # The ledger still has it claimed; the dispatcher finds that no thread sends it.
            _log.log(_level(error), "a batch was interrupted: %s", _short(error))
        finally:
            with self._changed:
                del self._sending[batch]
            self._on_free()
        reading = self._readings[account]
        with self._changed:
            for one in series:
                reading.add_sent(one, behind=behind)
        self._start_reading(account)

    # -- Reading back -----------------------------------------------------------------------------

    def _allowed(self, account: str) -> int:
        """How many threads may read back an account now."""
        if self._stopped:
            return 0
        reading, lent = self._readings[account], 0
        is_waited_for = LENT_FROM <= reading.seconds_each < LENT_FOR
        if self._lends and is_waited_for and monotonic() >= reading.lent_again_at:
            # One that is idle stays so: what arrives does not wait until another is given back.
            lent = max(0, self._connections[account] - self.sending(account) - 1)
        return self._searches(account, lent)

    def _most_behind(self, account: str, allowed: int) -> int:
        """How many of the threads that may read back an account backfills may have."""
        return lent_to_backfills(allowed) if allowed and account in self._slow else allowed

    def _start_reading(self, account: str, least: int = 0) -> None:
        """Let as many threads read back as have something to do for a moment."""
        reading = self._readings[account]
        with self._changed:
            if not reading.urgent and not reading.behind:
                return
            allowed = self._allowed(account)
            most_behind = self._most_behind(account, allowed)
            for _ in range(reading.wanted(allowed, most_behind, least)):
                if reading.pool is None:
                    most = 2 * self._connections[account]
                    reading.pool = self._pool(most, f"gcp-read-back-{account}")
                reading.threads += 1
                try:
                    self._submit(reading.pool, partial(self._read, account))
                except RuntimeError:
                    reading.threads -= 1
                    raise

    def _read(self, account: str) -> None:
        """Read back what comes next; whether there is more is another turn of the same thread."""
        reading, series, behind = self._readings[account], list[Series](), False
        with self._changed:
            allowed = self._allowed(account)
            if reading.threads <= allowed:
                series, behind = reading.next(self._most_behind(account, allowed))
        try:
            if series:
                self._confirm(account, reading, series, behind)
        finally:
            with self._changed:
                reading.asked.difference_update(series)
                gives_way = not self._may_ask(account)
                reading.threads -= 1
                reading.threads_behind -= behind
                reading.idle_since = monotonic()
                if series:  # otherwise whoever asks for what waits goes on with it
                    self._start_reading(account, least=1)
            if gives_way:
                self._on_free()

    def _may_ask(self, account: str) -> bool:
        """Whether one of those that read back may ask for another series."""
        with self._changed:
            return self._readings[account].threads <= self._allowed(account)

    def _gives_way(self, account: str, reading: _Reading) -> bool:
        """Whether what is urgent waits for one of the threads that read back a backfill."""
        with self._changed:
            return bool(reading.urgent) and reading.threads >= self._allowed(account)

    def _confirm(self, account: str, reading: _Reading, series: list[Series], behind: bool) -> None:
        """Read back some series; those that may not be asked for any more wait again."""
        left: dict[Series, None] = {}

        def may_ask(one: Series) -> bool:
            is_first = one is series[0]
            overtaken = behind and not is_first and self._gives_way(account, reading)
            if left or overtaken or not self._may_ask(account):
                left[one] = None
            return one not in left

        began = monotonic()
        try:
            asked = self._read_back.confirm(account, series, may_ask)
        except Exception as error:
            words = _short(error)
            _log.log(_level(error), "account %s: reading back was interrupted: %s", account, words)
            return
        with self._changed:
            (reading.behind if behind else reading.urgent).sent.update(left)
            if asked:
                each = (monotonic() - began) / asked
                reading.seconds_each = (reading.seconds_each + each) / 2


def lent_to_backfills(connections: int) -> int:
    """How many of some connections a backfill may have: what arrives finds one that is free."""
    return max(1, connections - max(1, connections // 4))


def _level(error: Exception) -> int:
    """A database that is away stops the dispatcher as well, which logs it once."""
    return logging.DEBUG if is_away(error) else logging.ERROR


def _short(error: Exception) -> str:
    """What an error is; the first line of a database's, which may go on with values."""
    words = f": {words_of(error)}" if isinstance(error, SQLAlchemyError) else ""
    return f"{type(error).__name__}{words}"
