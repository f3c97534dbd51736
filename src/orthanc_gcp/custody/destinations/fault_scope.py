"""Whose a failure is: one subject's alone, or the destination's, which all subjects share.

A proxy that answers 400 for a while refuses everything; a store that answers 400 to one instance
refuses that. An answer does not say which: what becomes of the others meanwhile does. Where
something refuses now one and then another, and takes it when it comes again, that one was refused a
few times in a row proves nothing: the more often that happens to others, the more often it takes.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from enum import Enum

__all__ = ["Blame", "FaultScope", "Verdict"]

SHARED_BY = 3
"""So many subjects that fail, and nothing that succeeds between: it is the destination."""
FEWEST_BY_CHANCE = SHARED_BY - 0.5
"""So many subjects must have failed and succeeded later, of which a part is forgotten: as many as
do before it is known that all fail."""
BY_CHANCE, FORGOTTEN_IN, MOST_BY_CHANCE = 1e-6, 1800.0, 200
"""The part of sound subjects that may be blamed; the seconds in which half of what is known of
chance is forgotten; so many failures are never chance."""
OUTLIVED = 3
"""After so many successes of others a subject must have failed again to be blamed beside others."""
SUSPECTED_FOR = 60.0
"""Seconds for which several must have failed, with nothing between, for a success to end it."""
MOST_SUBJECTS = 10_000
"""So many are remembered; the oldest are forgotten, and looked at anew."""


class Blame(Enum):
    """What a failure is put down to."""

    SUBJECT = "subject"
    """Others were begun, and have succeeded, since it failed first: it alone is at fault."""
    DESTINATION = "destination"
    """Several that had never failed before fail, and nothing succeeds."""
    DOUBTFUL = "doubtful"
    """Several fail that have failed before: each of them is odd, or the destination is. Those that
    have failed after many successes are odd."""
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
    by_chance
        How often sound ones may fail in a row, as others have failed that succeeded later.
    """

    blame: Blame
    times: int
    failures: int
    by_chance: int = 0

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
        return attempts >= most and self.times >= max(own, self.by_chance)


class _Chance:
    """How often what is tried alone fails, and succeeds when it is tried again."""

    def __init__(self) -> None:
        self._failed = self._succeeded = self._subjects = 0.0
        self._known_at = float("-inf")

    def note(self, failures: int, now: float) -> None:
        """One was tried alone until it succeeded; so often it had failed before."""
        self._forget(now)
        self._failed += failures
        self._succeeded += 1
        self._subjects += failures > 0

    def in_a_row(self, now: float) -> int:
        """How often sound ones may fail one after the other; 0 while hardly any fails by chance."""
        self._forget(now)
        if self._subjects < FEWEST_BY_CHANCE:
            return 0
        part = (self._failed + 1) / (self._failed + self._succeeded + 2)
        return min(MOST_BY_CHANCE, math.ceil(math.log(BY_CHANCE) / math.log(part)))

    def _forget(self, now: float) -> None:
        part = 0.5 ** ((now - self._known_at) / FORGOTTEN_IN)
        self._failed, self._succeeded = self._failed * part, self._succeeded * part
        self._subjects, self._known_at = self._subjects * part, now


@dataclass
class _History:
    first: float
    times: int = 0
    failures: int = 0
    outlived: int = 0  # successes of others after which it has failed again
    succeeded: float = float("-inf")  # the last of them


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
        self._succeeded = self._success_began = float("-inf")
        self._chance = _Chance()

    @property
    def sharing(self) -> int:
        """How many subjects have failed since anything has succeeded."""
        with self._lock:
            return len(self._failing)

    def succeeded(self, subjects: Collection[Hashable], began: float, now: float) -> bool:
        """A request about some subjects was answered; whether that ends a fault of several.

        Parameters
        ----------
        began
            When the request did: one from before others failed says nothing of them.
        """
        with self._lock:
            for subject in subjects:
                history = self._histories.pop(subject, None)
                if len(subjects) == 1 or (history and history.times):
                    self._chance.note(history.times if history else 0, now)
            if began < self._failing_since:
                return False
            lasted = now - self._failing_since >= SUSPECTED_FOR
            ended = self._is_shared() or (lasted and len(self._failing) >= SHARED_BY)
            self._failing.clear()
            self._fresh = 0
            self._failing_since = float("-inf")
            self._succeeded = now
            self._success_began = max(self._success_began, began)
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
        """A request about one subject failed; see :meth:`failed_each`."""
        (verdict,) = self.failed_each([subject], began, now, otherwise=otherwise)
        return verdict

    def failed_each(
        self,
        subjects: Collection[Hashable],
        began: float,
        now: float,
        *,
        otherwise: Blame = Blame.UNKNOWN,
    ) -> list[Verdict]:
        """A request failed for each of some subjects by itself, and for all that it was about.

        Parameters
        ----------
        began
            When the request did.
        otherwise
            What it is put down to as long as nothing else was tried meanwhile.
        """
        with self._lock:
            if not self._failing:
                self._failing_since = now
            histories = [self._history(subject, now) for subject in subjects]
            for subject, history in zip(subjects, histories, strict=True):
                self._add_failing(subject, fresh=self._is_fresh(history))
            return [self._verdict(history, began, now, otherwise) for history in histories]

    def _verdict(self, history: _History, began: float, now: float, otherwise: Blame) -> Verdict:
        is_later = not self._is_fresh(history) and self._succeeded <= began
        if is_later and self._success_began > history.succeeded:
            history.outlived, history.succeeded = history.outlived + 1, self._success_began
        alone = len(self._failing) < SHARED_BY
        blame = otherwise if alone else Blame.DOUBTFUL
        if self._is_shared():
            blame = Blame.DESTINATION
        elif is_later and (alone or history.outlived >= OUTLIVED):
            blame = Blame.SUBJECT
        history.times += blame in (Blame.SUBJECT, Blame.UNKNOWN)
        history.failures += 1
        by_chance = self._chance.in_a_row(now)
        return Verdict(blame, history.times, history.failures, by_chance)

    def _is_fresh(self, history: _History) -> bool:
        """A success that was on its way when it failed first says nothing of that failure."""
        return history.first >= self._success_began

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
