"""What needs a person is said once, again after hours, and when it is over."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from orthanc_gcp.custody.reporting.problems import Problem, ProblemKind
from orthanc_gcp.worker.problem_log import REMIND_EVERY, ProblemLog
from tests.support.simulation import FakeClock

GONE = Problem(ProblemKind.INDEX, "a", "orthanc", 3, None, "3 instances wait: it is gone", "do so")
NEW = Problem(ProblemKind.LEDGER, "", "orthanc", 9, None, "this ledger is a new one", "restore")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def there():
    return [GONE]


@pytest.fixture
def log(there, clock, caplog):
    caplog.set_level(logging.WARNING)
    return ProblemLog(lambda: there, clock)


def test_it_is_said_once(log, caplog):
    for _ in range(5):
        assert log.report()
    assert caplog.messages == ["account a: 3 instances wait: it is gone; do so"]
    assert caplog.records[0].levelname == "ERROR"


def test_two_of_one_kind_are_said_both(log, there, caplog):
    there[:] = [replace(GONE, subject=one, message=f"{one} is refused") for one in ("x", "y")]
    log.report()
    there.pop()
    log.report()
    assert caplog.messages == [
        "account a: x is refused; do so",
        "account a: y is refused; do so",
        "account a: nothing waits any more for the index orthanc (y)",
    ]


def test_it_is_said_again_after_hours(log, clock, caplog):
    log.report()
    clock.time += REMIND_EVERY - 1
    log.report()
    assert len(caplog.messages) == 1
    clock.time += 2
    log.report()
    log.report()
    assert len(caplog.messages) == 2


def test_its_end_is_said(log, there, caplog):
    log.report()
    there[:] = [NEW]
    log.report()
    there.clear()
    log.report()
    assert caplog.messages[1:] == [
        "this ledger is a new one; restore",
        "account a: nothing waits any more for the index orthanc",
        "nothing waits any more for the ledger orthanc",
    ]
    there[:] = [GONE]
    log.report()
    assert caplog.messages[-1] == caplog.messages[0], "it is there again"
