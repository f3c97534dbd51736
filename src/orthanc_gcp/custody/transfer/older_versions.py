"""What waits to be sent, and of which Orthanc has an older version since its index was restored.

All of an index is compared then, which takes time: what waits meanwhile would be sent as the
version that Orthanc does not have any more, and would count as that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orthanc_gcp.custody.intake.rules import arrival_of
from orthanc_gcp.ledger.indexes import is_within
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import NewTransfer, Transfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import Description, OrthancSource

__all__ = ["OlderVersions", "Sorted", "Undone"]

Undone = Callable[[str], Collection[Sequence[float]]]


@dataclass(frozen=True)
class Sorted:
    """What becomes of a batch before it is sent.

    Attributes
    ----------
    sendable
        Of these Orthanc has no older version.
    unclear
        Of these it has, and nobody has seen yet which index that is.
    """

    sendable: list[Transfer]
    unclear: list[Transfer]


class OlderVersions:
    """Takes out of batches what Orthanc has only an older version of.

    Parameters
    ----------
    is_its_index
        Whether Orthanc has the index, just now, that the ledger calls so.
    undone
        The times of which the index may have nothing any more, as the ledger has them: asked for
        each batch.
    """

    def __init__(
        self,
        ledger: Ledger,
        orthanc: OrthancSource,
        is_its_index: Callable[[str], bool],
        undone: Undone,
    ) -> None:
        self._ledger, self._orthanc, self._is_its_index = ledger, orthanc, is_its_index
        self._undone = undone

    def sort(self, transfers: Sequence[Transfer]) -> Sorted:
        """What can be sent of a batch.

        Of an index that was restored, an older version waits in the place of the newer one, which
        is lost, and written down as that.

        Raises
        ------
        OrthancError
            Orthanc cannot be read from just now.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        clear = {source: self._is_its_index(source) for source in {row.source for row in transfers}}
        times = {source: self._undone(source) for source in clear}
        older = self._older(
            row
            for row in transfers
            if not clear[row.source] or is_within(row.received_at, times[row.source])
        )
        if not older:
            return Sorted(list(transfers), [])
        arrivals = [_arrival(one, row) for row, one in older.items() if clear[row.source]]
        if arrivals:
            self._ledger.arrivals.record(arrivals, other_versions=True)
        return Sorted(
            [row for row in transfers if row not in older],
            [row for row in older if not clear[row.source]],
        )

    def _older(self, rows: Iterable[Transfer]) -> Mapping[Transfer, Description]:
        """Those of some rows of which Orthanc has an older version, with that."""
        named = {row.orthanc_id: row for row in rows}
        there, _ = self._orthanc.describe_each(list(named)) if named else ([], [])
        found = ((named[one.orthanc_id], one) for one in there)
        return {row: one for row, one in found if _is_older(one, row)}


def _is_older(one: Description, row: Transfer) -> bool:
    is_another = one.attachment_uuid not in ("", row.attachment_uuid)
    return is_another and one.received_at < row.received_at


def _arrival(one: Description, row: Transfer) -> NewTransfer:
    arrival = arrival_of(one, row.source, row.account, priority=Priority(row.priority))
    return replace(arrival, instead_of=row.attachment_uuid)
