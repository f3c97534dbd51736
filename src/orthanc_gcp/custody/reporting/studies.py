"""The studies of the ledger and their series, page by page, each with how far it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
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

__all__ = ["SeriesStatus", "StudyStatus", "series", "studies"]

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


@dataclass(frozen=True)
class SeriesStatus(StudyStatus):
    """How far one series is at one store of one account."""

    series_instance_uid: str

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {**super().as_json(), "Series": self.series_instance_uid}


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
    of = transfers.c
    rows = _rows(ledger, of.study_instance_uid, {study.study_instance_uid for study in found})
    stores = {one.id: one for one in ledger.destinations.all()}
    shown = [
        StudyStatus(**_status(study[0], stores[study.destination_id], rows[study]))
        for study in found
        if study in rows and study.destination_id in stores
    ]
    return Page(tuple(shown), _following(found, limit))


def series(
    ledger: Ledger, study: str, selection: Selection, after: str = "", limit: int = 100
) -> Page[SeriesStatus]:
    """The series of a study with such instances, by UID, each with all that it has for a store.

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
    limit, of = bounded(limit), transfers.c
    columns = of.series_instance_uid, of.destination_id
    query = sql.select(*columns).where(of.study_instance_uid == study, *selection.conditions)
    if (begin := _key(after)) is not None:
        query = query.where(sql.tuple_(*columns) > sql.tuple_(*map(sql.literal, begin)))
    with ledger.reading() as connection:
        page = query.distinct().order_by(*columns).limit(limit)
        found = [(row[0], row[1]) for row in connection.execute(page)]
    uids = {uid for uid, _ in found}
    rows = _rows(ledger, of.series_instance_uid, uids, of.study_instance_uid == study)
    stores = {one.id: one for one in ledger.destinations.all()}
    shown = [
        SeriesStatus(
            **_status(study, stores[destination], rows[uid, destination]), series_instance_uid=uid
        )
        for uid, destination in found
        if (uid, destination) in rows and destination in stores
    ]
    return Page(tuple(shown), _following(found, limit))


def _following(found: Sequence[tuple[str, int]], limit: int) -> str | None:
    """What :func:`_key` reads, of the last on a page; None where that is the last page."""
    return _BETWEEN.join(map(str, found[-1])) if len(found) == limit else None


def _key(after: str) -> DestinationStudy | None:
    if not after:
        return None
    study, _, destination = after.rpartition(_BETWEEN)
    return DestinationStudy(study, row_number(destination))


def _rows(
    ledger: Ledger,
    column: sql.ColumnElement[str],
    uids: Collection[str],
    *conditions: sql.ColumnElement[bool],
) -> dict[tuple[str, int], list[sql.Row[Any]]]:
    """What there is of some studies or series, by state."""
    of = transfers.c
    query = (
        sql.select(
            column.label("uid"),
            of.destination_id,
            *COUNTS,
            sql.func.min(of.received_at).label("received_at"),
            sql.func.max(of.confirmed_at).label("confirmed_at"),
        )
        .where(column.in_(uids), *conditions)
        .group_by(column, of.destination_id, of.state)
    )
    rows = defaultdict(list)
    with ledger.reading() as connection:
        for row in connection.execute(query):
            rows[row.uid, row.destination_id].append(row)
    return rows


def _status(study: str, store: AccountStore, rows: Sequence[sql.Row[Any]]) -> dict[str, Any]:
    confirmed = [row.confirmed_at for row in rows if row.confirmed_at is not None]
    return {
        "account": store.account,
        "store": store.store,
        "study_instance_uid": study,
        "counts": TransferCounts.of(rows),
        "first_received_at": min(row.received_at for row in rows),
        "last_confirmed_at": max(confirmed, default=None),
    }
