"""Steps that are made again and again: their pauses, and what the log says of those that fail."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
import sqlalchemy as sql

from orthanc_gcp.errors import OrthancError, OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.worker.attempts import (
    BACKOFF,
    DISPATCHING,
    FOLLOWING,
    IDLE,
    Attempts,
    Failing,
)
from orthanc_gcp.worker.progress import Progress


class Steps:
    """A clock, and the attempts that go by it."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.attempts = Attempts(self, Progress())

    def now(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def make(self, step, what="dispatch", pause=0.0):
        self.seconds += 1
        return self.attempts.make(what, step, pause, (0.25, 0.5))


@pytest.fixture
def steps(caplog):
    caplog.set_level(logging.WARNING)
    return Steps()


def failing(error):
    def step():
        raise error

    return step


def ledger_error(words="unable to open database file\n[SQL: SELECT 'hush']"):
    return sql.exc.OperationalError("SELECT 'hush'", {}, Exception(words))


def test_pauses_of_steps_that_work(steps):
    assert steps.make(lambda: True) == 0.25
    assert steps.make(lambda: False) == 0.5


@pytest.mark.parametrize(
    "error", [OrthancUnavailableError("no answer"), ledger_error(), ValueError("x")]
)
def test_pauses_grow_up_to_the_longest(steps, error):
    pause, pauses = 0.0, []
    for _ in range(8):
        pause = steps.make(failing(error), pause=pause)
        pauses.append(pause)
    assert pauses[:3] == [2 * IDLE, 4 * IDLE, 8 * IDLE]
    assert pauses[-1] == BACKOFF.longest


def test_what_is_away_is_told_once_whoever_asks(steps, caplog):
    for what in ("dispatch", "backfill", FOLLOWING):
        steps.make(failing(ledger_error()), what)
    assert steps.attempts.ledger.active
    (line,) = caplog.messages
    assert line.startswith("the ledger cannot be reached: unable to open")
    assert "hush" not in line
    for what in ("dispatch", "backfill"):
        steps.make(lambda: True, what)
    assert steps.attempts.ledger.active, "one of the loops has not seen it yet"
    steps.make(lambda: True, FOLLOWING)
    assert caplog.messages[1:] == ["the ledger is reached again after 5 s"]


def test_orthanc_is_away(steps, caplog):
    steps.make(failing(OrthancUnavailableError("no answer")), FOLLOWING)
    steps.attempts.orthanc_away(OrthancUnavailableError("no answer"), 1.0)
    steps.make(lambda: True, FOLLOWING)
    assert [line.partition(":")[0] for line in caplog.messages] == [
        "cannot follow Orthanc",
        "Orthanc is followed again after 1 s",
    ]


def test_that_orthanc_is_not_followed_for_long_is_known(steps):
    steps.make(failing(OrthancUnavailableError("no answer")), FOLLOWING)
    steps.make(lambda: True)
    assert steps.attempts.failing(FOLLOWING, 5) is None
    steps.seconds += 5
    steps.make(failing(OrthancError("a copy")), FOLLOWING)
    found = steps.attempts.failing(FOLLOWING, 5)
    assert found == Failing(1001.0, 1001.0, "a copy", is_own=True)
    steps.make(failing(OrthancRefusedError("a password")), FOLLOWING)
    refused = steps.attempts.failing(FOLLOWING, 5)
    assert refused == found._replace(words="a password", is_own=False)
    steps.make(lambda: False, FOLLOWING)
    assert steps.attempts.failing(FOLLOWING, 0) is None


@pytest.mark.parametrize("what", [FOLLOWING, DISPATCHING])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ledger_error("attempt to write a readonly database"),
            "the ledger cannot be used: attempt to write a readonly database",
        ),
        (ValueError("hush"), "unexpected ValueError, the log says where"),
    ],
    ids=["ledger", "defect"],
)
def test_whatever_a_loop_fails_at_for_long_is_known(steps, what, error, words):
    steps.make(failing(error), what)
    steps.seconds += 5
    steps.make(failing(error), what)
    assert steps.attempts.failing(what, 5) == Failing(1001.0, 1001.0, words, is_own=False)
    steps.make(lambda: True, what)
    assert steps.attempts.failing(what, 0) is None


def test_a_defect_has_its_place_once_and_not_its_message(steps, caplog):
    for _ in range(3):
        steps.make(failing(ValueError("hush")))
    outage, places = caplog.messages
    assert outage.startswith("cannot dispatch: unexpected ValueError; since")
    assert places.startswith("cannot dispatch: unexpected ValueError\n")
    assert "in step" in places and "hush" not in caplog.text
    steps.make(lambda: True)
    assert caplog.messages[-1].startswith("it can dispatch again after")
