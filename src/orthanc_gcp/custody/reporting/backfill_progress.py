"""How far a backfill is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sql

from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.configuration.timetable import Timetable
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Run, Stage
from orthanc_gcp.custody.reporting.counts import COUNTS, Amount, TransferCounts
from orthanc_gcp.custody.reporting.rates import WINDOW
from orthanc_gcp.custody.reporting.timestamps import utc
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers

__all__ = ["BackfillProgress", "progress", "running", "studies_of"]


@dataclass(frozen=True)
class BackfillProgress:
    """How far a backfill is; moments are seconds since 1970, UTC.

    Attributes
    ----------
    open
        Whether it is in its hours.
    studies_done, studies
        Those that were written down, and all.
    gone, recycled
        See :class:`orthanc_gcp.custody.intake.backfill_studies.Run`.
    unreadable
        Instances of which the rules ask for what Orthanc cannot read: they are not written down.
    counts
        Of all that backfills have written down.
    bytes_per_second, instances_per_second
        What was confirmed, as the mean of the last minute.
    ended_at, estimated_end
        None while it has not ended; while it is unknown.
    """

    stage: Stage
    paused: bool
    open: bool
    studies_done: int
    studies: int
    gone: int
    recycled: int
    unreadable: int
    counts: TransferCounts
    bytes_per_second: float
    instances_per_second: float
    began_at: float
    ended_at: float | None
    estimated_end: float | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "State": self.stage.value,
            "Paused": self.paused,
            "Open": self.open,
            "Studies": {"Done": self.studies_done, "Total": self.studies},
            "GoneStudies": self.gone,
            "RecycledStudies": self.recycled,
            "Unreadable": self.unreadable,
            **self.counts.as_json(),
            "BytesPerSecond": round(self.bytes_per_second, 1),
            "InstancesPerSecond": round(self.instances_per_second, 3),
            "Began": utc(self.began_at),
            "Ended": utc(self.ended_at),
            "EstimatedEnd": utc(self.estimated_end),
        }


def progress(
    ledger: Ledger, studies: BackfillStudies, options: BackfillOptions, now: datetime
) -> BackfillProgress | None:
    """How far a backfill is; None if none has begun for the stores that it is about by now.

    Parameters
    ----------
    now
        The local time, which the schedule is about.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    run = studies.run
    if run is None or (run.destinations and not studies.covers(run)):
        return None
    counts = _counts(ledger, studies)
    done, left = _studies_of(run, studies)
    window = min(WINDOW, max(1.0, now.timestamp() - run.began))
    recent = _confirmed_since(ledger, studies, now.timestamp() - window)
    timetable = Timetable(options.schedule)
    rate = recent.instances / window
    seconds = _seconds_left(run, left, counts.unfinished, rate)
    return BackfillProgress(
        stage=run.stage,
        paused=studies.paused,
        open=timetable.is_open(now),
        studies_done=done,
        studies=done + left,
        gone=run.gone,
        recycled=run.recycled,
        unreadable=len(ledger.arrivals.unreadable(studies.source)),
        counts=counts,
        bytes_per_second=recent.bytes / window,
        instances_per_second=rate,
        began_at=run.began,
        ended_at=run.ended,
        estimated_end=None if seconds is None else timetable.after(now, seconds).timestamp(),
    )


def running(
    ledger: Ledger, accounts: set[str], options: BackfillOptions, now: datetime
) -> dict[str, BackfillProgress]:
    """The backfills that have not ended, by their index.

    Parameters
    ----------
    accounts
        Those that the rules name.
    now
        The local time, which the schedule is about.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    found = {}
    for one in ledger.indexes.all():
        studies = BackfillStudies(ledger, one.source, accounts)
        run = studies.run
        if run is None or run.ended is not None:
            continue
        how_far = progress(ledger, studies, options, now)
        if how_far is not None:
            found[one.source] = how_far
    return found


def studies_of(studies: BackfillStudies) -> tuple[int, int] | None:
    """How many studies were written down, and how many are to be; None where none has begun.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    run = studies.run
    return None if run is None else _studies_of(run, studies)


def _studies_of(run: Run, studies: BackfillStudies) -> tuple[int, int]:
    left = 0 if run.stage is Stage.FINISHED else studies.left()
    return (0 if run.stage is Stage.LISTING else run.studies - left), left


def _seconds_left(run: Run, studies: int, unfinished: Amount, rate: float) -> float | None:
    """How long it takes if the rest is like what was done; None while it is unknown."""
    done = run.studies - studies
    if run.stage is not Stage.SENDING or rate <= 0 or done <= 0:
        return None
    return (unfinished.instances + studies * run.recorded / done) / rate


def _counts(ledger: Ledger, studies: BackfillStudies) -> TransferCounts:
    query = sql.select(*COUNTS).where(*studies.conditions()).group_by(transfers.c.state)
    with ledger.reading() as connection:
        return TransferCounts.of(connection.execute(query))


def _confirmed_since(ledger: Ledger, studies: BackfillStudies, moment: float) -> Amount:
    query = sql.select(sql.func.count(), sql.func.sum(transfers.c.size_bytes)).where(
        *studies.conditions([State.CONFIRMED]), transfers.c.confirmed_at >= moment
    )
    with ledger.reading() as connection:
        count, size = connection.execute(query).one()
    return Amount(count, int(size or 0))
