"""What a receipt has beside the last state: replacements, quarantines, retries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.ledger.database import writing
from orthanc_gcp.ledger.rows import MOST_PARAMETERS, portions
from orthanc_gcp.ledger.schema import events, transfers

__all__ = ["Events", "add_for", "newest_event"]


class Events:
    """The events of studies and accounts, which are only ever added.

    Every method raises SQLAlchemyError when the ledger is away; nothing was written then.
    """

    def __init__(self, engine: sql.Engine, now: Callable[[], float]) -> None:
        self._engine, self._now = engine, now

    def add(
        self, account: str, kind: str, detail: str, study: str = "", instance: str = ""
    ) -> None:
        """Write down an event of an account, or of an instance of a study."""
        self._add([account], kind, detail, study, instance)

    def add_to_each(self, accounts: Collection[str], kind: str, detail: str) -> None:
        """Write down an event that is the same for some accounts."""
        if accounts:
            self._add(sorted(accounts), kind, detail, "", "")

    def _add(
        self, accounts: Sequence[str], kind: str, detail: str, study: str, instance: str
    ) -> None:
        now = self._now()
        rows = [
            {
                "occurred_at": now,
                "account": account,
                "study_instance_uid": study,
                "sop_instance_uid": instance,
                "kind": kind,
                "detail": detail,
            }
            for account in accounts
        ]
        with writing(self._engine) as connection:
            connection.execute(events.insert(), rows)


def add_for(
    connection: sql.Connection,
    now: float,
    rows: Sequence[int],
    kind: str,
    words: str | sql.ColumnElement[Any] | None = None,
) -> None:
    """Write down an event for each of some transfers, as they are by now.

    Parameters
    ----------
    words
        In place of the reason and the detail that each has: words of all, or a column of each.
    """
    of = transfers.c
    said: Any = words
    if words is None:
        said = of.reason.concat(": ").concat(sql.func.coalesce(of.detail, ""))
    elif isinstance(words, str):
        said = sql.literal(words)
    for some in portions(rows, MOST_PARAMETERS):
        query = sql.select(
            sql.literal(now),
            of.account,
            of.study_instance_uid,
            of.sop_instance_uid,
            sql.literal(kind),
            said,
        ).where(of.id.in_(some))
        names = [
            "occurred_at",
            "account",
            "study_instance_uid",
            "sop_instance_uid",
            "kind",
            "detail",
        ]
        connection.execute(events.insert().from_select(names, query))


def newest_event(
    kind: str, chosen: Sequence[sql.ColumnElement[bool]]
) -> tuple[sql.Join, sql.ColumnElement[int]]:
    """Transfers with the number of the newest event of a kind that each has; 0 for none.

    Versions with the same UIDs of an account share their events.

    Parameters
    ----------
    chosen
        The conditions on transfers that the query has, by which few events are looked at.
    """
    of, said = transfers.c, events.c
    names = ("account", "study_instance_uid", "sop_instance_uid")
    newest = (
        sql.select(*(said[name] for name in names), sql.func.max(said.id).label("id"))
        .where(
            said.kind == kind,
            said.study_instance_uid.in_(sql.select(of.study_instance_uid).where(*chosen)),
        )
        .group_by(*(said[name] for name in names))
        .subquery()
    )
    is_same = sql.and_(*(newest.c[name] == of[name] for name in names))
    return transfers.outerjoin(newest, is_same), sql.func.coalesce(newest.c.id, 0)
