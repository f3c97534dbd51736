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
    UNKNOWN = "unknown"
    """Nothing else was tried meanwhile."""


@dataclass(frozen=True)
class Verdict:
    """What a failure is put down to.

    Attributes
    ----------
    times
        How often the subject has failed by now, without those failures that were the destination's.
    sharing
        How many subjects have failed since anything has succeeded.
    """

    blame: Blame
    times: int
    sharing: int


@dataclass
class _History:
    first: float
    times: int = 0


class FaultScope:
    """The failures and successes of one kind of request to a destination.

    Several threads may use it at once. Times are those of one steady clock, in seconds. Subjects
    are what a request is about: rows of the ledger, or series.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histories: OrderedDict[Hashable, _History] = OrderedDict()
        self._failing: OrderedDict[Hashable, None] = OrderedDict()  # since the last success
        self._failing_since = float("-inf")
        self._succeeded = float("-inf")

    @property
    def shared(self) -> bool:
        """Whether whatever is tried fails."""
        with self._lock:
            return len(self._failing) >= SHARED_BY

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
            ended = len(self._failing) >= SHARED_BY
            self._failing.clear()
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
            return len(self._failing) >= SHARED_BY

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
            self._failing[subject] = None
            while len(self._failing) > MOST_SUBJECTS:
                self._failing.popitem(last=False)
            blame = otherwise
            if len(self._failing) >= SHARED_BY:
                blame = Blame.DESTINATION
            elif history.first < self._succeeded <= began:
                blame = Blame.SUBJECT
            history.times += blame is not Blame.DESTINATION
            return Verdict(blame, history.times, len(self._failing))

    def _history(self, subject: Hashable, now: float) -> _History:
        history = self._histories.setdefault(subject, _History(now))
        self._histories.move_to_end(subject)
        while len(self._histories) > MOST_SUBJECTS:
            self._histories.popitem(last=False)
        return history
