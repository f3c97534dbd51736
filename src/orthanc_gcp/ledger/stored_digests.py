"""What the ledger knows of the bytes that a destination has, before anybody reads them there.

That a store may have another version than the one that is to be sent is remembered in
``stored_sha256`` until the one is confirmed: whichever way its row goes until then, a search alone
does not confirm it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import reading
from orthanc_gcp.ledger.destinations import Destinations
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, Transfer, portions
from orthanc_gcp.ledger.schema import UNSURE, State, transfers
from orthanc_gcp.reasons import TransferReason

__all__ = ["OTHER_IS_THERE", "StoredDigests", "unsure_where"]

OTHER_IS_THERE = (TransferReason.CONFLICT, TransferReason.DIFFERENT, TransferReason.UNCOMPARED)
"""Why an instance is not confirmed, where the store was seen to have other bytes, or may have."""

_COLUMNS = (
    transfers.c.study_instance_uid,
    transfers.c.series_instance_uid,
    transfers.c.sop_instance_uid,
    transfers.c.state,
    transfers.c.sha256,
    transfers.c.stored_sha256,
    transfers.c.replace,
)


def unsure_where(condition: sql.ColumnElement[bool]) -> sql.Case[Any]:
    """What ``stored_sha256`` becomes: unsure where that is so, what it was elsewhere."""
    return sql.case((condition, UNSURE), else_=transfers.c.stored_sha256)


class StoredDigests:
    """The digests of what was seen in a store, whichever Orthanc and account has sent it."""

    def __init__(self, engine: sql.Engine, destinations: Destinations) -> None:
        self._engine, self._destinations = engine, destinations

    def known(self, account: str, digests: Mapping[Transfer, str]) -> set[int]:
        """Those of some rows of an account that its store is known to have with these bytes.

        That is so where each row with the same three UIDs that was confirmed had the same digest;
        and where nothing was, or is to be, replaced since. What a search or an audit has missed may
        have been there once, and somebody else may have put another in its place.

        Parameters
        ----------
        digests
            Row -> the SHA-256 of its bytes in Orthanc.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        found: dict[tuple[str, ...], list[Any]] = defaultdict(list)
        same_store = self._destinations.with_store_of(account)
        instances = list({row.sop_instance_uid for row in digests})
        with reading(self._engine) as connection:
            for some in portions(instances, MOST_PARAMETERS):
                query = sql.select(*_COLUMNS).where(
                    transfers.c.destination_id.in_(same_store),
                    transfers.c.sop_instance_uid.in_(some),
                )
                for one in connection.execute(query):
                    found[tuple(one[:3])].append(one)
        return {row.id for row, sha256 in digests.items() if _stored(found[row.uids]) == sha256}


def _stored(rows: Iterable[Any]) -> str | None:
    """The digest that all rows of one instance agree in; None where they do not, or have none."""
    seen: set[str | None] = set()
    claimed: set[str | None] = set()
    for row in rows:
        if row.state == State.CONFIRMED:
            seen.add(row.sha256)
        elif row.replace:
            return None
        elif row.state == State.ACKNOWLEDGED:
            claimed.add(row.sha256)
        if row.stored_sha256:
            seen.add(row.stored_sha256)
    return seen.pop() if len(seen) == 1 and claimed <= seen else None
