"""Who works on a ledger just now: Orthancs that are followed, workers, backfills."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.custody.intake.open_transfers import OpenTransfers, open_transfers
from orthanc_gcp.custody.reporting.backfill_progress import running
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.database import change_mark
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.workers import alive_workers

__all__ = ["Activity", "index_as_json", "senders"]

SHARE, FRESH = 10, 30.0
"""It is given again for so many times as long as it takes to read, and so many seconds at most."""
UNCHANGED_FOR = 60.0
"""Seconds for which it is given again where nothing was written to the database."""


class Activity:
    """Who works on a ledger; of a large one some seconds old.

    Parameters
    ----------
    accounts
        Those that the rules name.
    options
        Of the backfill.
    """

    def __init__(
        self,
        ledger: Ledger,
        accounts: set[str],
        options: BackfillOptions,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._accounts, self._options = ledger, accounts, options
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.Lock()
        self._read: dict[str, Any] = {}
        self._read_at, self._fresh = float("-inf"), 0.0
        self._mark: Hashable = None

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        with self._lock:
            began = self._monotonic()
            age = began - self._read_at
            if age < self._fresh:
                return self._read
            mark = change_mark(self._ledger.engine)
            if age >= UNCHANGED_FOR or mark is None or mark != self._mark:
                self._read, self._mark = self._all(), mark
                self._read_at = self._monotonic()
                self._fresh = min(FRESH, SHARE * (self._read_at - began))
            return self._read

    def steer_backfill(self, index: str, *, paused: bool) -> None:
        """Have a backfill send nothing for now, or go on.

        Raises
        ------
        KeyError
            None of this index runs.
        sqlalchemy.exc.SQLAlchemyError
            The ledger is away.
        """
        studies = BackfillStudies(self._ledger, index, self._accounts)
        run = studies.run
        if run is None or run.ended is not None:
            raise KeyError(index)
        if paused:
            studies.pause()
        else:
            studies.resume()
        with self._lock:
            self._read_at = float("-inf")

    def _all(self) -> dict[str, Any]:
        now = self._clock.utc().astimezone()
        backfills = running(self._ledger, self._accounts, self._options, now)
        return {
            "Orthancs": list(map(index_as_json, open_transfers(self._ledger))),
            "Workers": alive_workers(self._ledger.engine),
            "Senders": senders(self._ledger),
            "Backfills": [{"Index": index, **one.as_json()} for index, one in backfills.items()],
        }


def index_as_json(one: OpenTransfers) -> dict[str, Any]:
    """What is still to be sent of an index, for programs."""
    return {
        "Index": one.source,
        "Orthanc": one.name,
        "Since": utc(one.since),
        "Seen": utc(one.seen_at),
        "OpenInstances": one.instances,
        "OldestOpenSeconds": one.oldest_seconds,
        "Problem": one.reason,
    }


def senders(ledger: Ledger) -> list[dict[str, Any]]:
    """What each worker sends just now, for programs.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    of = transfers.c
    sending = sql.literal(State.SENDING.value, literal_execute=True)  # an index has these
    query = (
        sql.select(
            of.worker,
            of.account,
            sql.func.count(of.batch.distinct()),
            sql.func.count(),
            sql.func.sum(of.size_bytes),
        )
        .where(of.state == sending)
        .group_by(of.worker, of.account)
        .order_by(of.worker, of.account)
    )
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
    names = ("Worker", "Account", "Requests", "Instances", "Bytes")
    return [dict(zip(names, (*row[:4], int(row[4] or 0)), strict=True)) for row in rows]
