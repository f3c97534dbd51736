"""C-MOVE and C-GET over a store: what is asked for, how far it is, and how it ends (PS3.4 C.4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orthanc_gcp.dicomweb.matching import Key
from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.request import IdentifierError, Level
from orthanc_gcp.gateway.retrieve.delivery import Delivery, outcome_of, use_another
from orthanc_gcp.gateway.retrieve.file_meta import NoFileError
from orthanc_gcp.gateway.retrieve.get_channel import GetChannel
from orthanc_gcp.gateway.retrieve.limits import LimitedStore, LimitsOf, unlimited
from orthanc_gcp.gateway.retrieve.requests import fetches, listed, read_keys
from orthanc_gcp.gateway.retrieve.staging import Staged, Staging
from orthanc_gcp.gateway.retrieve.store_request import Originator, StoreResponse
from orthanc_gcp.gateway.retrieve.store_scu import Destination, DestinationError
from orthanc_gcp.gateway.retrieve.sub_operations import Counts, Instance, Outcome, SubOperations
from orthanc_gcp.gateway.searching import SearchingService
from orthanc_gcp.logs import places

__all__ = ["GET_MODELS", "MOVE_MODELS", "BrokenAssociationError", "Retrieve", "RetrieveService"]

# PS3.4 §C.4.2.1.5 and §C.4.3.1.4
CANNOT_COUNT, UNABLE_TO_PERFORM, UNKNOWN_DESTINATION = 0xA701, 0xA702, 0xA801
IDENTIFIER_DOES_NOT_MATCH, UNABLE_TO_PROCESS = 0xA900, 0xC001
CANCELLED, PENDING = 0xFE00, 0xFF00

MOST_AT_ONCE = 8
"""So many retrievals go on side by side; more wait."""
PENDING_EVERY, GROW_AFTER = 0.5, 1.0
_LOOK_EVERY = 0.1
STOP_WITHIN = 10.0
"""Seconds for what is on its way when a retrieval is cancelled."""
_ROOT = "1.2.840.10008.5.1.4.1.2."
_LEVELS = {
    "1": tuple(Level),
    "2": (Level.STUDY, Level.SERIES, Level.IMAGE),
    "3": (Level.PATIENT, Level.STUDY),
}
"""Patient Root, Study Root, Patient/Study Only (PS3.4 §C.6)."""
MOVE_MODELS = tuple(f"{_ROOT}{model}.2" for model in _LEVELS)
GET_MODELS = tuple(f"{_ROOT}{model}.3" for model in _LEVELS)


class BrokenAssociationError(Exception):
    """The association with the workstation cannot go on, in the middle of a C-GET."""


@dataclass(frozen=True)
class Retrieve:
    """A C-MOVE or C-GET request (PS3.7 §9.1.4, §9.1.3).

    Attributes
    ----------
    model
        The SOP class: which information model is asked (PS3.4 §C.6).
    identifier
        What is wanted, as it is encoded, in Little Endian.
    originator
        Who asks, by which message.
    destination
        Where a C-MOVE is to send to; None for a C-GET, or where the AE title is not known.
    channel
        Where a C-GET stores; None for a C-MOVE.
    name
        What the log calls it.
    """

    model: str
    identifier: bytes
    is_implicit: bool
    account: str
    originator: Originator
    destination: Destination | None
    channel: GetChannel | None
    name: str


class RetrieveService(SearchingService):
    """Answers C-MOVE and C-GET.

    Parameters
    ----------
    stores, renew
        As :class:`SearchingService`.
    limits
        What holds back the requests to an account's store.
    """

    def __init__(
        self,
        stores: Mapping[str, ReadableStore],
        renew: Callable[[str], None] = lambda _: None,
        limits: LimitsOf = unlimited,
    ) -> None:
        super().__init__(stores, renew)
        self._limits = limits
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def __call__(self, request: Retrieve, is_cancelled: Callable[[], bool]) -> Iterator[Counts]:
        """The responses to a request, as it goes on; the final one last.

        Raises
        ------
        BrokenAssociationError
            The association with the workstation has to be aborted.
        """
        if request.channel is None and request.destination is None:
            yield _refused(UNKNOWN_DESTINATION, "this destination is no modality")
            return
        instances: list[Instance] = []
        try:
            levels = _LEVELS.get(request.model.removeprefix(_ROOT).partition(".")[0], ())
            keys = read_keys(request.identifier, request.is_implicit, levels)
            yield from self._list(request.account, keys, instances, is_cancelled)
        except IdentifierError as error:
            yield _refused(IDENTIFIER_DOES_NOT_MATCH, str(error))
            return
        except StoreError as error:
            status = CANNOT_COUNT if error.retryable else UNABLE_TO_PROCESS
            yield _refused(status, self._not_searched(request.account, error))
            return
        if is_cancelled():
            yield _refused(CANCELLED, "")
            return
        instances.sort(key=lambda one: one.uids[:2])
        operations = SubOperations(instances)
        of_images = any(key.tag == "00080018" for key in keys)
        limits = self._limits(request.account, operations.wait)
        staging = Staging(
            LimitedStore(self._stores[request.account], limits),
            fetches(instances, is_whole=not of_images),
            operations,
            lambda: self._renew(request.account),
            request.name,
        )
        yield from self._perform(_Retrieval(request, instances, operations, staging, is_cancelled))

    def _list(
        self,
        account: str,
        keys: tuple[Key, ...],
        instances: list[Instance],
        is_cancelled: Callable[[], bool],
    ) -> Iterator[Counts]:
        """Find what is to be sent; the responses meanwhile, which cannot say how much it is."""
        last = time.monotonic()
        for one in listed(self._stores[account], keys, is_cancelled, self._pool):
            instances.append(one)
            if time.monotonic() - last >= PENDING_EVERY:
                last = time.monotonic()
                yield Counts(PENDING, None, 0, 0, 0)

    def _perform(self, retrieval: _Retrieval) -> Iterator[Counts]:
        operations = retrieval.operations
        began = operations.pending()
        if began.remaining:
            yield began
        while not self._free.acquire(timeout=PENDING_EVERY):
            if retrieval.is_cancelled():
                operations.cancel()
                yield operations.final()
                return
            yield operations.pending()
        try:
            yield from retrieval.responses()
        finally:
            self._free.release()
        yield operations.final()


@dataclass(frozen=True)
class _Retrieval:
    """One that is performed."""

    request: Retrieve
    instances: Sequence[Instance]
    operations: SubOperations
    staging: Staging
    is_cancelled: Callable[[], bool]

    def responses(self) -> Iterator[Counts]:
        """Send what is to be sent; the responses meanwhile."""
        channel, destination = self.request.channel, self.request.destination
        try:
            self.staging.start()
            if channel is not None:
                yield from self._get(channel)
            elif destination is not None:
                yield from self._move(destination)
        finally:
            self.operations.cancel()
            self.staging.stop()

    def _move(self, destination: Destination) -> Iterator[Counts]:
        classes = sorted({one.sop_class for one in self.instances} - {""})
        request, operations = self.request, self.operations
        delivery = Delivery(
            destination, self.staging, operations, request.originator, classes, request.name
        )
        delivery.start()
        began, last = time.monotonic(), time.monotonic()
        try:
            while not operations.wait(_LOOK_EVERY):
                now = time.monotonic()
                if self.is_cancelled():
                    operations.cancel()
                    break
                if now - last >= PENDING_EVERY:
                    if now - began >= GROW_AFTER:
                        delivery.grow()
                    last = now
                    yield operations.pending()
        finally:
            operations.cancel()
            delivery.stop(STOP_WITHIN)

    def _get(self, channel: GetChannel) -> Iterator[Counts]:
        operations, last = self.operations, time.monotonic()
        while not operations.is_over:
            if self.is_cancelled():
                operations.cancel()
                return
            one = self.staging.take(_LOOK_EVERY)
            if one is not None:
                _store(channel, operations, self.staging, one)
            if time.monotonic() - last >= PENDING_EVERY and not operations.is_over:
                last = time.monotonic()
                yield operations.pending()


def _store(channel: GetChannel, operations: SubOperations, staging: Staging, one: Staged) -> None:
    """Store an instance on the association of a C-GET, and say what became of it.

    Raises
    ------
    BrokenAssociationError
        The workstation has gone, or has the beginning of a message, and must not take it for all.
    """
    is_sent = False

    def sent(data_set: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal is_sent
        is_sent = True
        yield from data_set

    try:
        with staging.opened(one) as (meta, data_set):
            stored = (meta.sop_class, meta.transfer_syntax)
            if channel.context(stored) is None:
                use_another(channel, staging, one, stored, "the workstation")
                return
            response = channel.store(stored, meta, sent(data_set))
    except NoFileError as error:
        staging.fail(one.instance, str(error))
    except Exception as error:
        if is_sent or not isinstance(error, StoreError):
            why = str(error) if isinstance(error, StoreError | DestinationError) else places(error)
            raise BrokenAssociationError(why) from error
        staging.failed(one, error)
    else:
        _answered(operations, staging, one, response)


def _answered(
    operations: SubOperations, staging: Staging, one: Staged, response: StoreResponse
) -> None:
    outcome = outcome_of(response.status)
    if outcome is Outcome.FAILED:
        why = f"the workstation answers {response.status:04X}"
        staging.fail(one.instance, why, why)
    else:
        operations.settle(one.instance, outcome)


def _refused(status: int, comment: str) -> Counts:
    return Counts(status, None, 0, 0, 0, comment=comment)
