"""The steps of the worker's loops, made again and again, and what the log says of those that fail.

What is away is logged once, by what it is: the same outage of the ledger stops every loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from orthanc_gcp.backoff import Backoff
from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import (
    GcpError,
    OrthancError,
    OrthancRefusedError,
    OrthancUnavailableError,
)
from orthanc_gcp.ledger.database import words_of
from orthanc_gcp.logs import places
from orthanc_gcp.outages import Outage
from orthanc_gcp.worker.progress import Progress

__all__ = ["BACKOFF", "FOLLOWING", "IDLE", "Attempts", "Unfollowed"]

_log = logging.getLogger(__name__)

FOLLOWING = "follow"
"""The loop that also finds out when Orthanc is back."""
IDLE = 0.3
BACKOFF = Backoff(2 * IDLE, 10.0, jitter=0)


class Unfollowed(NamedTuple):
    """That Orthanc cannot be followed.

    Attributes
    ----------
    since, since_utc
        By the clock that nobody sets, and in seconds since 1970.
    words
        Why, as of the last try.
    is_away
        Whether it cannot be asked: whoever else has the same index may follow that.
    """

    since: float
    since_utc: float
    words: str
    is_away: bool


class Attempts:
    """What keeps the loops of one worker from going on.

    Parameters
    ----------
    progress
        Told of each step.

    Attributes
    ----------
    ledger, orthanc
        Their outages.
    """

    def __init__(self, clock: Clock, progress: Progress) -> None:
        self._clock, self._progress = clock, progress
        self.ledger = Outage(
            _log, "the ledger cannot be reached", "the ledger is reached again", clock
        )
        self.orthanc = Outage(_log, "cannot follow Orthanc", "Orthanc is followed again", clock)
        self._defects: dict[str, Outage] = {}
        self._unfollowed: Unfollowed | None = None

    def unfollowed(self, seconds: float) -> Unfollowed | None:
        """Why Orthanc cannot be followed, if that has lasted for so long."""
        found = self._unfollowed
        lasts = found is not None and self._clock.now() - found.since >= seconds
        return found if lasts else None

    def make(
        self, what: str, step: Callable[[], bool], pause: float, idle: tuple[float, float]
    ) -> float:
        """Make a step; seconds until the next.

        Parameters
        ----------
        pause
            Seconds that were waited before it.
        idle
            Seconds to wait after a step that had something to do, and after one that had not.
        """
        wait = BACKOFF.after(pause)
        began = self._clock.now()
        try:
            with self._progress.step(what):
                worked = step()
        except OrthancError as error:
            self.orthanc_away(error, wait, by=what)
            if what == FOLLOWING:
                self._note_unfollowed(error)
        except SQLAlchemyError as error:
            self.ledger_away(error, wait, by=what)
        except Exception as error:
            self._defect(what, error, wait)
        else:
            if what == FOLLOWING:
                self._unfollowed = None
            for outage in (self.ledger, self.orthanc, self._defects.get(what)):
                if outage is not None:
                    outage.ended(by=what, began=began)
            return idle[0] if worked else idle[1]
        return wait

    def _note_unfollowed(self, error: OrthancError) -> None:
        before = self._unfollowed
        since = before[:2] if before else (self._clock.now(), self._clock.utc().timestamp())
        is_away = isinstance(error, OrthancUnavailableError | OrthancRefusedError)
        self._unfollowed = Unfollowed(*since, str(error), is_away)

    def ledger_away(self, error: SQLAlchemyError, wait: float, *, by: str) -> None:
        """The ledger could not be read or written."""
        words = words_of(error)
        kind = getattr(getattr(error, "orig", None), "sqlite_errorname", type(error).__name__)
        self.ledger.failed(words, wait, kind=kind, by=by)

    def orthanc_away(self, error: GcpError, wait: float, *, by: str = FOLLOWING) -> None:
        """Orthanc could not be asked."""
        self.orthanc.failed(str(error), wait, kind=error.kind, by=by)

    def _defect(self, what: str, error: Exception, wait: float) -> None:
        outage = self._defects.get(what)
        if outage is None:
            down, up = f"cannot {what}", f"it can {what} again"
            outage = self._defects[what] = Outage(_log, down, up, self._clock)
        if outage.failed(f"unexpected {type(error).__name__}", wait, by=what):
            _log.error("cannot %s: unexpected %s\n%s", what, type(error).__name__, places(error))
