"""C-MOVE of Orthanc's own DICOM server: Orthanc asks step by step how far it is."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from orthanc_gcp.configuration import Modality
from orthanc_gcp.configuration.modalities import modalities_of
from orthanc_gcp.dicomweb import query as store_query
from orthanc_gcp.dicomweb.matching import is_wild, key_of
from orthanc_gcp.dicomweb.query import Query
from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.dicomweb.search import found_study
from orthanc_gcp.errors import GcpError
from orthanc_gcp.gateway.figures import Figures
from orthanc_gcp.gateway.for_orthanc.local import LocalStore
from orthanc_gcp.gateway.for_orthanc.merged import MergedStore
from orthanc_gcp.gateway.peers import Peers, printable_aet
from orthanc_gcp.gateway.request import IdentifierError
from orthanc_gcp.gateway.retrieve.limits import LimitedStore, LimitsOf, unlimited
from orthanc_gcp.gateway.retrieve.service import MOVE_MODELS, PENDING, Retrieve, RetrieveService
from orthanc_gcp.gateway.retrieve.store_request import Originator
from orthanc_gcp.gateway.retrieve.store_scu import Destination
from orthanc_gcp.gateway.retrieve.sub_operations import Counts
from orthanc_gcp.logs import places
from orthanc_gcp.orthanc.find import NO_LIMITS, FindLimits
from orthanc_gcp.orthanc.modalities import modality_of
from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["Asked", "MoveState", "OrthancMoves"]

_log = logging.getLogger(__name__)

MOST_MOVES = 16
"""So many go on at once; Orthanc begins no more than it has threads for."""
NEXT_MATCH_WITHIN = 30.0
"""Seconds for which the next match of the store is waited for."""
FORGET_AFTER = 600.0
"""Seconds after which one is ended that Orthanc does not ask about any more."""
_AT_ONCE = 8
_UNABLE = 0xC001
_FAILURES = (0xA000, 0xB000, 0xC000)
_KEYS = {
    "PatientID": "LO",
    "StudyInstanceUID": "UI",
    "SeriesInstanceUID": "UI",
    "SOPInstanceUID": "UI",
}
_LEVELS = {"INSTANCE": "IMAGE"}
_ACCESSION_NUMBER = "00080050"


@dataclass(frozen=True)
class Asked:
    """A C-MOVE as Orthanc hands it on.

    Attributes
    ----------
    identifier
        ``PatientID``, ``AccessionNumber``, ``StudyInstanceUID``, ``SeriesInstanceUID`` and
        ``SOPInstanceUID``, as far as they are given.
    message
        The Message ID of the request.
    """

    level: str
    identifier: Mapping[str, str]
    calling: str
    called: str
    destination: str
    message: int


@dataclass(frozen=True)
class MoveState:
    """How far one is.

    Attributes
    ----------
    size
        How many sub-operations there are; None while that is not known.
    completed, failed
        How many of them have ended so.
    refused
        Why nothing is sent at all; empty while it is not so.
    """

    size: int | None
    completed: int
    failed: int
    is_over: bool
    refused: str = ""


class OrthancMoves:
    """Sends what Orthanc or a store has; several threads may use it at once.

    Parameters
    ----------
    account_of
        The account of the AE title that was called; None for none.
    limits
        What holds back the requests to an account's store.
    find_limits
        Those of Orthanc.
    """

    def __init__(
        self,
        orthanc: OrthancRest,
        stores: Mapping[str, ReadableStore],
        account_of: Callable[[str], str | None],
        renew: Callable[[str], None],
        figures: Figures,
        peers: Peers,
        destination: Callable[[Modality], Destination],
        limits: LimitsOf = unlimited,
        find_limits: FindLimits = NO_LIMITS,
    ) -> None:
        self._orthanc, self._stores, self._peers = orthanc, stores, peers
        self._account_of, self._renew, self._figures = account_of, renew, figures
        self._destination, self._limits, self._find_limits = destination, limits, find_limits
        self._pool = ThreadPoolExecutor(_AT_ONCE, "gcp-for-orthanc")
        self._lock = threading.Lock()
        self._moves: dict[str, _Move] = {}

    def close(self) -> None:
        """End all that goes on."""
        with self._lock:
            moves = list(self._moves.values())
        for move in moves:
            move.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, asked: Asked) -> str | None:
        """Begin one; its name, None where too many go on."""
        with self._lock:
            for name, move in list(self._moves.items()):
                if move.is_forgotten:
                    move.cancel()
                    del self._moves[name]
            if len(self._moves) >= MOST_MOVES:
                return None
            name, move = secrets.token_hex(16), _Move()
            self._moves[name] = move
        thread = threading.Thread(
            target=self._run, args=(asked, move), name="gcp-move", daemon=True
        )
        thread.start()
        return name

    def state(self, name: str, after: int, seconds: float) -> MoveState | None:
        """How far one is, as soon as more than so many have completed, or all is over.

        None where there is no such one.

        Parameters
        ----------
        after
            -1 to wait for its size only.
        seconds
            For which that is waited for.
        """
        with self._lock:
            move = self._moves.get(name)
        return None if move is None else move.wait(after, seconds)

    def end(self, name: str) -> None:
        """Forget one; what is left of it is not sent."""
        with self._lock:
            move = self._moves.pop(name, None)
        if move is not None:
            move.cancel()

    # -- On a thread for each ---------------------------------------------------------------------

    def _run(self, asked: Asked, move: _Move) -> None:
        began, last = time.monotonic(), Counts(_UNABLE, None, 0, 0, 0)
        store = MergedStore(self._local(), None, self._pool, lambda: NEXT_MATCH_WITHIN)
        try:
            store = self._merged(asked, move)
            for last in self._responses(asked, store, move):
                if last.status == PENDING:
                    move.goes_on(last, store.lacking)
        except (GcpError, IdentifierError) as error:
            last = Counts(_UNABLE, None, 0, 0, 0, comment=str(error))
        except Exception as error:
            _log.error("a C-MOVE failed unexpectedly\n%s", places(error))
            last = Counts(_UNABLE, None, 0, 0, 0, comment="it failed unexpectedly")
        move.ends(last, store.lacking)
        self._figures.ended("C-MOVE", last.status, time.monotonic() - began)
        _log.log(
            logging.WARNING if store.lacking or last.status & 0xF000 in _FAILURES else logging.INFO,
            "%s: %d completed, %d failed, %d with a warning in %.1f s, status %04X%s%s",
            *(_name(asked), last.completed, last.failed, last.warning),
            *(time.monotonic() - began, last.status, f": {last.comment}" if last.comment else ""),
            f", only of what Orthanc holds: the store: {store.lacking}" if store.lacking else "",
        )

    def _local(self) -> LocalStore:
        return LocalStore(self._orthanc, limits=self._find_limits)

    def _merged(self, asked: Asked, move: _Move) -> MergedStore:
        account = self._account_of(asked.called)
        cloud = None
        if account is not None:
            cloud = LimitedStore(self._stores[account], self._limits(account, move.pause))
        merged = MergedStore(
            self._local(),
            cloud,
            self._pool,
            lambda: NEXT_MATCH_WITHIN,
            lambda: None if account is None else self._renew(account),
        )
        if account is None:
            merged.lacking = "no account has the AE title that was called"
        return merged

    def _responses(self, asked: Asked, store: MergedStore, move: _Move) -> Iterator[Counts]:
        retrieve = Retrieve(
            MOVE_MODELS[0],
            self._identifier(asked, store),
            False,
            "",
            Originator(asked.calling.strip(), asked.message),
            self._find_destination(asked.destination),
            None,
            _name(asked),
        )
        with closing(RetrieveService({"": store})) as service:
            yield from service(retrieve, lambda: move.is_cancelled)

    def _identifier(self, asked: Asked, store: MergedStore) -> bytes:
        """What is wanted, with UIDs: an accession number alone stands for its studies.

        Raises
        ------
        IdentifierError
            That number has a wildcard, or is none (PS3.4 §C.4.2.2.1).
        """
        level = _LEVELS.get(asked.level, asked.level)
        values = {name: asked.identifier.get(name, "") for name in _KEYS}
        number = asked.identifier.get("AccessionNumber", "")
        if level == "STUDY" and number and not values["StudyInstanceUID"]:
            try:
                key = key_of(_ACCESSION_NUMBER, number)
            except ValueError as error:
                raise IdentifierError(str(error)) from None
            if not key.values or any(map(is_wild, key.values)):
                raise IdentifierError("a C-MOVE needs an AccessionNumber without wildcards")
            found = store_query.find(store, Query(store_query.Level.STUDY, (key,)))
            values["StudyInstanceUID"] = "\\".join(filter(None, map(found_study, found)))
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for name, value in values.items():
            if value:
                element = DataElement(name, _KEYS[name], value, validation_mode=config.IGNORE)
                identifier.add(element)
        identifier.SpecificCharacterSet = "ISO_IR 192"
        return encode(identifier, False, True) or b""

    def _find_destination(self, aet: str) -> Destination | None:
        """A modality of Orthanc's configuration, or of its database.

        Raises
        ------
        OrthancError
            Orthanc does not answer.
        ConfigurationError
            It is connected to by TLS, and that cannot be.
        """
        known = self._peers.modality(aet)
        if known is None and (entry := modality_of(self._orthanc, aet, self._peers.plain)):
            (known, *_) = modalities_of({"": entry[1]}) or (None,)
        return None if known is None else self._destination(known)


class _Move:
    """One that goes on."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._state = MoveState(None, 0, 0, is_over=False)
        self._asked_at = time.monotonic()
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._cancelled.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait for some seconds; True at once where nothing more is to be begun."""
        return self._cancelled.wait(seconds)

    @property
    def is_forgotten(self) -> bool:
        """Whether nobody has asked about it for long."""
        return time.monotonic() - self._asked_at > FORGET_AFTER

    def cancel(self) -> None:
        """Begin nothing more."""
        self._cancelled.set()

    def wait(self, after: int, seconds: float) -> MoveState:
        """As :meth:`OrthancMoves.state`."""
        self._asked_at = time.monotonic()

        def is_there() -> bool:
            state = self._state
            return state.is_over or (state.size is not None and state.completed > after)

        with self._condition:
            self._condition.wait_for(is_there, seconds)
            return self._state

    def goes_on(self, counts: Counts, lacking: str) -> None:
        """It has come so far; what the store may have is one more, which has failed."""
        if counts.remaining is not None:
            done = counts.completed + counts.warning
            size = done + counts.failed + counts.remaining + bool(lacking)
            self._become(MoveState(size, done, counts.failed + bool(lacking), is_over=False))

    def ends(self, counts: Counts, lacking: str) -> None:
        """It is over."""
        done, failed = counts.completed + counts.warning, counts.failed + bool(lacking)
        whole = done + failed + (counts.remaining or 0)
        refused = ""
        if not whole and counts.status & 0xF000 in _FAILURES:
            refused = counts.comment or f"status {counts.status:04X}"
        size = whole if self._state.size is None else self._state.size
        self._become(MoveState(size, done, failed, is_over=True, refused=refused))

    def _become(self, state: MoveState) -> None:
        with self._condition:
            self._state = state
            self._condition.notify_all()


def _name(asked: Asked) -> str:
    calling, called = printable_aet(asked.calling), printable_aet(asked.called)
    to = printable_aet(asked.destination)
    return f"C-MOVE of {calling} at Orthanc, which called {called}, to {to}"
