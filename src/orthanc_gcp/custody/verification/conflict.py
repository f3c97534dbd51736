"""Whether what a store has already under the UIDs of an instance is the same.

Google answers 409 "already exists" to identical bytes and to others alike. What it has is compared
by as little as is needed: the digest that the ledger remembers of it, its size, its bytes.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.verification.digest import Digest, digest_of
from orthanc_gcp.errors import OrthancError, StoreError
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Seen, Transfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.thread_pools import submit

__all__ = ["OF_ALL", "READERS", "Comparison", "Conflicts"]

READERS = 4
"""So many instances of one batch are compared at once, if there are connections for them."""
TOGETHER = 1.0
"""Seconds for which those that are done wait for others."""
MOST_REFUSALS = 3
"""Instances of a batch that may not be read, for all to count as such while none was read."""
MOST_FAILURES = 2
"""The same of those at which the store fails, one after the other."""
OF_ALL = (401, 429)
"""Statuses that are never about what was asked for: the token's, the quota's."""
_HEAD = 1 << 20
"""Bytes that are kept of each that is compared, for the attributes before its pixel data."""
_MOST_NAMES = 20


@dataclass(frozen=True)
class Comparison:
    """What came of comparing one instance.

    Attributes
    ----------
    difference
        What differs, in words; None where nothing does.
    read
        Whether the bytes of the store were read to their end.
    seen
        What the store has, where that differs.
    asked
        Whether the store was asked for it, and not only for others of its batch.
    error
        Why it could not be compared, in place of all this.
    """

    difference: str | None = None
    read: bool = False
    seen: Seen | None = None
    asked: bool = True
    error: StoreError | None = None

    @property
    def outage(self) -> StoreError | None:
        """The error, if it is one of the store or of the way there, and may pass."""
        error = self.error
        if error is None or not error.retryable or error.reason == StoreReason.ABORTED:
            return None
        return None if _is_of_instance(error) else error


class Conflicts:
    """Compares what stores have with what Orthanc has; one object serves all threads.

    No more is read of a store at once than it has connections, whichever batches it is of.

    Parameters
    ----------
    stopping
        Whether the worker stops: nothing more is compared then.
    """

    def __init__(
        self, ledger: Ledger, orthanc: OrthancSource, stopping: Callable[[], bool]
    ) -> None:
        self._ledger, self._orthanc, self._stopping = ledger, orthanc, stopping
        self._sizes_count: dict[str, bool] = {}
        self._connections: dict[str, threading.Semaphore] = {}

    def compare(
        self, destination: Destination, refused: Mapping[Transfer, str]
    ) -> Iterator[dict[int, Comparison]]:
        """Compare some instances of one batch; each row's, some after others as they are done.

        What fails for all, such as a missing permission, is not asked again for each of them.

        Parameters
        ----------
        refused
            Row -> the SHA-256 of its bytes in Orthanc.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        known = self._ledger.stored_digests.known(destination.account, refused)
        if known:
            yield {row: Comparison() for row in known}
        unknown = [(row, sha256) for row, sha256 in refused.items() if row.id not in known]
        batch = _Batch(self._stopping)
        compare = partial(self._compare, destination, batch)
        # The first shows whether the sizes that this store tells are those of files.
        while unknown and destination.account not in self._sizes_count and not batch.given_up:
            row, sha256 = unknown.pop(0)
            yield {row.id: compare(row, sha256)}
        if unknown:
            with ThreadPoolExecutor(min(READERS, len(unknown))) as pool:
                left: dict[Future[Comparison], int] = {}
                for row, sha256 in unknown:
                    try:
                        left[submit(pool, partial(compare, row, sha256))] = row.id
                    except RuntimeError:  # at a limit of tasks: this thread does it
                        yield {row.id: compare(row, sha256)}
                while left:
                    done, _ = wait(left, TOGETHER)
                    if done:
                        yield {left.pop(one): one.result() for one in done}

    def _compare(
        self, destination: Destination, batch: _Batch, row: Transfer, sha256: str
    ) -> Comparison:
        with self._connections_of(destination):
            error = batch.given_up
            if error is not None:
                return Comparison(error=error, asked=False)
            try:
                found = self._read(destination, row, sha256)
            except StoreError as failure:
                batch.failed(failure)
                return Comparison(error=failure)
            batch.succeeded()
            return found

    def _connections_of(self, destination: Destination) -> threading.Semaphore:
        most = threading.Semaphore(destination.congestion.max_requests)
        return self._connections.setdefault(destination.account, most)

    def _read(self, destination: Destination, row: Transfer, sha256: str) -> Comparison:
        size = self._size(destination, row)
        sizes_count = self._sizes_count.get(destination.account)
        if sizes_count and size is not None and size != row.size_bytes:
            return Comparison(
                f"the store has other bytes under these UIDs: {size} bytes, "
                f"Orthanc has {row.size_bytes} with {sha256}",
                seen=Seen(size, None),
            )
        priority, most = Priority(row.priority), max(row.size_bytes, size or 0, _HEAD)
        with destination.request_to_read(priority), destination.store.open(*row.uids) as pieces:
            theirs = digest_of(destination.read_within_limits(pieces, priority), most, _HEAD)
        # More than it says has another size as well.
        self._sizes_count.setdefault(destination.account, size == theirs.size_bytes)
        if theirs.sha256 == sha256:
            return Comparison(read=True)
        found = f"{theirs.size_bytes} bytes with SHA-256 {theirs.sha256}"
        if theirs.sha256 is None:
            found = f"more than {most} bytes"
        return Comparison(
            f"the store has other bytes under these UIDs: {found}, "
            f"Orthanc has {row.size_bytes} with {sha256}; "
            f"different attributes: {self._differing(row, theirs)}",
            read=theirs.sha256 is not None,
            # No exact size where more came: then what others have sent is read back once too often.
            seen=Seen(theirs.size_bytes, theirs.sha256),
        )

    def _size(self, destination: Destination, row: Transfer) -> int | None:
        """What the store says of its size; None where that is not known, or is nothing of use."""
        if not self._sizes_count.get(destination.account, True):
            return None
        try:
            with destination.request_to_read(Priority(row.priority)):
                return destination.store.stored_size(*row.uids)
        except StoreError as error:
            if error.retryable:
                raise
            return None  # no such method, or another permission than the one to read

    def _differing(self, row: Transfer, theirs: Digest) -> str:
        """The names of the attributes that differ, as far as the first MiB of both reaches."""
        try:
            with self._orthanc.read(row.orthanc_id, row.attachment_uuid, row.size_bytes) as pieces:
                ours = _head(pieces)
        except OrthancError as error:
            return f"not known, {error}"
        names = _differing(ours, theirs.head)
        return ", ".join(names) if names else "only pixel data or private encoding"


