"""An account as a place to send to."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.fault_scope import FaultScope
from orthanc_gcp.custody.destinations.rate_limit import RateLimit, Wait
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.schema import Priority

__all__ = ["INSTANCE_BACKOFF", "Destination"]

INSTANCE_BACKOFF = Backoff(0.25, 60.0)
"""For an instance that is to be sent again."""
SLOWEST_CONNECTION, LONGEST_REQUEST = 256 * 1024, 5.0
"""Bytes a second that a connection carries at least, and seconds that a request takes at most, as
far as it matters how many of them a limit leaves work for."""
LONGEST_SEARCH = 0.33
"""Seconds that a search takes at most, in the same way (Google's "DICOM best practices")."""
SECONDS_OF_SEARCH = 1.0
"""The same where a quota of requests is known: one more waits for its turn."""


@dataclass(frozen=True)
class Destination:
    """An account as a place to send to: its store, how fast that takes instances, and the limits.

    Attributes
    ----------
    store
        By the version of the Cloud Healthcare API that the configuration names.
    upsert
        The same store by version ``v1beta1``, which can replace instances.
    replaces
        Whether an instance that the store has with other bytes is replaced: option ``OnConflict``.
    verify
        What is read back of a stored instance: option ``Verify``.
    request_limit, byte_limit
        Of all that is sent there, and of the files that are read there; None for no limit.
    backfill_byte_limit
        Of all backfills together, to whatever account; None for no limit.
    wait
        Sleeps for some seconds until a quota has room for a request; True says that the worker
        stops. None where no request waits for that.
    storing, reading, finding, comparing, differing
        Whose failures are: of requests that store instances, of those that read series back, of
        searches that do not find what was acknowledged, of comparing what the store has already,
        and of what it has acknowledged and gives back with other bytes.
    """

    account: str
    store: DicomStore
    upsert: DicomStore
    congestion: CongestionWindow
    replaces: bool
    verify: str
    request_limit: RateLimit | None = None
    byte_limit: RateLimit | None = None
    backfill_byte_limit: RateLimit | None = None
    wait: Wait | None = None
    storing: FaultScope = field(default_factory=FaultScope)
    reading: FaultScope = field(default_factory=FaultScope)
    finding: FaultScope = field(default_factory=FaultScope)
    comparing: FaultScope = field(default_factory=FaultScope)
    differing: FaultScope = field(default_factory=FaultScope)

    def useful(self, connections: int) -> int:
        """How many of some connections the limits can fill; with more, each would wait longer.

        What is claimed and waits cannot be overtaken by what is more urgent.
        """
        if self.byte_limit is not None:
            connections = min(connections, 1 + int(self.byte_limit.rate / SLOWEST_CONNECTION))
        if self.request_limit is not None:
            connections = min(connections, 1 + int(self.request_limit.rate * LONGEST_REQUEST))
        return self.congestion.fed(connections)

    def searches(self, lent: int) -> int:
        """How many series may be read back at once; none in a pause.

        Parameters
        ----------
        lent
            So many connections that send are used for it, if the limit on requests can fill them.
        """
        own = self.congestion.max_requests
        most = own + lent
        if self.request_limit is not None:
            most = min(most, max(own, 1 + int(self.request_limit.rate * LONGEST_SEARCH)))
        if self.byte_limit is not None and self.verify == "Bytes":
            most = min(most, 1 + int(self.byte_limit.rate / SLOWEST_CONNECTION))
        most = self.congestion.fed(most, SECONDS_OF_SEARCH)
        return 0 if self.congestion.delay else min(most, self.congestion.searches)

    def wait_for_request(self, priority: Priority = Priority.DEMANDED) -> None:
        """Return when the limit on requests allows one more, those of a backfill behind others."""
        if self.request_limit is not None:
            self.request_limit.acquire(behind=priority == Priority.BACKFILL)

    @contextmanager
    def request(self, priority: Priority) -> Generator[float]:
        """A request that custody makes, when the limit and a known quota allow one more; its begin.

        By the clock of the congestion window.
        """
        self.wait_for_request(priority)
        if self.wait is None:
            yield self.congestion.now
            return
        while seconds := self.congestion.turn(behind=priority == Priority.BACKFILL):
            if self.wait(min(seconds, 1.0)):
                yield self.congestion.now
                return
        try:
            yield self.congestion.now
        finally:
            self.congestion.ended()

    @contextmanager
    def request_to_read(self, priority: Priority) -> Generator[None]:
        """The same of one that reads: what comes of it says how much a quota has room for."""
        with self.request(priority) as began:
            try:
                yield
            except StoreError as error:
                self.congestion.read(began, error)
                raise
            self.congestion.read(began, None)

    def byte_throttles(self, priority: Priority) -> Sequence[Callable[[int], None]]:
        """What one request calls with each number of bytes that it sends, or reads."""
        throttles = []
        is_backfill = priority == Priority.BACKFILL
        if self.byte_limit is not None:
            throttles.append(self.byte_limit.for_one_request(behind=is_backfill))
        if is_backfill and self.backfill_byte_limit is not None:
            throttles.append(self.backfill_byte_limit.for_one_request())
        return throttles

    def read_within_limits(self, pieces: Iterable[bytes], priority: Priority) -> Iterator[bytes]:
        """The pieces of a file of an instance, not sooner than the limits on bytes let them come.

        Parameters
        ----------
        priority
            With which the instance was sent.
        """
        throttles = self.byte_throttles(priority)
        for piece in pieces:
            for acquire in throttles:
                acquire(len(piece))
            yield piece
