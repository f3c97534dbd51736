"""Rate and backlog of the last day are written down in steps, so many as a day has."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.custody.reporting.history import STEP, STEPS, History, history
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.ledger.schema import transfer_history
from tests.support.transfers import arrive, confirm


def noting(ledger):
    return History(ledger, lambda: Overview(ledger).accounts(["a", "b"]))


def rows(ledger):
    with ledger.reading() as connection:
        return connection.scalar(sql.select(sql.func.count()).select_from(transfer_history))


def test_a_step_is_written_once_and_gives_the_rate_since_the_one_before(ledger, clock):
    own, other = noting(ledger), noting(ledger)
    assert own.note()
    assert not own.note()
    assert history(ledger, "a")["Steps"] == []
    arrive(ledger, 60, size=100)
    confirm(ledger)
    arrive(ledger, 3, study="2", size=100)
    clock.now += 2 * STEP
    assert own.note()
    assert other.note()
    (step,) = history(ledger, "a")["Steps"]
    assert step == {
        "Time": "2027-01-15T08:20:00.000+00:00",
        "Seconds": 1200,
        "InstancesPerSecond": 0.05,
        "BytesPerSecond": 5.0,
        "UnsentInstances": 3,
        "UnsentBytes": 300,
    }
    assert [one["UnsentInstances"] for one in history(ledger, "b")["Steps"]] == [0]
    assert history(ledger, "nobody")["Steps"] == []


def test_less_that_is_confirmed_is_no_rate_below_nothing(ledger, clock):
    arrive(ledger, 2)
    confirm(ledger)
    assert noting(ledger).note()
    clock.now += STEP
    assert noting(ledger).note()
    with ledger.writing() as connection:
        newest = transfer_history.update().where(transfer_history.c.noted_at == ledger.now())
        connection.execute(newest.values(confirmed_instances=0, confirmed_bytes=0))
    (step,) = history(ledger, "a")["Steps"]
    assert (step["InstancesPerSecond"], step["BytesPerSecond"]) == (0, 0)


def test_it_has_an_end_and_a_clock_that_is_set_back_takes_nothing_with_it(ledger, clock):
    own = noting(ledger)
    for _ in range(STEPS + 5):
        assert own.note()
        clock.now += STEP
    assert rows(ledger) == 2 * STEPS
    assert len(history(ledger, "a")["Steps"]) == STEPS - 2  # the newest is not written yet
    clock.now -= 10 * STEP
    assert own.note()
    assert rows(ledger) == 2 * (STEPS - 9)
