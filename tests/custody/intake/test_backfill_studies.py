"""The list of a backfill's studies, and how far it is, as all workers see it."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.intake import backfill_studies as module
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies, Run, Stage
from orthanc_gcp.ledger.schema import Priority, State
from tests.support.ledgers import BEGIN
from tests.support.transfers import arrive, confirm, settle


@pytest.fixture
def studies(ledger):
    return BackfillStudies(ledger, "o", ["a"])


def test_a_run_from_its_beginning_to_its_end(ledger, studies, clock):
    assert studies.run is None
    studies.restart()
    run = studies.run
    assert run == Run(1, Stage.LISTING, BEGIN)
    studies.add([("s1", "20260101T000000"), ("s2", "20260102T000000")])
    studies.listed(run)
    assert (studies.run.stage, studies.run.studies) == (Stage.SENDING, 2)
    studies.drop(run, ["s1"], 5)
    studies.drop(run, [], 2)
    assert (studies.left(), studies.run.recorded) == (1, 7)
    studies.drop(run, ["s2"], 0, gone=1, recycled=1)
    clock.now += 60
    studies.finish(run)
    ended = Run(1, Stage.FINISHED, BEGIN, BEGIN + 60, 2, 7, gone=1, recycled=1)
    assert studies.run == ended


def test_nothing_of_an_older_run_changes_a_newer_one(studies):
    studies.restart()
    old = studies.run
    studies.restart()
    new = studies.run
    assert new.number == 2
    studies.listed(old)
    studies.drop(old, [], 9)
    studies.finish(old)
    assert studies.run == new


def test_newest_first_and_each_once(studies, monkeypatch):
    monkeypatch.setattr(module, "_PORTION", 2)
    studies.add([(f"s{number}", f"2026010{number}T000000") for number in range(1, 6)])
    studies.add([("s3", "20270101T000000"), ("s9", "20251231T000000")])
    assert studies.newest(10) == ["s5", "s4", "s3", "s2", "s1", "s9"]
    assert studies.newest(2) == ["s5", "s4"]
    studies.clear()
    assert studies.left() == 0


def test_each_orthanc_has_its_own(ledger, studies):
    other = BackfillStudies(ledger, "other", ["a"])
    other.add([("s1", "20260101T000000")])
    other.restart()
    other.pause()
    assert (studies.left(), studies.run, studies.paused) == (0, None, False)
    studies.clear()
    assert other.left() == 1
    assert other.paused
    other.resume()
    assert not BackfillStudies(ledger, "other", ["a"]).paused


def test_only_what_is_backfilled_counts(ledger, studies):
    arrive(ledger, 3, study="1")
    assert (studies.unsent(), studies.any_unsettled()) == (0, False)
    confirm(ledger)
    arrive(ledger, 2, study="2", priority=Priority.BACKFILL)
    assert (studies.unsent(), studies.any_unsettled()) == (2, True)
    rows = settle(ledger, State.ACKNOWLEDGED, sha256="d")
    assert (studies.unsent(), studies.any_unsettled()) == (0, True)
    ledger.confirmations.confirm(dict.fromkeys(rows, ledger.now()))
    assert not studies.any_unsettled()
    assert not BackfillStudies(ledger, "other", ["a"]).any_unsettled()
