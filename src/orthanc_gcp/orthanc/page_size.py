"""How much Orthanc is asked for at once: less where the whole takes longer than the time limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from orthanc_gcp.errors import OrthancUnavailableError

__all__ = ["PageSize"]

GROW_AFTER = 20
"""So many pages in a row have come in time before twice as much is asked for again."""

Page = TypeVar("Page")


class PageSize:
    """The size of the pages of one kind of question; it is the same for all threads.

    Parameters
    ----------
    most, least
        Between these two it is halved, and doubled again.

    Attributes
    ----------
    least
        The same.
    """

    def __init__(self, most: int, least: int = 1) -> None:
        self._most, self.least, self._size, self._in_time = most, least, most, 0

    def ask(self, question: Callable[[int], Page], there: int | None = None) -> tuple[Page, int]:
        """The answer to a question for so many things at most, and how many that were.

        A question that takes too long is asked again at once, for half as much.

        Parameters
        ----------
        there
            So many things there are, or are wanted: it says nothing of more that it comes in time.

        Raises
        ------
        OrthancError
            What the question raises; a timeout only when no smaller one can be asked.
        """
        while True:
            size = self._size if there is None else min(self._size, there)
            try:
                page = question(size)
            except OrthancUnavailableError as error:
                if not error.timed_out or size <= self.least:
                    raise
                self._size, self._in_time = max(self.least, size // 2), 0
            else:
                self._in_time += size == self._size  # less than that comes in time anyway
                if self._in_time >= GROW_AFTER:
                    self._size, self._in_time = min(self._most, self._size * 2), 0
                return page, size
