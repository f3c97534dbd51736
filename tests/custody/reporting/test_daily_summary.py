"""A day in figures, told once."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.reporting.daily_summary import DAY, LEASE, DailySummary, Period, days_of
from orthanc_gcp.errors import MailError
from orthanc_gcp.ledger.schema import Priority, State
from orthanc_gcp.outages import Outage
from tests.support.transfers import arrive, confirm, settle

HOUR = 3600.0
SEVEN = 7


class Post:
    """Keeps what it is given; refuses while it is told to."""

    def __init__(self) -> None:
        self.documents, self.ids, self.refuses = [], [], False

    def __call__(self, identifier, document) -> None:
        self.ids.append(identifier)
        if self.refuses:
            raise MailError("it answered 451")
        self.documents.append(json.loads(document))


@pytest.fixture
def post():
    return Post()


@pytest.fixture
def morning(clock):
    """Midnight of the first day, in UTC."""
    clock.now -= clock.now % DAY
    return clock.now


def summary_of(ledger, post, channel="e-mail"):
    outage = Outage(logging.getLogger("summary"), "not told", "told again", SystemClock())
    local = lambda moment: datetime.fromtimestamp(moment, UTC)  # noqa: E731
    return DailySummary(ledger, ["a", "idle"], SEVEN, post, outage, channel, local)


def test_what_was_received_and_confirmed_and_what_was_not(ledger, clock, post, morning):
    clock.now = morning - 30 * HOUR
    arrive(ledger, 1, study="0", size=7)  # before that day, and still there
    settle(ledger, State.QUARANTINED, reason="conflict", detail="secret words")
    clock.now = morning
    arrive(ledger, 3, study="1", size=10)
    settle(ledger, State.LOST, 1, reason="recycled")
    confirm(ledger)
    arrive(ledger, 1, study="2", size=5, account="b")
    clock.now = morning + SEVEN * HOUR
    summary_of(ledger, post).send_if_due()
    (document,) = post.documents
    assert document["Summary"] == "Daily"
    assert document["Since"] < document["Until"]
    first, second, idle = document["Accounts"]
    assert (first["Account"], second["Account"], idle["Account"]) == ("a", "b", "idle")
    assert first["Received"] == {"Instances": 3, "Bytes": 30}
    assert first["Confirmed"] == {"Instances": 2, "Bytes": 20}
    assert [
        (one["State"], one["Reason"], one["Instances"], one["Bytes"])
        for one in first["NotConfirmed"]
    ] == [("lost", "recycled", 1, 10), ("quarantined", "conflict", 1, 7)]
    assert [one["State"] for one in second["NotConfirmed"]] == ["waiting"]
    assert idle["Received"] == {"Instances": 0, "Bytes": 0}
    assert idle["NotConfirmed"] == []
    assert "secret" not in json.dumps(document)


def test_once_a_day_whatever_is_restarted(ledger, clock, post, morning):
    for hours in range(0, 73, 1):
        clock.now = morning + hours * HOUR
        summary_of(ledger, post).send_if_due()  # each time another process
        summary_of(ledger, post).send_if_due()
    ends = [document["Until"] for document in post.documents]
    assert [end[11:13] for end in ends] == ["07", "07", "07"]
    assert [document["Since"] for document in post.documents][1:] == ends[:-1], (
        "nothing is left out"
    )


def test_a_worker_that_was_down_is_late(ledger, clock, post, morning):
    for hours in (SEVEN, 24 + 15, 24 + 16):
        clock.now = morning + hours * HOUR
        summary_of(ledger, post).send_if_due()
    assert [document["Until"][11:13] for document in post.documents] == ["07", "15"]


def test_an_hour_that_was_over_when_it_was_set_begins_the_next_day(ledger, clock, post, morning):
    clock.now = morning + 15 * HOUR
    summary = summary_of(ledger, post)
    summary.send_if_due()
    assert post.documents == []
    clock.now = morning + (24 + SEVEN) * HOUR
    summary.send_if_due()
    assert len(post.documents) == 1


def test_what_is_not_taken_is_sent_again_under_its_id(ledger, clock, post, morning):
    clock.now = morning + SEVEN * HOUR
    summary, post.refuses = summary_of(ledger, post), True
    summary.send_if_due()
    summary.send_if_due()
    assert len(post.ids) == 1, "there is a pause"
    post.refuses = False
    clock.now += 400
    summary.send_if_due()
    summary.send_if_due()
    assert (len(post.documents), len(post.ids), len(set(post.ids))) == (1, 2, 1)


def test_a_clock_that_is_set_back_makes_no_longer_pause(ledger, clock, post, morning):
    clock.now = morning + SEVEN * HOUR
    summary_of(ledger, post).send_if_due()
    clock.now += DAY + 2 * HOUR
    summary, post.refuses = summary_of(ledger, post), True
    summary.send_if_due()
    post.refuses = False
    clock.now -= 2 * HOUR
    summary.send_if_due()
    assert len(post.documents) == 2


def test_of_several_workers_one_sends_and_another_when_it_has_died(ledger, clock, post, morning):
    clock.now = morning + SEVEN * HOUR

    class Died(BaseException):
        pass

    def die(*_):
        raise Died

    with pytest.raises(Died):
        summary_of(ledger, die).send_if_due()
    other = summary_of(ledger, post)
    other.send_if_due()
    assert post.documents == []
    clock.now += LEASE + 1
    other.send_if_due()
    assert len(post.documents) == 1


def test_ways_do_not_count_for_each_other(ledger, clock, post, morning):
    clock.now = morning + SEVEN * HOUR
    summary_of(ledger, post, "webhook").send_if_due()
    summary_of(ledger, post, "e-mail").send_if_due()
    assert len(post.documents) == 2


@pytest.mark.parametrize("value", [{}, {"day": "2999-01-01"}, {"day": None, "until": 1e300}])
def test_a_clock_that_was_wrong_or_a_value_that_is_none(ledger, clock, post, morning, value):
    ledger.key_values.set("daily-summary:e-mail", value)
    for day in (0, 1):
        clock.now = morning + (24 * day + SEVEN) * HOUR
        summary_of(ledger, post).send_if_due()
    assert post.documents[-1]["Until"][11:13] == "07"
    assert post.documents[-1]["Since"] < post.documents[-1]["Until"]


def test_nothing_at_all(ledger, clock):
    assert days_of(ledger, [], Period(clock.now - DAY, clock.now)) == []


def test_what_may_have_been_taken_is_sent_again_about_the_same_time(ledger, clock, post, morning):
    """A receiver drops what has an id that it has seen: nothing else may stand in it."""
    clock.now = morning + SEVEN * HOUR
    post.refuses = True
    for _ in range(3):
        summary_of(ledger, post).send_if_due()
        clock.now += HOUR
    arrive(ledger, 1, study="2", size=5)
    post.refuses = False
    summary_of(ledger, post).send_if_due()
    clock.now = morning + (24 + SEVEN) * HOUR
    summary_of(ledger, post).send_if_due()
    first, second = post.documents
    assert len(set(post.ids[:-1])) == 1
    assert first["Until"][11:13] == "07"
    assert second["Since"] == first["Until"]
    assert [one["Accounts"][0]["Received"]["Instances"] for one in (first, second)] == [0, 1]


def test_the_next_day_has_an_id_of_its_own(ledger, clock, post, morning):
    clock.now = morning + SEVEN * HOUR
    post.refuses = True
    summary_of(ledger, post).send_if_due()
    post.refuses = False
    clock.now = morning + (24 + SEVEN) * HOUR
    summary_of(ledger, post).send_if_due()
    assert len(set(post.ids)) == 2
    assert post.documents[0]["Until"][:10] > post.documents[0]["Since"][:10]


def test_what_is_written_down_after_a_summary_is_in_the_next(ledger, clock, post, morning):
    """A worker that was down sends a late summary before it has read what Orthanc received."""
    clock.now = morning + (SEVEN - 1) * HOUR
    arrive(ledger, 1, study="1", size=5)
    received = clock.now
    clock.now = morning + SEVEN * HOUR
    summary_of(ledger, post).send_if_due()
    arrive(ledger, 2, study="2", size=5, received_at=received)
    arrive(ledger, 3, study="3", size=5, received_at=received, priority=Priority.BACKFILL)
    arrive(ledger, 4, study="4", size=5)
    clock.now = morning + (24 + SEVEN) * HOUR
    summary_of(ledger, post).send_if_due()
    counts = [one["Accounts"][0]["Received"]["Instances"] for one in post.documents]
    assert counts == [1, 6]
