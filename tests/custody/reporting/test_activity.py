"""Who works on a ledger, as the page shows it."""

from __future__ import annotations

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import BackfillOptions
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.custody.reporting.activity import UNCHANGED_FOR, Activity
from orthanc_gcp.ledger.workers import worker_registry
from tests.support.transfers import arrive


def activity(ledger, *monotonic):
    more = [iter(monotonic).__next__] if monotonic else []
    return Activity(ledger, {"a"}, BackfillOptions(), SystemClock(), *more)


def test_nothing(ledger):
    assert activity(ledger).as_json() == {
        "Orthancs": [],
        "Workers": [],
        "Senders": [],
        "Backfills": [],
    }


def test_an_orthanc_that_is_here_and_one_that_is_gone(ledger, clock):
    ledger.indexes.begin("gone", 0, ledger.now())
    clock.now += 3600
    ledger.indexes.begin("o", 0, ledger.now(), known=ledger.indexes.all())
    arrive(ledger, 3, size=100)
    most = {"most_instances": 2, "most_bytes": 10**9, "most_batches": 9}
    ledger.queue.claim("a", "o", "b", "w", **most)
    BackfillStudies(ledger, "o", ["a"]).restart()
    found = activity(ledger).as_json()
    gone, here = found["Orthancs"]
    assert (gone["Index"], here["Index"]) == ("gone", "o")
    assert "no Orthanc" in gone["Problem"]
    assert (here["OpenInstances"], here["Problem"]) == (3, None)
    sender = {"Worker": "w", "Account": "a", "Requests": 1, "Instances": 2, "Bytes": 200}
    assert found["Senders"] == [sender]
    assert [(one["Index"], one["State"]) for one in found["Backfills"]] == [("o", "Listing")]


def test_a_worker_that_is_idle(ledger):
    registry = worker_registry(ledger.engine, "w", SystemClock())
    registry.join()
    found = activity(ledger).as_json()
    registry.leave()
    assert (found["Workers"], found["Senders"]) == (["w"], [])


def test_what_takes_long_is_not_read_each_time(ledger):
    asked = activity(ledger, 0.0, 1.0, 5.0, 11.5, 12.0)
    first = asked.as_json()
    assert asked.as_json() is first
    ledger.key_values.set("something", 1.0)
    assert asked.as_json() is not first


def test_what_has_not_changed_is_not_read_each_time(sqlite_ledger):
    sqlite_ledger.key_values.set("something", 1.0)  # there is a write-ahead log from now on
    asked = activity(sqlite_ledger, 0.0, 0.0, UNCHANGED_FOR - 1, UNCHANGED_FOR + 1, 100.0)
    first = asked.as_json()
    assert asked.as_json() is first
    assert asked.as_json() is not first


def test_a_backfill_that_runs_is_paused_and_goes_on(ledger):
    ledger.indexes.begin("o", 0, ledger.now())
    asked = activity(ledger, *map(float, range(20)))
    with pytest.raises(KeyError):
        asked.steer_backfill("o", paused=True)
    studies = BackfillStudies(ledger, "o", ["a"])
    studies.restart()
    for paused in (True, False):
        asked.steer_backfill("o", paused=paused)
        assert asked.as_json()["Backfills"][0]["Paused"] is paused
        assert studies.paused is paused
    studies.finish(studies.run)
    with pytest.raises(KeyError):
        asked.steer_backfill("o", paused=True)
