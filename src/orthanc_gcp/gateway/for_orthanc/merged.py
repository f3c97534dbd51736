"""Orthanc and the store of an account as one: what both have comes from Orthanc, and once."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import Any

from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.dicomweb.search import found_uids
from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.for_orthanc.local import LocalStore
from orthanc_gcp.logs import places
from orthanc_gcp.reasons import StoreReason

__all__ = ["MergedStore"]

_log = logging.getLogger(__name__)

SLOW = 1.0
"""Seconds without an answer after which a store is slow."""
_AHEAD = 1000
"""So many matches of the store wait to be taken."""
_LOOK_EVERY = 0.1

Match = Mapping[str, Any]
Within = Callable[[], float]
"""For how many seconds the next match of the store is waited for."""


class MergedStore:
    """What both have; where the store cannot be asked, what Orthanc has.

    Parameters
    ----------
    cloud
        The store; None where there is none to be asked.
    pool
        Searches the store meanwhile.
    renew
        Called when the store has refused the access token.

    Attributes
    ----------
    lacking
        Why what only the store has is missing from what was found; empty while it is not.
    is_slow
        Whether that is because it did not answer, though it was waited for: of much that is
        asked for, some may come too late.
    """

    def __init__(
        self,
        local: LocalStore,
        cloud: ReadableStore | None,
        pool: Executor,
        within: Within,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        self._local, self._cloud, self._pool = local, cloud, pool
        self._within, self._renew = within, renew
        self.lacking, self.is_slow = "", False

    @property
    def connections(self) -> int:
        """So many searches may go on at once."""
        return 1 if self._cloud is None else self._cloud.connections

    def search(
        self, path: str, parameters: Mapping[str, str], *, depth: int, page: int = 1000
    ) -> Iterator[Match]:
        """What a search finds in either; first what Orthanc has.

        Raises
        ------
        StoreError
            Orthanc does not answer.
        """
        if self._cloud is None or self.lacking:
            yield from self._local.search(path, parameters, depth=depth)
            return
        cloud = self._cloud.search(path, parameters, depth=depth, page=page)
        ahead, seen = _Ahead(self._pool, cloud), set[int]()
        try:
            for own in self._local.search(path, parameters, depth=depth):
                seen.add(hash(found_uids(own, depth)))
                yield own
            for match in self._of_cloud(ahead):
                if hash(found_uids(match, depth)) not in seen:
                    yield match
        finally:
            ahead.stop()

    def _of_cloud(self, ahead: _Ahead) -> Iterator[Match]:
        waited = 0.0
        try:
            while (match := ahead.take(waited := self._within())) is not None:
                yield match
        except queue.Empty:
            self.lacking = "it did not answer in time"
            self.is_slow |= waited >= SLOW
        except StoreError as error:
            if error.status == 401:
                self._renew()
            self.lacking = str(error)

    @contextmanager
    def open(
        self, study: str, series: str, instance: str, *, transfer_syntax: str = "*"
    ) -> Generator[Iterator[bytes]]:
        """Read the file of an instance that was found: Orthanc's, where it has it.

        Raises
        ------
        StoreError
            It cannot be read; the iterator raises it as well.
        """
        uids = (study, series, instance)
        with ExitStack() as opened:
            yield self._opened(opened, uids, transfer_syntax)

    def _opened(
        self, opened: ExitStack, uids: tuple[str, str, str], transfer_syntax: str
    ) -> Iterator[bytes]:
        if uids in self._local.held:
            try:
                local = self._local.open(*uids, transfer_syntax=transfer_syntax)
                return opened.enter_context(local)
            except StoreError as error:  # it may have been deleted since
                if error.reason != StoreReason.NOT_FOUND:
                    raise
        if self._cloud is None:
            raise StoreError("Orthanc has it no more", reason=StoreReason.NOT_FOUND)
        cloud = self._cloud.open(*uids, transfer_syntax=transfer_syntax)
        return opened.enter_context(cloud)

    @contextmanager
    def retrieve(
        self, study: str, series: str | None = None
    ) -> Generator[Iterator[Iterator[bytes]]]:
        """Read the files of a study or a series; where Orthanc has some of them, only those.

        Raises
        ------
        StoreError
            They cannot be read; the iterators raise it as well.
        """
        held = [one for one in self._local.held if one[0] == study and series in (None, one[1])]
        if held or self._cloud is None:
            yield self._of_orthanc(held)
            return
        with self._cloud.retrieve(study, series) as files:
            yield files

    def _of_orthanc(self, held: list[tuple[str, ...]]) -> Iterator[Iterator[bytes]]:
        for study, series, instance in held:
            with self._local.open(study, series, instance) as pieces:
                yield pieces


class _Ahead:
    """Takes matches from a search on another thread, some ahead."""

    def __init__(self, pool: Executor, matches: Iterator[Match]) -> None:
        self._queue: queue.Queue[Match | StoreError | None] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        pool.submit(self._run, matches)

    def take(self, seconds: float) -> Match | None:
        """The next match, None after the last.

        Raises
        ------
        queue.Empty
            There was none in time.
        StoreError
            The store refused, or its answer was lost.
        """
        found = self._queue.get(timeout=max(0.0, seconds))
        if isinstance(found, StoreError):
            raise found
        return found

    def stop(self) -> None:
        """Take no more."""
        self._stopped.set()

    def _run(self, matches: Iterator[Match]) -> None:
        last: StoreError | None = None
        try:
            for match in () if self._stopped.is_set() else matches:
                if not self._put(match):
                    return
        except StoreError as error:
            last = error
        except Exception as error:
            _log.error("a search failed unexpectedly\n%s", places(error))
            last = StoreError("it failed unexpectedly", reason=StoreReason.ABORTED)
        self._put(last)

    def _put(self, one: Match | StoreError | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(one, timeout=_LOOK_EVERY)
            except queue.Full:
                continue
            return True
        return False
