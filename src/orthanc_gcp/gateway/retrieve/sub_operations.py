"""The sub-operations of a C-MOVE or C-GET: which are left, and what became of the others (PS3.4 C).

What is counted here is the only account of them; threads that fetch and store wait upon it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Counts", "Instance", "Outcome", "SubOperations"]

# PS3.4 §C.4.2.1.5 and §C.4.3.1.4
SUCCESS, WARNING, CANCELLED, PENDING = 0x0000, 0xB000, 0xFE00, 0xFF00
UNABLE_TO_PERFORM = 0xA702
LONGEST_LIST = 65534
"""Bytes of Failed SOP Instance UID List (0008,0058): more have no place in Explicit VR (UI)."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that is to be sent.

    Attributes
    ----------
    uids
        Those of its study, its series and itself.
    size_bytes
        An estimate.
    sop_class
        As the store lists it; empty where it does not.
    """

    uids: tuple[str, str, str]
    size_bytes: int
    sop_class: str = ""


class Outcome(Enum):
    """What became of a sub-operation."""

    COMPLETED = auto()
    WARNING = auto()
    FAILED = auto()


@dataclass(frozen=True)
class Counts:
    """A response: its status, and the numbers of sub-operations.

    Attributes
    ----------
    remaining
        None where a response has no such number (PS3.4 §C.4.2.1.6).
    failed_uids
        The SOP Instance UIDs of those that have failed, as many as fit.
    """

    status: int
    remaining: int | None
    completed: int
    failed: int
    warning: int
    failed_uids: tuple[str, ...] = ()
    comment: str = ""


class SubOperations:
    """One for each instance; several threads may use it at once.

    Attributes
    ----------
    condition
        Is notified with each change; whoever waits for something to do waits upon it.
    """

    def __init__(self, instances: Iterable[Instance]) -> None:
        self.condition = threading.Condition()
        self._left = set(instances)
        self._numbers = dict.fromkeys(Outcome, 0)
        self._failed: list[str] = []
        self._room = LONGEST_LIST
        self._is_cancelled = False
        self._comment = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._is_cancelled or not self._left

    def settle(self, instance: Instance, outcome: Outcome, comment: str = "") -> bool:
        """Say what became of one; whether nothing was said of it before."""
        with self.condition:
            if instance not in self._left:
                return False
            self._settle(instance, outcome)
            self._comment = self._comment or comment
            self.condition.notify_all()
            return True

    def abandon(self, comment: str) -> int:
        """All that are left have failed, for one reason; how many there were."""
        with self.condition:
            left = len(self._left)
            for instance in list(self._left):
                self._settle(instance, Outcome.FAILED)
            if left:
                self._comment = comment
            self.condition.notify_all()
            return left

    def cancel(self) -> None:
        """Begin nothing more."""
        with self.condition:
            self._is_cancelled = True
            self.condition.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait some seconds for the end; whether it has come."""
        with self.condition:
            return self.condition.wait_for(lambda: self.is_over, seconds)

    def pending(self) -> Counts:
        """A response while it goes on."""
        with self.condition:
            return self._counts(PENDING, remaining=len(self._left))

    def final(self) -> Counts:
        """The last response."""
        with self.condition:
            failed_uids = tuple(self._failed)
            if self._left:
                return self._counts(CANCELLED, len(self._left), failed_uids)
            failed, warned = (self._numbers[one] for one in (Outcome.FAILED, Outcome.WARNING))
            status = WARNING if failed or warned else SUCCESS
            if failed and not (warned or self._numbers[Outcome.COMPLETED]):
                status = UNABLE_TO_PERFORM
            return self._counts(status, None, failed_uids, self._comment)

    def _settle(self, instance: Instance, outcome: Outcome) -> None:
        self._left.discard(instance)
        self._numbers[outcome] += 1
        uid = instance.uids[2]
        if outcome is Outcome.FAILED and len(uid) < self._room:
            self._failed.append(uid)
            self._room -= len(uid) + 1

    def _counts(
        self, status: int, remaining: int | None, failed: tuple[str, ...] = (), comment: str = ""
    ) -> Counts:
        return Counts(
            status,
            remaining,
            completed=self._numbers[Outcome.COMPLETED],
            failed=self._numbers[Outcome.FAILED],
            warning=self._numbers[Outcome.WARNING],
            failed_uids=failed,
            comment=comment,
        )
