"""What holds back the requests of a C-MOVE or C-GET: the caps of an account."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.dicomweb.client import PAGE
from orthanc_gcp.dicomweb.readable import ReadableStore
from orthanc_gcp.ledger.ledger import Ledger

__all__ = ["Bookings", "Limit", "LimitedStore", "Limits", "LimitsOf", "Wait", "unlimited"]

_log = logging.getLogger(__name__)

Wait = Callable[[float], bool]
"""Waits for some seconds; True says that nothing more is wanted."""
_AWAY_FOR = 30.0
"""Seconds in which a ledger that was away is not asked again."""
Answer = TypeVar("Answer")


class Limit(Protocol):
    """So many units a second."""

    def acquire(self, units: float = 1) -> None:
        """Take units, and wait until it is their turn."""

    def for_one_request(self) -> Callable[[int], None]:
        """What one request calls with the units that it uses."""


@dataclass(frozen=True)
class Limits:
    """The caps of an account, for one retrieval."""

    requests: Limit | None = None
    bytes: Limit | None = None


LimitsOf = Callable[[str, Wait], Limits]
"""An account, and how a retrieval waits -> what holds its requests back."""


def unlimited(_account: str, _wait: Wait) -> Limits:
    """Nothing."""
    return Limits()


class LimitedStore:
    """A store whose files are read no faster than the caps allow; it is searched as it is."""

    def __init__(self, store: ReadableStore, limits: Limits) -> None:
        self._store, self._limits = store, limits

    @property
    def connections(self) -> int:
        """So many searches may go on at once."""
        return self._store.connections

    def search(
        self, path: str, parameters: Mapping[str, str], *, depth: int, page: int = PAGE
    ) -> Iterator[Mapping[str, Any]]:
        """What a search finds."""
        return self._store.search(path, parameters, depth=depth, page=page)

    @contextmanager
    def open(
        self, study: str, series: str, instance: str, *, transfer_syntax: str = "*"
    ) -> Generator[Iterator[bytes]]:
        """The file of an instance, piece by piece."""
        throttle = self._begun()
        with self._store.open(study, series, instance, transfer_syntax=transfer_syntax) as pieces:
            yield _throttled(pieces, throttle)

    @contextmanager
    def retrieve(
        self, study: str, series: str | None = None
    ) -> Generator[Iterator[Iterator[bytes]]]:
        """The files of a study or a series, one after another."""
        throttle = self._begun()
        with self._store.retrieve(study, series) as files:
            yield (_throttled(pieces, throttle) for pieces in files)

    def _begun(self) -> Callable[[int], None]:
        """Wait until a request may be made; what it calls with the bytes that it has read."""
        if self._limits.requests is not None:
            self._limits.requests.acquire()
        return _nothing if self._limits.bytes is None else self._limits.bytes.for_one_request()


class Bookings:
    """Until when each cap is used up: by the ledger, so that workers and gateways share them.

    While the ledger is away, or not known, they hold for this process alone: nobody who waits for
    images has to wait for it.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger, self._away_until, self._is_away = ledger, 0.0, False
        self._own: dict[str, float | None] = {}
        self._lock = threading.Lock()

    @property
    def key_values(self) -> Bookings:
        """Where they are kept."""
        return self

    def now(self) -> float:
        """The time by which they are kept, in seconds."""
        return self._asked(lambda ledger: ledger.now(), time.time)

    def change(
        self, name: str, kind: type[float], change: Callable[[float | None], float | None]
    ) -> float | None:
        """Set what becomes of what was there (None at first); changes come one after another."""

        def own() -> float | None:
            with self._lock:
                self._own[name] = change(self._own.get(name))
                return self._own[name]

        return self._asked(lambda ledger: ledger.key_values.change(name, kind, change), own)

    def _asked(self, ask: Callable[[Ledger], Answer], otherwise: Callable[[], Answer]) -> Answer:
        if self._ledger is not None and time.monotonic() >= self._away_until:
            try:
                answer = ask(self._ledger)
            except SQLAlchemyError as error:
                self._away_until = time.monotonic() + _AWAY_FOR
                if not self._is_away:
                    words = "the ledger is away (%s): caps hold for this gateway alone meanwhile"
                    _log.warning(words, type(error).__name__)
                self._is_away = True
            else:
                self._is_away = False
                return answer
        return otherwise()


def _throttled(pieces: Iterator[bytes], throttle: Callable[[int], None]) -> Iterator[bytes]:
    """What comes, no faster than it may: what is not read makes the store wait."""
    for piece in pieces:
        throttle(len(piece))
        yield piece


def _nothing(_units: int) -> None:
    """Wait for nothing."""
