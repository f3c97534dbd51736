"""Whose a failure is: one subject's alone, or the destination's, which all subjects share.

A proxy that answers 400 for a while refuses everything; a store that answers 400 to one instance
refuses that. An answer does not say which: what becomes of the others meanwhile does.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from enum import Enum

__all__ = ["Blame", "FaultScope", "Verdict"]

SHARED_BY = 3
"""So many subjects that fail, and nothing that succeeds between: it is the destination."""
MOST_SUBJECTS = 10_000
"""So many are remembered; the oldest are forgotten, and looked at anew."""


class Blame(Enum):
    """What a failure is put down to."""

    SUBJECT = "subject"
    """Others have succeeded since it failed first: it alone is at fault."""
    DESTINATION = "destination"
    """Several that had never failed before fail, and nothing succeeds."""
    DOUBTFUL = "doubtful"
    """Several fail that have failed before: each of them is odd, or the destination is."""
    UNKNOWN = "unknown"
    """Nothing else was tried meanwhile."""


@dataclass(frozen=True)
class Verdict:
    """What a failure is put down to.

    Attributes
    ----------
    times
        How often the subject has failed by now, without what may be the destination's.
    failures
        How often it has failed by now.
    """

    blame: Blame
    times: int
    failures: int

    def is_final(self, attempts: int, most: float, fewest: int) -> bool:
        """Whether a subject has failed often enough.

        Parameters
        ----------
        attempts
            How often in all, as the ledger counts.
        most
            How often it may.
        fewest
            So often it must have failed by itself since this process began, if it may so often, and
            as often as in all where nothing else has succeeded meanwhile. The ledger remembers
            attempts over a restart, and not what they were put down to: one that is restarted again
            and again while all fail has the first ones put down to nothing.
        """
        own = min(most, fewest) if self.blame is Blame.SUBJECT else most
        return attempts >= most and self.times >= own


@dataclass
class _History:
    first: float
    times: int = 0
    failures: int = 0


class FaultScope:
    """The failures and successes of one kind of request to a destination.

    Several threads may use it at once. Times are those of one steady clock, in seconds. Subjects
    are what a request is about: rows of the ledger, or series.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histories: OrderedDict[Hashable, _History] = OrderedDict()
        self._failing: OrderedDict[Hashable, bool] = OrderedDict()  # since the last success
        self._fresh = 0  # how many of them had never failed before it
        self._failing_since = float("-inf")
        self._succeeded = float("-inf")

    @property
    def sharing(self) -> int:
        """How many subjects have failed since anything has succeeded."""
        with self._lock:
            return len(self._failing)

    def succeeded(self, subjects: Collection[Hashable], began: float, now: float) -> bool:
        """A request about some subjects was answered; whether that ends a shared fault.

        Parameters
        ----------
        began
            When the request did: one from before others failed says nothing of them.
        """
        with self._lock:
            for subject in subjects:
                self._histories.pop(subject, None)
            if began < self._failing_since:
                return False
            ended = self._is_shared()
            self._failing.clear()
            self._fresh = 0
            self._failing_since = float("-inf")
            self._succeeded = now
            return ended

    def failed_together(self, subjects: Collection[Hashable], now: float) -> bool:
        """A request about several subjects failed; whether that is the destination's fault.

        If not, which of them is at fault shows when they are tried apart.
        """
        with self._lock:
            for subject in subjects:
                self._history(subject, now)
            return self._is_shared()

    def failed(
        self, subject: Hashable, began: float, now: float, *, otherwise: Blame = Blame.UNKNOWN
    ) -> Verdict:
        """A request about one subject failed.

        Parameters
        ----------
        began
            When the request did.
        otherwise
            What it is put down to as long as nothing else was tried meanwhile.
        """
        with self._lock:
            history = self._history(subject, now)
            if not self._failing:
                self._failing_since = now
            self._add_failing(subject, fresh=history.first >= self._succeeded)
            blame = otherwise
            if self._is_shared():
                blame = Blame.DESTINATION
            elif len(self._failing) >= SHARED_BY:
                blame = Blame.DOUBTFUL
            elif history.first < self._succeeded <= began:
                blame = Blame.SUBJECT
            history.times += blame in (Blame.SUBJECT, Blame.UNKNOWN)
            history.failures += 1
            return Verdict(blame, history.times, history.failures)

    def _is_shared(self) -> bool:
        """Those that had failed before the last success are no evidence."""
        return self._fresh >= SHARED_BY

    def _add_failing(self, subject: Hashable, *, fresh: bool) -> None:
        if subject not in self._failing:
            self._failing[subject] = fresh
            self._fresh += fresh
        while len(self._failing) > MOST_SUBJECTS:
            self._fresh -= self._failing.popitem(last=False)[1]

    def _history(self, subject: Hashable, now: float) -> _History:
        history = self._histories.setdefault(subject, _History(now))
        self._histories.move_to_end(subject)
        while len(self._histories) > MOST_SUBJECTS:
            self._histories.popitem(last=False)
        return history
