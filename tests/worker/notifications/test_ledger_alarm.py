"""A ledger that cannot be used is told of, though nothing can stand in it."""

from __future__ import annotations

import json
import logging

import pytest
import sqlalchemy as sql

from orthanc_gcp import configuration
from orthanc_gcp.custody.intake.open_transfers import SEEN_WITHIN
from orthanc_gcp.custody.reporting.alerts import SAID_EVERY
from orthanc_gcp.custody.reporting.counts import Amount, TransferCounts
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.custody.reporting.problems import unsent
from orthanc_gcp.errors import NetworkError
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import NetworkFault
from orthanc_gcp.worker.attempts import Attempts
from orthanc_gcp.worker.notifications.ledger_alarm import LedgerAlarm
from orthanc_gcp.worker.notifications.notifier import Notifier
from orthanc_gcp.worker.progress import Progress
from tests.support.simulation import FakeClock

WAITING = AccountOverview("a", counts=TransferCounts(waiting=Amount(3)))


class Receiver:
    """Takes what is told, unless it is away."""

    def __init__(self) -> None:
        self.told: list[dict] = []
        self.identifiers: list[str] = []
        self.is_away = False

    def post(self, identifier: str, document: bytes) -> None:
        if self.is_away:
            raise NetworkError("nobody answers", fault=NetworkFault.CONNECTION)
        self.identifiers.append(identifier)
        self.told.append(json.loads(document))


@pytest.fixture
def steady():
    return FakeClock()


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def alarm(receiver, steady):
    return LedgerAlarm(receiver.post, Outage(logging.getLogger("w"), "down", "up", steady), steady)


def test_one_account_after_the_other(alarm, receiver, steady):
    """A receiver may take as long as a step of a worker may, and so may all of them together."""
    accounts = [AccountOverview(name, counts=TransferCounts()) for name in "abc"]
    alarm.failed(accounts, "disk full")
    steady.time += SEEN_WITHIN
    for told in range(1, 5):
        alarm.failed(accounts, "disk full")
        assert len(receiver.told) == min(told, 3)
    for told in range(4, 8):
        alarm.works(accounts)
        assert len(receiver.told) == min(told, 6)
    assert [(one["Account"], one["Raised"]) for one in receiver.told] == [
        *((name, True) for name in "abc"),
        *((name, False) for name in "abc"),
    ]


def test_it_is_told_once_and_its_end(alarm, receiver, steady):
    began = steady.utc().timestamp()
    alarm.failed([WAITING], "disk full")
    steady.time += SEEN_WITHIN - 1
    alarm.failed([WAITING], "disk full")
    assert receiver.told == [], "it may be over soon"
    steady.time += 1
    for _ in range(3):
        alarm.failed([WAITING], "disk full")
    (raised,) = receiver.told
    assert (raised["Account"], raised["Alarm"], raised["Raised"]) == ("a", "Problem", True)
    assert raised["WaitingInstances"] == 3
    (problem,) = raised["Problems"]
    assert problem["Kind"] == "worker"
    assert "the ledger cannot be used: disk full" in problem["Message"]
    assert problem["Since"] == unsent(began, "").as_json()["Since"]
    for _ in range(3):
        alarm.works([WAITING])
    assert [one["Raised"] for one in receiver.told] == [True, False]
    assert len(set(receiver.identifiers)) == 2


def test_a_moment_without_it_is_told_to_nobody(alarm, receiver, steady):
    for _ in range(5):
        alarm.failed([WAITING], "locked")
        steady.time += SEEN_WITHIN - 1
        alarm.works([WAITING])
    assert receiver.told == []


def test_the_end_is_that_of_what_else_there_is(alarm, receiver, steady):
    alarm.failed([WAITING], "disk full")
    steady.time += SEEN_WITHIN
    alarm.failed([WAITING], "disk full")
    alarm.works([WAITING.with_problems(unsent(0.0, "something else"))])
    alarm.works([WAITING])
    assert [one["Raised"] for one in receiver.told] == [True]


def test_what_is_not_taken_is_told_later(alarm, receiver, steady):
    alarm.failed([WAITING], "disk full")
    steady.time += SEEN_WITHIN
    receiver.is_away = True
    alarm.failed([WAITING], "disk full")
    receiver.is_away = False
    alarm.failed([WAITING], "disk full")
    assert receiver.told == []
    steady.time += 5
    alarm.failed([WAITING], "disk full")
    assert len(receiver.told) == 1


def test_a_ledger_that_may_only_be_read(postgresql_ledger, clock, receiver, steady):
    ledger = postgresql_ledger
    settings = configuration.read({"GoogleCloudPlatform": {}})
    attempts = Attempts(steady, Progress())
    more = (receiver.post, settings, ledger, lambda: [WAITING], attempts, steady, "w")
    notifier = Notifier("webhook", *more)
    notifier.open()
    notifier._check()

    def refuse(_connection, _cursor, statement, *_):
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            raise sql.exc.OperationalError(statement, {}, Exception("it may only be read"))

    sql.event.listen(ledger.engine, "before_cursor_execute", refuse)
    for _ in range(3):
        clock.now += SAID_EVERY + SEEN_WITHIN
        steady.time += SEEN_WITHIN
        with pytest.raises(sql.exc.OperationalError):
            notifier._check()
    assert [one["Raised"] for one in receiver.told] == [True]
    sql.event.remove(ledger.engine, "before_cursor_execute", refuse)
    notifier._check()
    assert [one["Raised"] for one in receiver.told] == [True, False]
