"""An outage as it is logged: one line when it begins, one when it is over.

Between them the log says a new reason, and every ten minutes that it still lasts, however often
and by however many threads it is tried meanwhile.
"""

from __future__ import annotations

import logging
import threading

from orthanc_gcp.clock import Clock, age

__all__ = ["Outage"]

REMIND_EVERY = 600.0
FLAPS_WITHIN, QUIET_FOR = 60.0, 30.0
"""What fails again so soon after an outage is logged only once that has lasted for a while."""
MOST_KINDS = 5
"""So many reasons are logged between two reminders."""


class Outage:
    """What is tried again and again until it works.

    Parameters
    ----------
    down
        What the log says while it lasts: ``the ledger cannot be reached``.
    up
        What it says when it is over: ``the ledger is reached again``.
    """

    def __init__(self, log: logging.Logger, down: str, up: str, clock: Clock) -> None:
        self._log, self._down, self._up, self._clock = log, down, up, clock
        self._lock = threading.Lock()
        self._failing: set[str] = set()
        self._began, self._over, self._last_logged = 0.0, float("-inf"), float("-inf")
        self._since = clock.utc()
        self._quiet_until = 0.0
        self._kinds: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether it is out."""
        return bool(self._failing)

    def failed(self, words: str, wait: float, *, kind: str = "", by: str = "") -> bool:
        """A try has failed; whether the log says so.

        Parameters
        ----------
        words
            Why, without a secret and without patient data.
        wait
            Seconds until the next try.
        kind
            What is the same about reasons that differ in figures only.
        by
            Who tried. It is over when it works again for all who have failed.
        """
        with self._lock:
            now = self._clock.now()
            if not self._failing:
                self._begin(now)
            self._failing.add(by)
            still = bool(self._kinds)
            if not self._is_news(kind or words, now):
                return False
            lasts = f" ({age(now - self._began)})" if now - self._began >= 1 else ""
        self._log.warning(
            "%s%s: %s; since %s%s, next try in %.1f s",
            self._down,
            ", still" if still else "",
            words,
            self._since.isoformat(timespec="seconds"),
            lasts,
            wait,
        )
        return True

    def ended(self, *, by: str = "", began: float | None = None) -> bool:
        """A try has succeeded; whether the log says so.

        Parameters
        ----------
        began
            When the try began: one from before the outage says nothing of it.
        """
        with self._lock:
            if by not in self._failing or (began is not None and began < self._began):
                return False
            self._failing.discard(by)
            if self._failing:
                return False
            self._over, logged = self._clock.now(), bool(self._kinds)
            lasted = self._over - self._began
        if logged:
            self._log.warning("%s after %s", self._up, age(lasted))
        return logged

    def _begin(self, now: float) -> None:
        flaps = now - self._over < FLAPS_WITHIN
        self._quiet_until = now + QUIET_FOR if flaps else now
        self._began, self._since = now, self._clock.utc()
        self._kinds.clear()

    def _is_news(self, kind: str, now: float) -> bool:
        due = now - self._last_logged >= REMIND_EVERY
        if due:
            self._kinds.clear()
        known = kind in self._kinds or len(self._kinds) >= MOST_KINDS
        if known or (now < self._quiet_until and not due):
            return False
        self._kinds.add(kind)
        self._last_logged = now
        return True
