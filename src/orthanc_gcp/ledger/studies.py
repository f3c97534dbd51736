"""The studies of the ledger that have instances of a selection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sql

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import transfers
from orthanc_gcp.ledger.selection import Selection

__all__ = ["AccountStudy", "DestinationStudy", "all_studies", "page_of_studies"]

_PAGE = 100


class AccountStudy(NamedTuple):
    """A study as it is, or is to be, in the store that an account is by now."""

    study_instance_uid: str
    account: str


class DestinationStudy(NamedTuple):
    """A study as it is, or is to be, in one store."""

    study_instance_uid: str
    destination_id: int


def page_of_studies(
    ledger: Ledger, selection: Selection, after: DestinationStudy | None, limit: int
) -> list[DestinationStudy]:
    """The next studies with such instances, in their own order.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    columns = transfers.c.study_instance_uid, transfers.c.destination_id
    query = sql.select(*columns).where(*selection.conditions).distinct()
    if after is not None:
        query = query.where(sql.tuple_(*columns) > sql.tuple_(*map(sql.literal, after)))
    with ledger.reading() as connection:
        return [
            DestinationStudy(*row)
            for row in connection.execute(query.order_by(*columns).limit(limit))
        ]


def all_studies(ledger: Ledger, selection: Selection) -> Iterator[AccountStudy]:
    """All studies with such instances, in their own order; no query lasts while they are used.

    Those of stores that accounts were formerly are left out.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    accounts = {one.id: name for name, one in ledger.destinations.current().items()}
    page = page_of_studies(ledger, selection, None, _PAGE)
    while page:
        for study, destination in page:
            if destination in accounts:
                yield AccountStudy(study, accounts[destination])
        page = page_of_studies(ledger, selection, page[-1], _PAGE)
