"""The studies of the ledger, page by page, each with how far it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.counts import COUNTS, TransferCounts
from orthanc_gcp.custody.reporting.pages import Page, bounded
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.studies import AccountStudy, page_of_studies

__all__ = ["StudyStatus", "studies"]

_BETWEEN = "/"
"""Stands between the UID and the account, where a page says what the next one begins after."""


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is at one account.

    Attributes
    ----------
    first_received_at, last_confirmed_at
        Seconds since 1970, UTC; None while nothing is confirmed.
    """

    account: str
    study_instance_uid: str
    counts: TransferCounts
    first_received_at: float
    last_confirmed_at: float | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "Account": self.account,
            "Study": self.study_instance_uid,
            **self.counts.as_json(),
            "FirstReceived": utc(self.first_received_at),
            "LastConfirmed": utc(self.last_confirmed_at),
        }


def studies(
    ledger: Ledger, selection: Selection, after: str = "", limit: int = 100
) -> Page[StudyStatus]:
    """The studies with such instances, by UID, each with all that it has for an account.

    Parameters
    ----------
    after
        What the page before has as ``following``.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    limit = bounded(limit)
    found = page_of_studies(ledger, selection, _key(after), limit)
    rows = _rows(ledger, found)
    following = _BETWEEN.join(found[-1]) if len(found) == limit else None
    return Page(tuple(_status(study, rows[study]) for study in found if study in rows), following)


def _key(after: str) -> AccountStudy | None:
    if not after:
        return None
    study, _, account = after.partition(_BETWEEN)
    return AccountStudy(study, account)


def _rows(ledger: Ledger, found: Sequence[AccountStudy]) -> dict[AccountStudy, list[sql.Row[Any]]]:
    """What there is of some studies, by state."""
    of = transfers.c
    query = (
        sql.select(
            of.study_instance_uid,
            of.account,
            *COUNTS,
            sql.func.min(of.received_at).label("received_at"),
            sql.func.max(of.confirmed_at).label("confirmed_at"),
        )
        .where(of.study_instance_uid.in_({study.study_instance_uid for study in found}))
        .group_by(of.study_instance_uid, of.account, of.state)
    )
    rows = defaultdict(list)
    with ledger.reading() as connection:
        for row in connection.execute(query):
            rows[AccountStudy(row.study_instance_uid, row.account)].append(row)
    return rows


def _status(study: AccountStudy, rows: Sequence[sql.Row[Any]]) -> StudyStatus:
    confirmed = [row.confirmed_at for row in rows if row.confirmed_at is not None]
    return StudyStatus(
        study.account,
        study.study_instance_uid,
        TransferCounts.of(rows),
        first_received_at=min(row.received_at for row in rows),
        last_confirmed_at=max(confirmed, default=None),
    )
