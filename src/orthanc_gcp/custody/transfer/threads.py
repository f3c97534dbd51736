"""The threads of a worker: some send batches, some read back what was sent.

They remember nothing. What a worker has claimed stands in the ledger, and waits again when the
worker, or the thread, ends before it has settled it: the ledger is the queue, and the only memory.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import islice
from math import ceil
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.ledger.database import is_away, words_of
from orthanc_gcp.ledger.rows import Series, Transfer

__all__ = ["TransferThreads"]

_log = logging.getLogger(__name__)

MOST_UNREAD = 2000
"""Series of an account that wait to be read back while the store is slow to answer searches."""
MOST_TOGETHER = 10
"""So many series one thread reads back one after the other: the ledger is asked once for them."""
SECONDS_EACH = 0.2
"""How long a series is thought to take before one was read back (Google's "DICOM best practices":
0.2 to 0.33 s a request)."""
MOMENT = 0.1
"""Seconds of reading back that are not divided among threads."""


class TransferThreads:
    """Two pools for each account, so that no account and no reading back holds up a request.

    Parameters
    ----------
    connections
        Account -> the most requests at once: so many threads send, and as many read back.
    on_sent
        Called when a batch was sent, whatever came of it.
    pool
        Makes one of so many threads, whose names begin so.
    """

    def __init__(
        self,
        sender: Sender,
        read_back: ReadBack,
        connections: Mapping[str, int],
        on_sent: Callable[[], None],
        pool: Callable[[int, str], Executor] = ThreadPoolExecutor,
    ) -> None:
        self._sender, self._read_back, self._on_sent = sender, read_back, on_sent
        self._senders, self._readers = (
            {account: pool(most, f"{name}-{account}") for account, most in connections.items()}
            for name in ("gcp-send", "gcp-read-back")
        )
        self._changed = threading.Condition()
        self._sending: dict[str, str] = {}  # batch -> account
        self._reading: set[tuple[str, Series]] = set()  # series that were due
        # Account -> series that were sent and wait to be read back, and how many threads do so.
        self._unread: dict[str, dict[Series, None]] = {account: {} for account in connections}
        self._confirming: Counter[str] = Counter()
        self._most_confirming = dict(connections)
        self._seconds_each = dict.fromkeys(connections, SECONDS_EACH)
        self._tasks = 0

    def sending(self, account: str) -> int:
        """How many batches of an account this worker is sending."""
        with self._changed:
            return sum(of == account for of in self._sending.values())

    def reading(self, account: str) -> list[Series]:
        """The series of an account that were due, and are being read back."""
        with self._changed:
            return [series for of, series in self._reading if of == account]

    def active(self) -> set[str]:
        """The batches that this worker is sending."""
        with self._changed:
            return set(self._sending)

    def send(self, account: str, batch: str, transfers: Sequence[Transfer]) -> None:
        """Send a claimed batch, then read back its series."""
        with self._changed:
            self._sending[batch] = account
        self._submit(self._senders, account, partial(self._send, account, batch, transfers))

    def read_back(self, account: str, series: Sequence[Series]) -> None:
        """Read back some series that are due, but for those of which that is being done.

        Each by itself: one that the store is slow to answer for holds up no other.
        """
        with self._changed:
            fresh = [one for one in series if (account, one) not in self._reading]
            self._reading.update((account, one) for one in fresh)
        for one in fresh:
            self._submit(self._readers, account, partial(self._confirm_due, account, one))

    def rest(self, seconds: float) -> bool:
        """Wait some seconds for what runs; whether nothing does any more."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks, seconds)

    def stop(self) -> None:
        """Begin nothing more; what still runs is not waited for."""
        for pool in (*self._senders.values(), *self._readers.values()):
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit(
        self, pools: Mapping[str, Executor], account: str, task: Callable[[], None]
    ) -> None:
        with self._changed:
            self._tasks += 1
        pools[account].submit(self._counted, task)

    def _counted(self, task: Callable[[], None]) -> None:
        try:
            task()
        finally:
            with self._changed:
                self._tasks -= 1
                self._changed.notify_all()

    def _send(self, account: str, batch: str, transfers: Sequence[Transfer]) -> None:
        series: list[Series] = []
        try:
            series = self._sender.send(batch, transfers)
        except Exception as error:
            # The ledger still has it claimed; the dispatcher finds that no thread sends it.
            _log.log(_level(error), "a batch was interrupted: %s", _short(error))
        finally:
            with self._changed:
                del self._sending[batch]
            self._on_sent()
        self._queue(account, series)
        self._start_reading(account)

    def _queue(self, account: str, series: Sequence[Series]) -> None:
        """Let some series wait to be read back.

        One that waits already is read back once. What there is no room for is due in the ledger a
        little later.
        """
        with self._changed:
            unread = self._unread[account]
            unread.update(dict.fromkeys(series[: max(0, MOST_UNREAD - len(unread))]))

    def _start_reading(self, account: str) -> None:
        """Let as many threads read back as have something to do for a moment."""
        with self._changed:
            waiting = len(self._unread[account])
            wanted = min(waiting, ceil(waiting * self._seconds_each[account] / MOMENT))
            more = min(wanted, self._most_confirming[account]) - self._confirming[account]
            self._confirming[account] += max(0, more)
        for _ in range(more):
            self._submit(self._readers, account, partial(self._confirm_sent, account))

    def _confirm_sent(self, account: str) -> None:
        while series := self._next_unread(account):
            began = monotonic()
            if asked := self._confirm(account, series):
                self._learn(account, (monotonic() - began) / asked)
            self._start_reading(account)

    def _learn(self, account: str, seconds: float) -> None:
        """How long a series takes."""
        with self._changed:
            self._seconds_each[account] = (self._seconds_each[account] + seconds) / 2

    def _next_unread(self, account: str) -> list[Series]:
        """What one thread reads back next: the less, the fewer there are for all of them."""
        with self._changed:
            unread = self._unread[account]
            share = max(1, len(unread) // self._confirming[account])
            series = list(islice(unread, min(share, MOST_TOGETHER)))
            for one in series:
                del unread[one]
            self._confirming[account] -= not series
            return series

    def _confirm_due(self, account: str, series: Series) -> None:
        try:
            self._confirm(account, [series])
        finally:
            with self._changed:
                self._reading.discard((account, series))

    def _confirm(self, account: str, series: list[Series]) -> int:
        """For how many series the store was asked."""
        try:
            return self._read_back.confirm(account, series)
        except Exception as error:
            words = _short(error)
            _log.log(_level(error), "account %s: reading back was interrupted: %s", account, words)
            return 0


def _level(error: Exception) -> int:
    """A database that is away stops the dispatcher as well, which logs it once."""
    return logging.DEBUG if is_away(error) else logging.ERROR


def _short(error: Exception) -> str:
    """What an error is; the first line of a database's, which may go on with values."""
    words = f": {words_of(error)}" if isinstance(error, SQLAlchemyError) else ""
    return f"{type(error).__name__}{words}"
