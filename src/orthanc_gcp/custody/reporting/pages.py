"""Pages of what may be very many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["LARGEST_PAGE", "Page", "bounded", "row_number"]

LARGEST_PAGE = 1000

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some of many.

    Attributes
    ----------
    following
        What the next page is asked for with; None on the last.
    """

    items: tuple[Item, ...]
    following: str | None


def bounded(limit: int) -> int:
    """How many a page may have, of what somebody asks for."""
    return max(1, min(limit, LARGEST_PAGE))


def row_number(after: str) -> int:
    """The number of a row, in what the page before has as ``following``.

    Raises
    ------
    ValueError
        No row of a database has such a number.
    """
    number = int(after)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"no row has the number {number}")
    return number
