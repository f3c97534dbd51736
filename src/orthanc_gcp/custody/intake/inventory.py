"""Compares all that Orthanc has with the ledger, page by page.

Instances are listed by ``GET /instances?expand`` (Orthanc's REST API), each with the UUID of its
file: another one is another version. One page is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["Inventory"]


class Inventory:
    """One comparison after another.

    Every method raises OrthancError when Orthanc cannot be read from just now, and SQLAlchemyError
    when the ledger is away: the comparison has to begin anew then.
    """

    def __init__(self, ledger: Ledger, orthanc: OrthancSource) -> None:
        self._ledger, self._orthanc = ledger, orthanc
        self._source = ""
        self._pages: Iterator[list[tuple[str, str]]] = iter(())
        self._page: list[tuple[str, str]] = []
        self._change = 0  # the newest when the page was read
        self.returned = 0

    def begin(self, source: str) -> None:
        """Begin with the first page of an index."""
        self._source, self._pages, self._page = source, self._orthanc.inventory(), []
        self.returned = 0

    def step(self, read_to: int) -> list[str] | None:
        """The next instances that the ledger does not have, or not as they are; None at the end.

        Parameters
        ----------
        read_to
            The last change that was read. What is new is no difference: it is waited for.
        """
        if not self._page:
            self._page = next(self._pages, [])
            if not self._page:
                return None
            self._change = self._orthanc.last_change()
        if read_to < self._change:
            return []
        page, self._page = dict(self._page), []
        known = self._ledger.arrivals.known(self._source, list(page))
        deleted = [name for name, row in known.items() if row.deleted]
        if deleted:
            self.returned += self._ledger.arrivals.reopen(self._source, deleted)
        return sorted(
            name
            for name, file in page.items()
            if name not in known or (file and known[name].files - {file, ""})
        )
