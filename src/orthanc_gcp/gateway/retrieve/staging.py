"""Brings instances from a store, some ahead of those who send them: never a study in memory.

Small and middle ones are fetched whole, by several requests side by side; of a large one only its
name is staged, and its bytes stream from the store to where they are sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.retrieve.file_meta import FileMeta, NoFileError, split_file
from orthanc_gcp.gateway.retrieve.requests import Fetch
from orthanc_gcp.gateway.retrieve.sub_operations import Instance, Outcome, SubOperations
from orthanc_gcp.logs import places
from orthanc_gcp.reasons import StoreReason

__all__ = ["AS_STORED", "Staged", "Staging", "shown"]

_log = logging.getLogger(__name__)

REQUESTS = 8
"""To the store, at once."""
LARGE = 8 * 1024 * 1024
"""Bytes above which an instance streams."""
BUDGET, MOST_STAGED = 24 * 1024 * 1024, 64
"""Bytes and instances that are fetched, or wait to be sent, after which no more are fetched."""
BACKOFF = Backoff(0.25, 10.0)
MOST_ATTEMPTS = 6
"""So often an instance is asked for that does not come while others do."""
GIVE_UP_AFTER = 60.0
"""Seconds in which the store has failed and nothing came, after which nothing more is asked for."""
_LONGEST_WAIT = 30.0
AS_STORED = "*"


@dataclass(frozen=True)
class Staged:
    """An instance that can be sent.

    Attributes
    ----------
    content
        Its file; None for one that streams.
    transfer_syntax
        The one that it is to come in; ``*`` for the file as it is stored.
    """

    instance: Instance
    content: bytes | None
    transfer_syntax: str = AS_STORED

    @property
    def size(self) -> int:
        """Bytes that it has in memory."""
        return len(self.content or b"")


class _OverError(Exception):
    """Nothing more is wanted."""


class Staging:
    """Fetches what is to be sent, on threads of its own.

    Parameters
    ----------
    renew
        Called when the store has refused the access token.
    name
        What the log calls the retrieval.
    """

    def __init__(
        self,
        store: ReadableStore,
        fetches: Iterable[Fetch],
        operations: SubOperations,
        renew: Callable[[], None],
        name: str,
    ) -> None:
        self._store, self._operations, self._renew = store, operations, renew
        self._name = name
        self._condition = operations.condition
        self._waiting = deque(fetches)
        self._staged: deque[Staged] = deque()
        self._bytes = self._reserved = 0
        self._attempts: Counter[Instance] = Counter()
        self._first_failed: dict[Instance, int] = {}
        self._successes = self._failures = 0
        self._failing_since: float | None = None
        wanted = sum(len(one.instances) for one in self._waiting)
        self._threads = [
            threading.Thread(target=self._run, name="gcp-fetch", daemon=True)
            for _ in range(min(REQUESTS, wanted))
        ]

    def start(self) -> None:
        """Begin to fetch.

        Raises
        ------
        RuntimeError
            No thread can be started for it.
        """
        for number, one in enumerate(self._threads):
            try:
                one.start()
            except RuntimeError:
                if not number:
                    raise
                return  # fewer will do

    def stop(self) -> None:
        """Let go of what was fetched; the sub-operations have to be over."""
        with self._condition:
            self._staged.clear()
            self._waiting.clear()

    # -- For those who send -----------------------------------------------------------------------

    def take(self, seconds: float | None = None) -> Staged | None:
        """The next instance to be sent; None when nothing more is to be, or none came in time."""
        with self._condition:
            self._condition.wait_for(lambda: self._staged or self._operations.is_over, seconds)
            if self._operations.is_over or not self._staged:
                return None
            one = self._staged.popleft()
            self._bytes -= one.size
            self._condition.notify_all()
            return one

    def put_back(self, one: Staged) -> None:
        """One was not sent: it is the next."""
        with self._condition:
            self._bytes += one.size
            self._staged.appendleft(one)
            self._condition.notify_all()

    def transcode(self, one: Staged, transfer_syntax: str) -> None:
        """Have the store bring one in another transfer syntax."""
        self._again(Fetch((one.instance,), transfer_syntax=transfer_syntax))

    @property
    def has_staged(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._staged)

    @contextmanager
    def opened(self, one: Staged) -> Generator[tuple[FileMeta, Iterator[bytes]]]:
        """What the file of one is, and the bytes of its data set, piece by piece.

        Raises
        ------
        NoFileError
            It is none, or is another instance.
        StoreError
            It streams, and the store refused, or broke off; the iterator raises it as well.
        """
        if one.content is not None:
            yield _file(one, iter((one.content,)))
            return
        with self._store.open(*one.instance.uids, transfer_syntax=one.transfer_syntax) as pieces:
            yield _file(one, self._noticed(pieces))

    def failed(self, one: Staged, error: StoreError) -> None:
        """The store has failed while one streamed."""
        fetch = Fetch((one.instance,), transfer_syntax=one.transfer_syntax)
        self._store_failed(fetch, error)

    def fail(self, instance: Instance, why: str, comment: str = "") -> None:
        """Give one up, and say why in the log."""
        if self._operations.settle(instance, Outcome.FAILED, comment):
            _log.warning("%s: instance %s is not sent: %s", self._name, shown(instance), why)

    # -- Fetching ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while (fetch := self._next()) is not None:
            self._wait(fetch.pause)
            try:
                self._fetch(fetch)
            except _OverError:
                return
            except StoreError as error:
                self._store_failed(fetch, error)
                self._wait(BACKOFF.delay(self._failures // REQUESTS))
            except Exception as error:
                _log.error("fetching failed unexpectedly\n%s", places(error))
                for instance in fetch.instances:
                    self.fail(instance, "it failed unexpectedly")
            finally:
                with self._condition:
                    self._reserved -= _estimate(fetch)
                    self._condition.notify_all()

    def _next(self) -> Fetch | None:
        def may_begin() -> bool:
            return self._operations.is_over or bool(self._waiting and self._has_room())

        with self._condition:
            self._condition.wait_for(may_begin)
            if self._operations.is_over:
                return None
            fetch = self._waiting.popleft()
            self._reserved += _estimate(fetch)
            return fetch

    def _has_room(self) -> bool:
        return self._bytes + self._reserved < BUDGET and len(self._staged) < MOST_STAGED

    def _fetch(self, fetch: Fetch) -> None:
        if fetch.study:
            self._fetch_several(fetch)
            return
        (instance,) = fetch.instances
        if instance.size_bytes > LARGE:
            self._stage(Staged(instance, None, fetch.transfer_syntax))
            return
        with self._store.open(*instance.uids, transfer_syntax=fetch.transfer_syntax) as pieces:
            content = self._content(pieces)
        self._succeeded()
        self._stage(Staged(instance, content, fetch.transfer_syntax))

    def _fetch_several(self, fetch: Fetch) -> None:
        wanted = {one.uids[2]: one for one in fetch.instances}
        try:
            with self._store.retrieve(fetch.study, fetch.series) as files:
                for pieces in files:
                    content = self._content(pieces)
                    instance = wanted.pop(_uid_of(content), None)
                    self._succeeded()
                    if instance is not None:
                        self._wait_for_room()
                        self._stage(Staged(instance, content))
        finally:
            # What did not come with the others comes by itself: a large one, for instance.
            for instance in wanted.values():
                self._again(Fetch((instance,)))

    def _content(self, pieces: Iterator[bytes]) -> bytes | None:
        """A file, unless it is a large one."""
        parts, size = [], 0
        for piece in pieces:
            if self._operations.is_over:
                raise _OverError
            parts.append(piece)
            size += len(piece)
            if size > LARGE:
                return None
        return b"".join(parts)

    def _stage(self, one: Staged) -> None:
        with self._condition:
            if self._operations.is_over:
                raise _OverError
            self._staged.append(one)
            self._bytes += one.size
            self._condition.notify_all()

    def _wait_for_room(self) -> None:
        """For what comes with others; what comes by itself has room from the beginning."""
        with self._condition:
            self._condition.wait_for(lambda: self._has_room() or self._operations.is_over)

    def _again(self, fetch: Fetch) -> None:
        with self._condition:
            self._waiting.append(fetch)
            self._condition.notify_all()

    # -- When the store fails ---------------------------------------------------------------------

    def _noticed(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same; the store gives what streams, even if it breaks off later."""
        for number, piece in enumerate(pieces):
            if not number:
                self._succeeded()
            yield piece

    def _succeeded(self) -> None:
        with self._condition:
            self._successes, self._failures = self._successes + 1, 0
            self._failing_since = None

    def _store_failed(self, fetch: Fetch, error: StoreError) -> None:
        """Ask again for what it did not give, after a while, unless that was often enough."""
        unauthorized = error.reason == StoreReason.UNAUTHORIZED
        if unauthorized:  # which says nothing of the instance
            self._renew()
        comment, again = f"the store: {error.reason}", error.retryable or unauthorized
        now = time.monotonic()
        with self._condition:
            self._failures += 1
            # A destination may be slow, so that nothing was asked for meanwhile.
            self._failing_since = now if self._failing_since is None else self._failing_since
            gone = now - self._failing_since > GIVE_UP_AFTER
        if again and gone:
            if left := self._operations.abandon(comment):
                _log.error("%s: %d instances are not sent: %s", self._name, left, error)
            return
        for instance in () if fetch.study else fetch.instances:
            self._attempts[instance] += 1
            if unauthorized or (again and self._may_ask_again(instance)):
                pause = BACKOFF.delay(self._attempts[instance])
                pause = min(_LONGEST_WAIT, max(pause, error.retry_after or 0.0))
                self._again(replace(fetch, pause=pause))
            else:
                self.fail(instance, str(error), comment)

    def _may_ask_again(self, instance: Instance) -> bool:
        """Whether it was not asked for often enough, or nothing else came in between."""
        with self._condition:
            first = self._first_failed.setdefault(instance, self._successes)
            return self._attempts[instance] < MOST_ATTEMPTS or self._successes == first

    def _wait(self, seconds: float) -> None:
        if seconds:
            self._operations.wait(seconds)


def shown(instance: Instance) -> str:
    """An instance as a log names it."""
    return repr(instance.uids[2][:64])


def _estimate(fetch: Fetch) -> int:
    """The bytes that one instance will have in memory, as far as is known; 0 for several."""
    return 0 if fetch.study else min(LARGE, fetch.instances[0].size_bytes)


def _file(one: Staged, pieces: Iterator[bytes]) -> tuple[FileMeta, Iterator[bytes]]:
    meta, data_set = split_file(pieces)
    if meta.sop_instance != one.instance.uids[2]:
        raise NoFileError("the store gave another in its place")
    return meta, data_set


def _uid_of(content: bytes | None) -> str:
    """Which instance a file is; empty where it does not say, or was not read."""
    try:
        return split_file(iter((content,)))[0].sop_instance if content is not None else ""
    except NoFileError:
        return ""
