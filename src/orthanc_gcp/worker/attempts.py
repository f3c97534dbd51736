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

__all__ = ["BACKOFF", "DISPATCHING", "FOLLOWING", "IDLE", "Attempts", "Failing"]

_log = logging.getLogger(__name__)

FOLLOWING, DISPATCHING = "follow", "dispatch"
"""The loop that also finds out when Orthanc is back, and the one that sends."""
IDLE = 0.3
BACKOFF = Backoff(2 * IDLE, 10.0, jitter=0)


class Failing(NamedTuple):
    """That the steps of a loop fail.

    Attributes
    ----------
    since, since_utc
        By the clock that nobody sets, and in seconds since 1970.
    words
        Why, as of the last try.
    is_own
        Whether it is for what Orthanc has: another worker on the same index fails as well.
    """

    since: float
    since_utc: float
    words: str
    is_own: bool


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
        self._failing: dict[str, Failing] = {}

    def failing(self, what: str, seconds: float) -> Failing | None:
        """Why the steps of a loop fail, if that has lasted for so long."""
        found = self._failing.get(what)
        lasts = found is not None and self._clock.now() - found.since >= seconds
        return found if lasts else None

    def make(
        self,
        what: str,
        step: Callable[[], bool],
        pause: float,
        idle: tuple[float, float],
        *,
        in_network: bool = False,
    ) -> float:
        """Make a step; seconds until the next.

        Parameters
        ----------
        pause
            Seconds that were waited before it.
        idle
            Seconds to wait after a step that had something to do, and after one that had not.
        in_network
            Whether the step waits for Google.
        """
        wait = BACKOFF.after(pause)
        began = self._clock.now()
        try:
            with self._progress.step(what, in_network=in_network):
                worked = step()
        except OrthancError as error:
            self.orthanc_away(error, wait, by=what)
            is_away = isinstance(error, OrthancUnavailableError | OrthancRefusedError)
            self._note_failing(what, str(error), is_own=not is_away)
        except SQLAlchemyError as error:
            self.ledger_away(error, wait, by=what)
            self._note_failing(what, f"the ledger cannot be used: {words_of(error)}")
        except Exception as error:
            self._defect(what, error, wait)
            self._note_failing(what, f"unexpected {type(error).__name__}, the log says where")
        else:
            self._failing.pop(what, None)
            for outage in (self.ledger, self.orthanc, self._defects.get(what)):
                if outage is not None:
                    outage.ended(by=what, began=began)
            return idle[0] if worked else idle[1]
        return wait

    def _note_failing(self, what: str, words: str, *, is_own: bool = False) -> None:
        before = self._failing.get(what)
        since = before[:2] if before else (self._clock.now(), self._clock.utc().timestamp())
        self._failing[what] = Failing(*since, words, is_own)

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
