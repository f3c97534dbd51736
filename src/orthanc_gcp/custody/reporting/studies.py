"""The studies of the ledger, page by page, each with how far it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.counts import COUNTS, TransferCounts
from orthanc_gcp.custody.reporting.pages import Page, bounded, row_number
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.destinations import AccountStore
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.studies import DestinationStudy, page_of_studies

__all__ = ["StudyStatus", "studies"]

_BETWEEN = "/"
"""Stands between UID and destination, where a page says what the next one begins after."""


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is at one store of one account.

    Attributes
    ----------
    store
        Its path; None of a ledger that did not write it down.
    first_received_at, last_confirmed_at
        Seconds since 1970, UTC; None while nothing is confirmed.
    """

    account: str
    store: str | None
    study_instance_uid: str
    counts: TransferCounts
    first_received_at: float
    last_confirmed_at: float | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Store": self.store,
            "Study": self.study_instance_uid,
            **self.counts.as_json(),
            "FirstReceived": utc(self.first_received_at),
            "LastConfirmed": utc(self.last_confirmed_at),
        }


def studies(
    ledger: Ledger, selection: Selection, after: str = "", limit: int = 100
) -> Page[StudyStatus]:
    """The studies with such instances, by UID, each with all that it has for a store.

    Parameters
    ----------
    after
        What the page before has as ``following``.

    Raises
    ------
    ValueError
        No page has such a ``following``.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    limit = bounded(limit)
    found = page_of_studies(ledger, selection, _key(after), limit)
    rows = _rows(ledger, found)
    following = _BETWEEN.join(map(str, found[-1])) if len(found) == limit else None
    stores = {one.id: one for one in ledger.destinations.all()}
    shown = [
        _status(study, stores[study.destination_id], rows[study])
        for study in found
        if study in rows and study.destination_id in stores
    ]
    return Page(tuple(shown), following)


def _key(after: str) -> DestinationStudy | None:
    if not after:
        return None
    study, _, destination = after.rpartition(_BETWEEN)
    return DestinationStudy(study, row_number(destination))


def _rows(
    ledger: Ledger, found: Sequence[DestinationStudy]
) -> dict[DestinationStudy, list[sql.Row[Any]]]:
    """What there is of some studies, by state."""
    of = transfers.c
    query = (
        sql.select(
            of.study_instance_uid,
            of.destination_id,
            *COUNTS,
            sql.func.min(of.received_at).label("received_at"),
            sql.func.max(of.confirmed_at).label("confirmed_at"),
        )
        .where(of.study_instance_uid.in_({study.study_instance_uid for study in found}))
        .group_by(of.study_instance_uid, of.destination_id, of.state)
    )
    rows = defaultdict(list)
    with ledger.reading() as connection:
        for row in connection.execute(query):
            rows[DestinationStudy(row.study_instance_uid, row.destination_id)].append(row)
    return rows


def _status(
    study: DestinationStudy, store: AccountStore, rows: Sequence[sql.Row[Any]]
) -> StudyStatus:
    confirmed = [row.confirmed_at for row in rows if row.confirmed_at is not None]
    return StudyStatus(
        store.account,
        store.store,
        study.study_instance_uid,
        TransferCounts.of(rows),
        first_received_at=min(row.received_at for row in rows),
        last_confirmed_at=max(confirmed, default=None),
    )
