"""What a worker does for retrievals: lists, fetches, looks in Orthanc, and ends them."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import OrthancError, OrthancRefusedError
from orthanc_gcp.ledger.database import is_away
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import RetrievalOutcome, RetrievalRow, RetrievedRow
from orthanc_gcp.ledger.schema import RetrievalState, RetrievedState
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.reasons import RetrievalReason
from orthanc_gcp.retrieval.conditions import Conditions
from orthanc_gcp.retrieval.fetcher import OF_USER, Fetcher
from orthanc_gcp.retrieval.plan import fetches
from orthanc_gcp.retrieval.remote import BACKOFF, RemoteStore
from orthanc_gcp.retrieval.rounds import Asked, Rounds
from orthanc_gcp.thread_pools import submit

__all__ = ["Retriever"]

_log = logging.getLogger(__name__)
_LOOK = ""
"""What no account is called."""

MOST_UNEXPECTED = 4
PAGE = 1000
"""So many instances of a retrieval are looked at when requests are made of them."""
MOST_OPEN = 64
"""So many retrievals of an account go on side by side: of more, those that have to wait are passed
over."""
MOST_LOOKED_AT = 200
"""Of so many, at most, Orthanc is asked at once what it has; and the ledger written."""
LOOKS = 2
"""So many times at once: while these go on, others come together."""
UPLOADS = 16
"""So many threads give Orthanc what came together: it may have a slow storage."""
ASK_AGAIN = 1.0
"""Seconds after which the ledger is asked again whether anything is due beside what is on its way.
"""
AHEAD = 3
"""So many times the requests that run at once are begun: the rest waits for a thread."""


class Retriever:
    """Retrieves into one Orthanc, on threads of its own; a loop makes its steps.

    Parameters
    ----------
    on_change
        Called when there may be more to do.
    pool
        Makes one of so many threads, whose names begin so.
    overwrites
        Whether Orthanc overwrites what it has with what it is given.
    """

    def __init__(
        self,
        ledger: Ledger,
        rest: OrthancRest,
        orthanc: OrthancSource,
        remotes: Mapping[str, RemoteStore],
        clock: Clock,
        conditions: Conditions,
        on_change: Callable[[], None] = lambda: None,
        pool: Callable[[int, str], Executor] = ThreadPoolExecutor,
        *,
        overwrites: bool = False,
    ) -> None:
        self._ledger, self._remotes, self._clock = ledger, remotes, clock
        self._conditions = conditions
        self._on_change = on_change
        self._outcomes: deque[RetrievalOutcome] = deque()
        self._uploads = pool(UPLOADS, "gcp-retrieve-upload")
        self._fetcher = Fetcher(
            ledger,
            rest,
            orthanc,
            clock,
            self._outcomes.append,
            self._orthanc_is_full,
            self._uploads,
            conditions.must_stop,
            overwrites=overwrites,
        )
        self._rounds = Rounds(ledger, rest, orthanc, clock)
        self._pools = {
            name: pool(remote.max_requests, f"gcp-retrieve-{name}")
            for name, remote in remotes.items()
        }
        self._looks = pool(LOOKS, "gcp-retrieve-look")
        self._asked: deque[Asked] = deque()
        self._lock = threading.Condition()
        self._busy: dict[int, set[int]] = {}  # retrieval -> rows on their way; none while listed
        self._running: Counter[str] = Counter()  # account -> tasks
        self._idle_until: dict[int, float] = {}  # retrieval, all of which is on its way
        self._finished: deque[tuple[RetrievalRow, tuple[RetrievedRow, ...]]] = deque()
        self._unexpected: Counter[int] = Counter()  # row or, below 0, retrieval
        self._orthanc_failures, self._orthanc_resume = 0, float("-inf")
        self._orthanc_error: OrthancError | None = None

    def step(self) -> bool:
        """Write down what came, and begin what can be begun; whether there was anything to do.

        Raises
        ------
        OrthancError
            Orthanc was away when it was last needed.
        SQLAlchemyError
            The ledger is away; what was begun goes on.
        RuntimeError
            No thread can be started: what it was to do waits.
        """
        settled = self._write_down()
        error, self._orthanc_error = self._orthanc_error, None
        if error is not None:
            raise error
        source, begun = self._conditions.source(), False
        if not source or self._conditions.must_stop():
            return settled
        for retrieval in self._due(source):
            begun |= self._advance(retrieval)
        return self._look_at_some() or settled or begun

    def rest(self, seconds: float) -> bool:
        """Wait some seconds for what runs; whether nothing does any more."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._running.total(), seconds)

    def stop(self) -> None:
        """Begin nothing more; what still runs is not waited for."""
        for pool in (*self._pools.values(), self._looks):
            pool.shutdown(wait=False, cancel_futures=True)
        self._uploads.shutdown(wait=False)  # what is begun there is waited for by who has begun it

    # -- What is begun --------------------------------------------------------------------------

    def _due(self, source: str) -> list[RetrievalRow]:
        """What may go on of the accounts that may be asked, none of which is in another's way."""
        due = self._ledger.retrievals.due
        accounts = [name for name in self._remotes if self._may_go_on(name)]
        found = due(source, accounts, MOST_OPEN) if accounts else []
        if len(found) < MOST_OPEN or len(accounts) < 2:
            return found
        return [one for account in accounts for one in due(source, [account], MOST_OPEN)]

    def _may_go_on(self, account: str) -> bool:
        return self._conditions.allowed(account) and self._may_ask(self._remotes[account])

    def _advance(self, retrieval: RetrievalRow) -> bool:
        """Begin what can be begun of one; whether anything was."""
        remote = self._remotes[retrieval.account]
        if self._ledger.destinations.find(retrieval.account) != retrieval.destination_id:
            words = "the account has another store by now than when it was asked for"
            self._rounds.end(retrieval, RetrievalReason.OTHER_STORE, words)
            return True
        if not self._may_go_on(retrieval.account):
            return False
        if retrieval.state == RetrievalState.WAITING:
            return self._ask(remote, retrieval)
        return self._fetch(remote, retrieval)

    def _may_ask(self, remote: RemoteStore) -> bool:
        return remote.pace.is_open and self._clock.now() >= self._orthanc_resume

    def _ask(self, remote: RemoteStore, retrieval: RetrievalRow) -> bool:
        """Have the store asked; what it lists is looked at later, together with others."""
        if not self._rounds.needs_store(remote, retrieval):
            with self._lock:
                is_free = retrieval.id not in self._busy
                self._busy.setdefault(retrieval.id, set())
            self._asked.extend([Asked(retrieval)] if is_free else ())
            return is_free

        def ask() -> bool:
            asked = self._rounds.ask(remote, retrieval)
            if asked is not None:
                self._asked.append(asked)
            return asked is not None

        return self._begin(retrieval, (), ask)

    def _look_at_some(self) -> bool:
        """Have Orthanc asked for what stores list; whether anything was begun."""
        with self._lock:
            running = self._running[_LOOK]
        if running >= LOOKS or self._clock.now() < self._orthanc_resume:
            return False
        some = [self._asked.popleft() for _ in range(min(len(self._asked), MOST_LOOKED_AT))]
        if some:
            with self._lock:
                self._running[_LOOK] += 1
            try:
                submit(self._looks, partial(self._look, some))
            except RuntimeError:
                self._asked.extendleft(reversed(some))
                with self._lock:
                    self._running[_LOOK] -= 1
                raise
        return bool(some)

    def _fetch(self, remote: RemoteStore, retrieval: RetrievalRow) -> bool:
        """Begin requests for what waits; when nothing does any more, look whether all is there."""
        with self._lock:
            busy = set(self._busy.get(retrieval.id, ()))
            is_listed = retrieval.id in self._busy and not busy
            running = self._running[retrieval.account]
        now = self._clock.now()
        is_idle = bool(busy) and now < self._idle_until.get(retrieval.id, now)
        if is_listed or is_idle or running > remote.max_requests * (AHEAD - 1):
            return False
        rows = self._ledger.retrievals.pending(retrieval, busy, PAGE)
        if not rows and busy:
            self._idle_until[retrieval.id] = now + ASK_AGAIN
            return False
        if not rows and self._ledger.retrievals.any_pending(retrieval):
            self._ledger.retrievals.wait_for_rows(retrieval)
            return False
        if not rows:
            return self._ask(remote, retrieval)
        free, begun = remote.max_requests * AHEAD - running, False
        count = partial(self._ledger.retrievals.count, retrieval)
        for fetch in fetches(rows, len(rows) < PAGE and not busy, count):
            if free <= 0:
                break
            task = partial(self._fetcher.fetch, remote, retrieval, fetch)
            begun |= self._begin(retrieval, fetch.rows, task)
            free -= 1
        else:
            if len(rows) < PAGE:
                self._idle_until[retrieval.id] = now + ASK_AGAIN
        return begun

    def _begin(
        self,
        retrieval: RetrievalRow,
        rows: Sequence[RetrievedRow],
        task: Callable[[], bool | None],
    ) -> bool:
        """Run a task about rows, or about none of them alone; whether it can be."""
        with self._lock:
            busy = self._busy.get(retrieval.id)
            if busy is not None and not (rows and busy):
                return False
            self._busy.setdefault(retrieval.id, set()).update(row.id for row in rows)
            self._running[retrieval.account] += 1
        try:
            submit(self._pools[retrieval.account], partial(self._run, retrieval, tuple(rows), task))
        except RuntimeError:
            self._finished.append((retrieval, tuple(rows)))
            with self._lock:
                self._running[retrieval.account] -= 1
            raise
        return True

    # -- What runs ------------------------------------------------------------------------------

    def _run(
        self,
        retrieval: RetrievalRow,
        rows: tuple[RetrievedRow, ...],
        task: Callable[[], bool | None],
    ) -> None:
        """Run a task; where it says that more follows, its retrieval stays as it is."""
        follows: bool | None = False
        try:
            if self._may_begin(retrieval.account):
                follows = task()
                self._orthanc_failures = 0
        except OrthancError as error:
            self._orthanc_error = error
            self._back_off()
        except Exception as error:
            self._failed(retrieval, rows, error)
        finally:
            if not follows:
                self._finished.append((retrieval, rows))
            self._ended(retrieval.account)

    def _ended(self, kind: str) -> None:
        with self._lock:
            self._running[kind] -= 1
            self._lock.notify_all()
        self._on_change()

    def _look(self, some: Sequence[Asked]) -> None:
        try:
            self._look_at(some)
        finally:
            self._finished.extend((one.retrieval, ()) for one in some)
            self._ended(_LOOK)

    def _look_at(self, some: Sequence[Asked]) -> None:
        """Look at some; one of them that makes it fail is in the way of no other."""
        half = len(some) // 2
        try:
            if not self._conditions.must_stop():
                self._rounds.look(some)
                self._orthanc_failures = 0
        except Exception as error:
            if half and not (is_away(error) or _is_of_all(error)):
                self._look_at(some[:half])
                self._look_at(some[half:])
            elif isinstance(error, OrthancError):
                self._orthanc_error = error
                self._back_off()
            else:
                self._failed(some[0].retrieval, (), error)

    def _may_begin(self, account: str) -> bool:
        """Whether a task is still to be begun that has waited for a thread."""
        return not self._conditions.must_stop() and self._may_go_on(account)

    def _failed(
        self, retrieval: RetrievalRow, rows: Sequence[RetrievedRow], error: Exception
    ) -> None:
        """This program has failed: that is in the way of nothing else, and not for ever."""
        if is_away(error):  # the next step says so
            return
        _log.error("retrieval %d: unexpected %s", retrieval.id, type(error).__name__)
        words = f"unexpected {type(error).__name__}"
        for row in rows:
            self._unexpected[row.id] += 1
            ended = self._unexpected[row.id] >= MOST_UNEXPECTED
            later = self._ledger.now() + BACKOFF.delay(self._unexpected[row.id])
            self._outcomes.append(
                RetrievalOutcome(
                    row.id,
                    RetrievedState.MISSING if ended else RetrievedState(row.state),
                    row.attempts + 1,
                    None if ended else later,
                    RetrievalReason.UNEXPECTED,
                    words,
                )
            )
        if not rows:
            self._unexpected[-retrieval.id] += 1
            self._rounds.failed(
                retrieval,
                RetrievalReason.UNEXPECTED,
                words,
                ended=self._unexpected[-retrieval.id] >= MOST_UNEXPECTED,
            )

    def _orthanc_is_full(self, row: RetrievedRow, ended: bool, words: str) -> None:
        """Orthanc has no room: nothing more is brought for a while, or nothing of it at all."""
        self._back_off()
        if ended:
            self._ledger.retrievals.give_up(row.retrieval_id, RetrievalReason.FULL, words)

    def _back_off(self) -> None:
        self._orthanc_failures += 1
        self._orthanc_resume = self._clock.now() + BACKOFF.delay(self._orthanc_failures)

    def _write_down(self) -> bool:
        """Settle what came, and let go of the rows of tasks that have ended."""
        # In this order: what a task settles is there before it ends.
        finished = [self._finished.popleft() for _ in range(len(self._finished))]
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        try:
            self._ledger.retrievals.settle(outcomes)
        except Exception:
            self._outcomes.extendleft(reversed(outcomes))
            self._finished.extendleft(reversed(finished))
            raise
        with self._lock:
            for retrieval, rows in finished:
                busy = self._busy.get(retrieval.id, set())
                busy -= {row.id for row in rows}
                if not busy:
                    self._busy.pop(retrieval.id, None)
                    self._idle_until.pop(retrieval.id, None)
        return bool(outcomes or finished)


def _is_of_all(error: Exception) -> bool:
    """Whether Orthanc fails whatever it is asked."""
    is_refused = isinstance(error, OrthancRefusedError) and error.status not in OF_USER
    return isinstance(error, OrthancError) and not is_refused
