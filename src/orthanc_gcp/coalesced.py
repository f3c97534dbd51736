"""What many threads want at the same moment, done as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Coalesced"]

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Group(Generic[Asked, Answer]):
    """What is done together.

    Attributes
    ----------
    answers
        One for each; None where it could not be done together.
    """

    asked: list[Asked] = field(default_factory=list)
    is_done: bool = False
    answers: Sequence[Answer] | None = None


class Coalesced(Generic[Asked, Answer]):
    """Does something for one thread, and then at once for all that have come meanwhile.

    As a database's group commit: a transaction costs much the same for one as for twenty, and
    those who write would only wait for each other.

    Parameters
    ----------
    together
        Does it for some, with as many answers. What fails there is done for each by itself: it may
        be at fault alone, and whoever asked has its error.
    """

    def __init__(self, together: Callable[[Sequence[Asked]], Sequence[Answer]]) -> None:
        self._together = together
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._next: _Group[Asked, Answer] = _Group()

    def __call__(self, asked: Asked) -> Answer:
        """What comes of it; by this thread, or by another that waited as well."""
        with self._lock:
            group, number = self._next, len(self._next.asked)
            group.asked.append(asked)
        with self._turn:
            if not group.is_done:
                self._do(group)
        if group.answers is None:
            return self._together([asked])[0]
        return group.answers[number]

    def _do(self, group: _Group[Asked, Answer]) -> None:
        with self._lock:  # who comes from now on is of the next
            self._next, group.is_done = _Group(), True
        try:
            group.answers = self._together(group.asked)
        except Exception:
            if len(group.asked) == 1:
                raise
