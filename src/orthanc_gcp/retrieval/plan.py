"""What is asked of a store in one request: one instance, or many small ones of a series or study.

Large instances come side by side, each by a request of its own. Of small ones, a request each would
take longer than they do: they come together, as long as most of what comes is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from orthanc_gcp.ledger.retrievals.rows import RetrievedRow
from orthanc_gcp.ledger.schema import RetrievedState

__all__ = ["Fetch", "fetches"]

SMALL = 256 * 1024
"""Bytes of a mean instance up to which many come together."""
MOST_TOGETHER = 64 * 1024 * 1024
"""Bytes, by estimation, of a request for several."""
_MOSTLY = 0.5
"""The share of what comes that has to be wanted."""


@dataclass(frozen=True)
class Fetch:
    """One request.

    Attributes
    ----------
    rows
        What is wanted of what it brings.
    study, series
        What is asked for, where it is not one instance alone.
    """

    rows: tuple[RetrievedRow, ...]
    study: str = ""
    series: str | None = None

    @property
    def is_single(self) -> bool:
        """Whether one instance is asked for."""
        return not self.study


def fetches(
    rows: Sequence[RetrievedRow], of_all: bool, count: Callable[[str | None], int]
) -> Iterator[Fetch]:
    """The requests for what waits, study by study and series by series, in the order of rows.

    Parameters
    ----------
    of_all
        Whether these are all that wait of what they are part of.
    count
        Series, or None for all -> how many instances are listed, waiting or not.
    """
    waiting = [row for row in rows if row.state == RetrievedState.WAITING]
    fresh = [row for row in waiting if not row.attempts]
    studies = {row.study_instance_uid for row in fresh}
    if of_all and len(studies) == 1 and _may_share(fresh, partial(count, None)):
        series = {row.series_instance_uid for row in fresh}
        of_one = next(iter(series)) if len(series) == 1 else None
        yield Fetch(tuple(fresh), studies.pop(), of_one)
        fresh = []
    for (study, one), group in groupby(fresh, key=lambda row: row.uids[:2]):
        own = list(group)
        if _may_share(own, partial(count, one)):
            yield Fetch(tuple(own), study, one)
        else:
            yield from (Fetch((row,)) for row in own)
    # What has failed with others comes by itself, and what is compared always does.
    alone = (row for row in rows if row.attempts or row.state != RetrievedState.WAITING)
    yield from (Fetch((row,)) for row in alone)


def _may_share(rows: Sequence[RetrievedRow], listed: Callable[[], int]) -> bool:
    """Whether so many come by one request, if it brings all that are listed."""
    total = sum(row.size_bytes for row in rows)
    small = total <= SMALL * len(rows) and total <= MOST_TOGETHER
    return len(rows) > 1 and small and len(rows) >= _MOSTLY * listed()
