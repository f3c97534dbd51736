"""How far a backfill is, for people: ready for JSON, in the manner of the overview."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.configuration.timetable import Timetable
from orthanc_gcp.custody.intake.backfill_studies import Amount, BackfillStudies, Run, Stage
from orthanc_gcp.custody.reporting.overview import FIGURES, utc
from orthanc_gcp.ledger.ledger import UNSETTLED
from orthanc_gcp.ledger.schema import State

__all__ = ["progress"]

WINDOW = 60.0
"""Seconds that rates are the mean of."""


def progress(
    backlog: BackfillStudies, options: BackfillOptions, now: datetime
) -> dict[str, Any] | None:
    """How far a backfill is; None if none has begun.

    Parameters
    ----------
    now
        The local time, which the schedule is about.
    """
    run = backlog.run
    if run is None:
        return None
    amounts = backlog.amounts()
    left = 0 if run.stage is Stage.FINISHED else backlog.studies_left()
    studies = left if run.stage is Stage.LISTING else run.studies
    window = min(WINDOW, max(1.0, now.timestamp() - run.began))
    recent = backlog.confirmed_since(now.timestamp() - window)
    timetable = Timetable(options.schedule)
    instances_per_second = recent.instances / window
    seconds = _seconds_left(run, left, _sum(amounts, UNSETTLED), instances_per_second)
    return {
        "State": run.stage.value,
        "Paused": backlog.paused,
        "Open": timetable.is_open(now),
        "Studies": {"Done": studies - left, "Total": studies},
        **{name: _told(_sum(amounts, states)) for name, states in FIGURES.items()},
        "BytesPerSecond": round(recent.bytes / window, 1),
        "InstancesPerSecond": round(instances_per_second, 3),
        "Began": utc(run.began),
        "Ended": utc(run.ended),
        "EstimatedEnd": None if seconds is None else utc(timetable.after(now, seconds).timestamp()),
    }


def _seconds_left(run: Run, studies: int, unfinished: Amount, rate: float) -> float | None:
    """How long it takes if the rest is like what was done; None while nobody can tell."""
    done = run.studies - studies
    if run.stage is not Stage.SENDING or rate <= 0 or done <= 0:
        return None
    return (unfinished.instances + studies * run.recorded / done) / rate


def _sum(amounts: Mapping[State, Amount], states: Iterable[State]) -> Amount:
    found = [amounts.get(state, Amount()) for state in states]
    return Amount(sum(one.instances for one in found), sum(one.bytes for one in found))


def _told(amount: Amount) -> dict[str, int]:
    return {"Instances": amount.instances, "Bytes": amount.bytes}
