"""Rate and backlog of the last day, in coarse steps: bounded, whatever the ledger holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.database import upsert
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import transfer_history

__all__ = ["STEP", "STEPS", "History", "history"]

STEP = 600.0
"""Seconds."""
STEPS = 145
"""So many rows of an account: a day, and the one that its first step begins with."""


class History:
    """Writes down how far each account is, once in each step, whichever worker is first.

    Parameters
    ----------
    accounts
        How far each is just now.
    """

    def __init__(self, ledger: Ledger, accounts: Callable[[], Sequence[AccountOverview]]) -> None:
        self._ledger, self._accounts = ledger, accounts
        self._noted: float | None = None

    def note(self) -> bool:
        """Write it down, if it is time to; whether it was.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        now = self._ledger.now()
        step = now - now % STEP
        if step == self._noted:
            return False
        of, rows = transfer_history.c, [_row(one, step) for one in self._accounts()]
        # What is later than now was written before the clock was set back.
        is_over = sql.or_(of.noted_at <= step - STEPS * STEP, of.noted_at > now)
        insert = upsert(self._ledger.engine.dialect.name, transfer_history)
        with self._ledger.writing() as connection:
            connection.execute(transfer_history.delete().where(is_over))
            if rows:
                connection.execute(insert.on_conflict_do_nothing(), rows)
        self._noted = step
        return True


def history(ledger: Ledger, account: str) -> dict[str, Any]:
    """The last day of an account for programs: oldest first, what is confirmed as a mean rate.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of, now = transfer_history.c, ledger.now()
    query = (
        sql.select(transfer_history)
        .where(of.account == account, of.noted_at > now - STEPS * STEP, of.noted_at <= now)
        .order_by(of.noted_at)
        .limit(STEPS)
    )
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
    return {"Account": account, "StepSeconds": int(STEP), "Steps": list(_steps(rows))}


def _row(one: AccountOverview, step: float) -> dict[str, Any]:
    counts = one.counts
    return {
        "account": one.account,
        "noted_at": step,
        "confirmed_instances": counts.confirmed.instances,
        "confirmed_bytes": counts.confirmed.bytes,
        "unsent_instances": counts.waiting.instances + counts.sending.instances,
        "unsent_bytes": counts.waiting.bytes + counts.sending.bytes,
    }


def _steps(rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for before, row in pairwise(rows):
        seconds = row.noted_at - before.noted_at
        # It is less than before when the account is another store, or instances are replaced.
        instances = max(0, row.confirmed_instances - before.confirmed_instances)
        size = max(0, row.confirmed_bytes - before.confirmed_bytes)
        yield {
            "Time": utc(row.noted_at),
            "Seconds": int(seconds),
            "InstancesPerSecond": round(instances / seconds, 3),
            "BytesPerSecond": round(size / seconds, 1),
            "UnsentInstances": row.unsent_instances,
            "UnsentBytes": row.unsent_bytes,
        }
