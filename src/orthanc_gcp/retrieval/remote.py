"""An account as a place to retrieve from: its store, its limits, and when it is asked again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.clock import Clock
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.errors import GcpError, StoreError
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import StoreReason

__all__ = ["BACKOFF", "Pace", "RemoteStore"]

BACKOFF = Backoff(0.25, 60.0)
"""For what is asked for again."""
MOST_REMEMBERED = 10_000
_AWAY = frozenset(
    {
        StoreReason.CA_CERTIFICATES,
        StoreReason.NETWORK,
        StoreReason.NO_TOKEN,
        StoreReason.THROTTLED,
        StoreReason.TIMEOUT,
        StoreReason.TLS,
        StoreReason.UNAUTHORIZED,
        StoreReason.UNAVAILABLE,
    }
)
"""What says nothing of what was asked for, as long as nothing else succeeds."""


class Pace:
    """When a store is asked again that has failed, and whose fault that was.

    Several threads may use it at once.
    """

    def __init__(self, clock: Clock, outage: Outage) -> None:
        self._clock, self._outage = clock, outage
        self._lock = threading.Lock()
        self._failures, self._resume = 0, float("-inf")
        self._succeeded = float("-inf")
        self._first_failed: OrderedDict[int, float] = OrderedDict()
        self.problem: str | None = None

    def now(self) -> float:
        """The moment of the clock, by which it is told when a request began."""
        return self._clock.now()

    @property
    def is_open(self) -> bool:
        """Whether requests may begin."""
        with self._lock:
            return self._clock.now() >= self._resume

    def succeeded(self, began: float) -> None:
        """A request was answered as it should be that began at a moment of the clock."""
        with self._lock:
            self._succeeded = max(self._succeeded, began)
            if self._failures:
                self._failures, self._resume, self.problem = 0, float("-inf"), None
                self._outage.ended(by="retrieve", began=began)

    def failed(self, rows: Collection[int], error: StoreError) -> set[int]:
        """A request for some rows has failed; those of them that it may count against.

        For none it does while the store is away, as far as is known: nothing else has come since
        they failed first.
        """
        with self._lock:
            now = self._clock.now()
            first = {row: self._first_failed.setdefault(row, now) for row in rows}
            while len(self._first_failed) > MOST_REMEMBERED:
                self._first_failed.popitem(last=False)
            if error.reason not in _AWAY:
                return set(rows)
            self._back_off(error, now)
            return {row for row, moment in first.items() if self._succeeded > moment}

    def _back_off(self, error: StoreError, now: float) -> None:
        self._failures += 1
        self.problem = str(error)
        pause = BACKOFF.delay(self._failures)
        if error.retry_after is not None:  # "0" must not make it ask without a breath
            pause = max(error.retry_after, BACKOFF.first)
        self._resume = max(self._resume, now + pause)
        if error.reason != StoreReason.THROTTLED:
            self._outage.failed(self.problem, pause, kind=error.kind, by="retrieve")

    def forget(self, row: int) -> None:
        """A row is done."""
        with self._lock:
            self._first_failed.pop(row, None)


def _nothing() -> None:
    """No limit."""


def _no_throttles() -> Sequence[Callable[[int], None]]:
    return ()


@dataclass(frozen=True)
class RemoteStore:
    """An account as a place to retrieve from.

    Attributes
    ----------
    max_requests
        So many requests at once.
    wait_for_request
        Returns when the account's limit on requests allows one more.
    throttles
        What one request calls with each number of bytes that it brings.
    renew_token
        Called when the store has refused the token.
    wants
        Whether an instance is wanted that a notification names, by its attributes in the DICOM JSON
        model; None where all are.
    """

    account: str
    client: DicomStore
    pace: Pace
    max_requests: int
    wait_for_request: Callable[[], None] = _nothing
    throttles: Callable[[], Sequence[Callable[[int], None]]] = _no_throttles
    renew_token: Callable[[], None] = field(default=_nothing)
    wants: Callable[[Mapping[str, Any]], bool] | None = None

    def read_anything(self) -> None:
        """Read anything of the store.

        Raises
        ------
        GcpError
            It refuses, or does not answer.
        """
        self.wait_for_request()
        next(self.client.search("/studies", {}, depth=1, page=1), None)

    def failed(self, rows: Collection[int], error: StoreError) -> set[int]:
        """A request for some rows has failed; those of them that it counts against.

        What came meanwhile says nothing of an outage that has begun since: the store has to answer
        something else now. A quota that is used up says nothing of what was asked for.
        """
        counted = self.pace.failed(rows, error)
        if error.reason == StoreReason.THROTTLED:
            return set()
        if not counted or error.reason not in _AWAY:
            return counted
        began = self.pace.now()
        try:
            self.read_anything()
        except GcpError:
            return set()
        self.pace.succeeded(began)
        return counted