class _Batch:
    """What the comparisons of one batch have in common: when to give up."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping, self._lock = stopping, threading.Lock()
        self._error: StoreError | None = None
        self._refusals: float = 0
        self._failures = 0

    @property
    def given_up(self) -> StoreError | None:
        """Why no more is to be asked."""
        if self._stopping():
            return StoreError("stopped", reason=StoreReason.ABORTED, retryable=True)
        with self._lock:
            return self._error

    def failed(self, error: StoreError) -> None:
        """A store that is away is so for all; one may be what it alone fails at, or has not."""
        with self._lock:
            self._refusals += error.status == 403
            self._failures += not _is_of_instance(error)
            is_of_all = error.status in OF_ALL or self._failures >= MOST_FAILURES
            if is_of_all or self._refusals >= MOST_REFUSALS:
                self._error = error

    def succeeded(self) -> None:
        """The store may be read."""
        with self._lock:
            self._refusals, self._failures = float("-inf"), 0


def _is_of_instance(error: StoreError) -> bool:
    """Whether the store may give back others all the same."""
    return error.reason == StoreReason.UID or error.status in (403, 404, 406, 500)


def _head(pieces: Iterable[bytes]) -> bytes:
    head = bytearray()
    for piece in pieces:
        head += piece[: _HEAD - len(head)]
        if len(head) >= _HEAD:
            break
    return bytes(head)


def _differing(ours: bytes, theirs: bytes) -> list[str]:
    one, other = _attributes(ours), _attributes(theirs)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return names[:_MOST_NAMES] + more


def _attributes(head: bytes) -> dict[str, Any]:
    """The attributes before the pixel data, by their keywords of PS3.6; values are a patient's."""
    from pydicom import dcmread  # only a conflict needs it

    try:
        dataset = dcmread(io.BytesIO(head), stop_before_pixels=True, force=True)
        elements = [*getattr(dataset, "file_meta", ()), *dataset]
        return {element.keyword or str(element.tag): repr(element.value) for element in elements}
    except Exception:  # whatever a file holds, that it differs is known already
        return {}
