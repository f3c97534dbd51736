"""Rate limits that hold for all workers on one database together.

The ledger has the moment until which the rate is booked, which is all that the virtual scheduling
form of the generic cell rate algorithm needs (ITU-T I.371), a token bucket without a counter to
fill. Google counts by project, region and minute (Cloud Healthcare API, page "Quotas and limits"),
however many workers send.

What is not urgent books only what comes next, so that it is in nobody's way, and for a while lets
all others go ahead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from orthanc_gcp.configuration import Account, BackfillOptions

__all__ = ["Bookings", "RateLimit", "Wait", "backfill_byte_limit", "byte_limit", "request_limit"]

Wait = Callable[[float], bool]
"""Sleeps for some seconds; True says that the worker stops."""

_BURST_SECONDS = 0.25
"""Seconds of the rate that one request takes at once: it asks the database four times a second."""
_LONGEST_DEBT_SECONDS = 60.0
"""So far ahead of the clock the booked time may be: who comes then waits until it is nearer. If it
is farther than any booking makes it, the clock was set back."""
_ROUNDING_SECONDS = 1.0
_LONGEST_DEBT_BEHIND = _BURST_SECONDS
"""The same for what goes behind all others."""
_PATIENCE = 4.0
"""It lets others go ahead for so many times what it takes; then it books as they do: a request that
has begun must not stand still until the store ends it."""


class _KeyValues(Protocol):
    def change(
        self, name: str, kind: type[float], change: Callable[[float | None], float | None]
    ) -> float | None:
        """Set what becomes of what was there; changes come one after another."""


class Bookings(Protocol):
    """Until when each limit is used up, such as a ledger has it."""

    @property
    def key_values(self) -> _KeyValues:
        """Where it stands, by name."""

    def now(self) -> float:
        """The time by which it is said, in seconds."""


class RateLimit:
    """So many units a second, whichever worker uses them.

    Parameters
    ----------
    name
        What is limited; workers that share the limit give the same name.
    rate
        Units a second.
    """

    def __init__(self, bookings: Bookings, name: str, rate: float, wait: Wait) -> None:
        self._bookings, self._name = bookings, f"rate_limit:{name}"
        self._rate, self._wait = rate, wait
        self._line = threading.Lock()

    @property
    def rate(self) -> float:
        """Units a second."""
        return self._rate

    def for_one_request(self, *, behind: bool = False) -> Callable[[int], None]:
        """What one request calls with the units that it is about to use.

        Parameters
        ----------
        behind
            See :meth:`acquire`.
        """
        left = 0.0

        def acquire(units: int) -> None:
            nonlocal left
            if units > left:
                portion = max(units - left, self._rate * _BURST_SECONDS)
                self.acquire(portion, behind=behind)
                left += portion
            left -= units

        return acquire

    def acquire(self, units: float = 1, *, behind: bool = False) -> None:
        """Take units, and wait until it is their turn, or the worker stops.

        Parameters
        ----------
        behind
            Let all others go ahead, for a while.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        seconds: float | None = None
        if behind:
            with self._line:  # only the first in line asks the ledger
                patience = _PATIENCE * units / self._rate
                seconds = self._booked(units, _LONGEST_DEBT_BEHIND, patience)
        if seconds is None:
            seconds = self._booked(units, _LONGEST_DEBT_SECONDS)
        if seconds is not None:
            self._stops_within(seconds)

    def _booked(self, units: float, debt: float, patience: float = float("inf")) -> float | None:
        """Book units; the seconds until their turn, or None: the patience is over, or it stops."""
        while patience > 0:
            is_booked, seconds = self._reserve(units, debt)
            if is_booked:
                return seconds
            if self._stops_within(min(seconds, patience)):
                return None
            patience -= seconds
        return None

    def _stops_within(self, seconds: float) -> bool:
        """Wait; whether the worker stops meanwhile."""
        while seconds > 0:
            if self._wait(min(seconds, 1.0)):
                return True
            seconds -= 1.0
        return False

    def _reserve(self, units: float, debt: float) -> tuple[bool, float]:
        """Book units after all that are booked already; the seconds until their turn.

        Where too much is booked, nothing is, and it is the seconds until it may be tried again.

        Parameters
        ----------
        debt
            Seconds for which others may have booked.
        """
        now, is_booked = self._bookings.now(), True
        start, lasts = now, units / self._rate

        def book(booked_until: float | None) -> float:
            nonlocal start, is_booked
            start = booked_until = max(now, booked_until or 0.0)
            if start - now <= debt:
                return start + lasts
            # The last one may be booked from there on, and last as long as this one.
            if start - now <= _LONGEST_DEBT_SECONDS + lasts + _ROUNDING_SECONDS:
                start, is_booked = start - debt, False
                return booked_until
            # A clock that was set back must not make anybody wait for the old time.
            start = now + _LONGEST_DEBT_SECONDS
            return start + lasts

        self._bookings.key_values.change(self._name, float, book)
        return is_booked, start - now


def request_limit(account: Account, bookings: Bookings, wait: Wait) -> RateLimit | None:
    """On an account's requests: option ``MaxRequestsPerMinute``."""
    rate = account.max_requests_per_minute
    return RateLimit(bookings, f"{account.name}:requests", rate / 60, wait) if rate else None


def byte_limit(account: Account, bookings: Bookings, wait: Wait) -> RateLimit | None:
    """On the bytes that are sent to an account: its option ``MaxBytesPerSecond``."""
    rate = account.max_bytes_per_second
    return RateLimit(bookings, f"{account.name}:bytes", rate, wait) if rate else None


def backfill_byte_limit(
    options: BackfillOptions | None, bookings: Bookings, wait: Wait
) -> RateLimit | None:
    """On the bytes that backfills send to all accounts: ``MaxBytesPerSecond`` of ``Backfill``."""
    rate = options.max_bytes_per_second if options else None
    return RateLimit(bookings, "backfill:bytes", rate, wait) if rate else None
