"""The webhook is told once of what needs a person, and once that it is over."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.reporting.alerts import LAPSES_AFTER, LEASE, Alerts
from orthanc_gcp.custody.reporting.counts import Amount, TransferCounts
from orthanc_gcp.custody.reporting.destinations import DestinationStatus
from orthanc_gcp.custody.reporting.overview import AccountOverview
from orthanc_gcp.custody.reporting.problems import Problem, ProblemKind
from orthanc_gcp.errors import WebhookError
from orthanc_gcp.ledger.destinations import AccountStore
from orthanc_gcp.outages import Outage


class Hook:
    """Keeps what it is told; refuses while it is told to."""

    def __init__(self) -> None:
        self.told, self.refuses, self.asked, self.ids = [], False, 0, []

    def __call__(self, identifier: str, document: bytes) -> None:
        self.asked += 1
        self.ids.append(identifier)
        if self.refuses:
            raise WebhookError("it answered 500")
        self.told.append(json.loads(document))

    @property
    def words(self) -> list[tuple[str, str, bool]]:
        return [(told["Account"], told["Alarm"], told["Raised"]) for told in self.told]


def alerts_of(ledger, post, worker="w"):
    outage = Outage(logging.getLogger("webhook"), "not told", "told again", SystemClock())
    return Alerts(ledger, 900, post, outage, worker=worker)


def overview(account="a", quarantined=0, age=None):
    counts = TransferCounts(waiting=Amount(7), quarantined=Amount(quarantined))
    return [AccountOverview(account, counts=counts, oldest_unsent_seconds=age)]


def test_a_quarantine_is_told_once_and_its_end_once(ledger):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    for quarantined in (0, 1, 1, 5, 0, 0, 2):
        alerts.report_changes(overview(quarantined=quarantined))
    assert hook.words == [
        ("a", "Quarantine", True),
        ("a", "Quarantine", False),
        ("a", "Quarantine", True),
    ]
    assert hook.told[0] == {
        "Account": "a",
        "Alarm": "Quarantine",
        "Raised": True,
        "Time": "2027-01-15T08:00:00.000+00:00",
        "QuarantinedInstances": 1,
        "LostInstances": 0,
        "LostChanges": 0,
        "UnprotectedPatients": 0,
        "WaitingInstances": 7,
        "OldestUnsentSeconds": None,
        "OldestAcknowledgedSeconds": None,
        "Problems": [],
    }


def test_quarantine_and_losses_are_not_over_because_the_account_is_another_store(ledger):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    counts = TransferCounts(quarantined=Amount(3), lost=Amount(2))
    place = AccountStore(1, "a", "", "projects/p/first", 0.0, 0.0)
    former = DestinationStatus(place, False, counts, None)
    alerts.report_changes([AccountOverview("a", counts=counts)])
    alerts.report_changes([AccountOverview("a", former=(former,))])
    assert hook.words == [("a", "Quarantine", True), ("a", "Loss", True)]
    alerts.report_changes([AccountOverview("a")])
    assert hook.words[2:] == [("a", "Quarantine", False), ("a", "Loss", False)]


def test_what_needs_a_person_is_told_once_and_its_end_once(ledger):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    gone = Problem(ProblemKind.INDEX, "a", "i", 3, None, "it is gone", "bring it back")
    (quiet,) = overview()
    for problems in ((), (gone,), (gone, gone), ()):
        alerts.report_changes([replace(quiet, problems=problems)])
    assert hook.words == [("a", "Problem", True), ("a", "Problem", False)]
    assert [one["Remedy"] for one in hook.told[0]["Problems"]] == ["bring it back"]


def test_a_backlog_does_not_flicker(ledger):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    for age in (None, 899, 901, 899, 905, 460, 440, 600, None):
        alerts.report_changes(overview(age=age))
    assert hook.words == [("a", "Backlog", True), ("a", "Backlog", False)]


def test_what_was_sent_and_is_never_found_is_a_backlog(ledger):
    """As an account may store and not search: nothing is unsent, and nothing is ever confirmed."""
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    for age in (None, 3600, 3601, 1801, 1799, 3000, None):
        alerts.report_changes([AccountOverview("a", oldest_acknowledged_seconds=age)])
    assert hook.words == [("a", "Backlog", True), ("a", "Backlog", False)]
    assert hook.told[0]["OldestAcknowledgedSeconds"] == 3601


def test_a_loss_is_told_until_somebody_has_acknowledged_it(ledger):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    lost = [AccountOverview("a", counts=TransferCounts(lost=Amount(2))), *overview("b")]
    unread = [AccountOverview("a", lost_changes=12), *overview("b")]
    for figures in (lost, lost, unread, overview("a")):
        alerts.report_changes(figures)
    assert hook.words == [("a", "Loss", True), ("a", "Loss", False)]
    assert hook.told[0]["LostInstances"] == 2


def test_it_is_told_when_no_more_is_protected(ledger):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    for unprotected in (0, 3, 2, 0):
        alerts.report_changes([AccountOverview("a", unprotected_patients=unprotected)])
    assert hook.words == [("a", "Protection", True), ("a", "Protection", False)]
    assert hook.told[0]["UnprotectedPatients"] == 3


def test_a_restart_tells_nothing_again(ledger):
    hook = Hook()
    alerts_of(ledger, hook).report_changes(overview(quarantined=1, age=1000))
    alerts_of(ledger, hook).report_changes(overview(quarantined=1, age=1000))
    assert hook.words == [("a", "Quarantine", True), ("a", "Backlog", True)]


def test_what_release_0_1_0_has_told_is_not_told_again_but_when_it_is_over(ledger, clock):
    ledger.key_values.set("alerts:a", {"Quarantine": True, "Backlog": False, "Until": 0})
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    alerts.report_changes(overview(quarantined=1))
    assert hook.words == []
    clock.now += LAPSES_AFTER
    alerts.report_changes(overview())
    assert hook.words == [("a", "Quarantine", False)]


def test_every_account_has_its_own_alarms(ledger):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    alerts.report_changes([*overview("a", quarantined=1), *overview("b", quarantined=1)])
    alerts.report_changes([*overview("a", quarantined=1), *overview("b")])
    assert hook.words == [
        ("a", "Quarantine", True),
        ("b", "Quarantine", True),
        ("b", "Quarantine", False),
    ]


def test_a_hook_that_is_down_is_told_later_and_ever_less_often(ledger, clock):
    hook = Hook()
    hook.refuses = True
    alerts = alerts_of(ledger, hook)
    for _ in range(3600):
        alerts.report_changes(overview(quarantined=1))
        clock.now += 1
    assert 10 < hook.asked < 30
    hook.refuses = False
    clock.now += 300
    alerts.report_changes(overview(quarantined=1))
    alerts.report_changes(overview(quarantined=1))
    assert hook.words == [("a", "Quarantine", True)]


def test_a_clock_that_is_set_back_keeps_no_alarm_from_being_told(ledger, clock):
    hook = Hook()
    hook.refuses = True
    alerts = alerts_of(ledger, hook)
    alerts.report_changes(overview(quarantined=1))
    hook.refuses = False
    clock.now -= 7200
    alerts.report_changes(overview(quarantined=1))
    assert hook.words == [("a", "Quarantine", True)]


def test_of_several_workers_one_tells(ledger, clock):
    hook = Hook()
    other = alerts_of(ledger, hook)

    def meanwhile(identifier: str, document: bytes) -> None:
        other.report_changes(overview(quarantined=1))
        hook(identifier, document)

    alerts_of(ledger, meanwhile).report_changes(overview(quarantined=1))
    assert hook.words == [("a", "Quarantine", True)]


def test_another_worker_tells_when_the_first_has_died_over_it(ledger, clock):
    hook = Hook()

    def die(_identifier: str, _document: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alerts_of(ledger, die).report_changes(overview(quarantined=1))
    alerts_of(ledger, hook).report_changes(overview(quarantined=1))
    assert hook.words == []
    clock.now += LEASE + 1
    alerts_of(ledger, hook).report_changes(overview(quarantined=1))
    assert hook.words == [("a", "Quarantine", True)]


def test_an_id_stays_until_its_alarm_was_taken_whoever_tells(ledger, clock):
    hook = Hook()
    hook.refuses = True
    for _ in range(3):
        alerts_of(ledger, hook).report_changes(overview(quarantined=1))
        clock.now += LEASE + 1
    hook.refuses = False
    alerts = alerts_of(ledger, hook)
    for quarantined in (1, 0, 1):
        alerts.report_changes(overview(quarantined=quarantined, age=1000))
    assert [told["Alarm"] for told in hook.told] == ["Quarantine", "Backlog", *["Quarantine"] * 2]
    assert len(set(hook.ids[:4])) == 1
    assert len(set(hook.ids[3:])) == 4


def unanswered(post, *lost):
    """Takes what it is told, and does not say so of some."""
    asked = []

    def take(identifier: str, document: bytes) -> None:
        asked.append(identifier)
        post(identifier, document)
        if len(asked) in lost:
            raise WebhookError("no answer")

    return take


def test_figures_of_another_age_end_no_alarm_and_begin_none_again(ledger, clock):
    hook = Hook()
    first, second = alerts_of(ledger, hook), alerts_of(ledger, hook, "another")
    for seen, seen_late in ((1, 0), (1, 0), (1, 1), (0, 1), (0, 1), (0, 0)):
        first.report_changes(overview(quarantined=seen))
        second.report_changes(overview(quarantined=seen_late))
        clock.now += 3
    assert hook.words == [("a", "Quarantine", True), ("a", "Quarantine", False)]


def test_what_one_worker_alone_knows_is_told_once_and_with_what_it_knows(ledger, clock):
    hook = Hook()
    follows, other = alerts_of(ledger, hook), alerts_of(ledger, hook, "another")
    refused = Problem(ProblemKind.SUBSCRIPTION, "a", "", 0, None, "it is refused", "see there")
    (quiet,) = overview()
    for _ in range(200):
        for alerts, problems in ((other, ()), (follows, (refused,)), (other, ())):
            alerts.report_changes([replace(quiet, problems=problems)])
        clock.now += 3
    assert hook.words == [("a", "Problem", True)]
    assert [one["Message"] for one in hook.told[0]["Problems"]] == ["it is refused"]
    other.report_changes([quiet])
    follows.report_changes([quiet])
    assert hook.words[1:] == [("a", "Problem", False)]


def test_what_a_worker_saw_that_is_gone_is_over_when_nobody_else_sees_it(ledger, clock):
    hook = Hook()
    alerts_of(ledger, hook).report_changes(overview(quarantined=1))
    other = alerts_of(ledger, hook, "another")
    other.report_changes(overview())
    assert hook.words == [("a", "Quarantine", True)]
    clock.now += LAPSES_AFTER
    other.report_changes(overview())
    assert hook.words[1:] == [("a", "Quarantine", False)]


@pytest.mark.parametrize("down", [0.0, 3600.0, -3600.0])
def test_a_worker_that_is_started_again_may_not_know_yet_what_needs_a_person(ledger, clock, down):
    hook = Hook()
    gone = Problem(ProblemKind.INDEX, "a", "i", 3, None, "it is gone", "bring it back")
    (quiet,) = overview()
    alerts_of(ledger, hook).report_changes([replace(quiet, problems=(gone,))])
    clock.now += down
    again = alerts_of(ledger, hook)
    for problems in ((), (), (gone,)):
        again.report_changes([replace(quiet, problems=problems)])
        clock.now += 30
    assert hook.words == [("a", "Problem", True)]
    again.report_changes([quiet])
    assert hook.words[1:] == [("a", "Problem", False)]


def test_what_was_mended_while_no_worker_ran_is_over_soon(ledger, clock):
    hook = Hook()
    gone = Problem(ProblemKind.INDEX, "a", "i", 3, None, "it is gone", "bring it back")
    (quiet,) = overview()
    alerts_of(ledger, hook).report_changes([replace(quiet, problems=(gone,))])
    again = alerts_of(ledger, hook)
    again.report_changes([quiet])
    clock.now += LAPSES_AFTER
    again.report_changes([quiet])
    assert hook.words == [("a", "Problem", True), ("a", "Problem", False)]


def test_an_alarm_that_may_have_been_told_is_over_though_it_ends_untold(ledger, clock):
    hook = Hook()
    alerts = alerts_of(ledger, unanswered(hook, 1))
    alerts.report_changes(overview(quarantined=1))
    clock.now += 300
    for _ in range(2):
        alerts.report_changes(overview())
    assert hook.words == [("a", "Quarantine", True), ("a", "Quarantine", False)]
    alerts.report_changes(overview(quarantined=1))
    assert hook.words[2:] == [("a", "Quarantine", True)]
    assert len(set(hook.ids)) == 3, "what has the id of another is dropped"


def test_an_alarm_whose_end_may_have_been_told_is_raised_again(ledger, clock):
    hook = Hook()
    alerts = alerts_of(ledger, unanswered(hook, 2))
    for quarantined in (1, 0, 1, 1):
        alerts.report_changes(overview(quarantined=quarantined))
        clock.now += 300
    assert [raised for *_, raised in hook.words] == [True, False, True]
    assert len(set(hook.ids)) == 3


def test_the_alarms_of_an_account_that_is_there_no_more_are_over(ledger, clock):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    alerts.report_changes([*overview("a", quarantined=1, age=1000), *overview("b")])
    for _ in range(2):
        alerts.report_changes(overview("b"))
    assert hook.words == [
        ("a", "Quarantine", True),
        ("a", "Backlog", True),
        ("a", "Quarantine", False),
        ("a", "Backlog", False),
    ]


def test_an_account_whose_alarms_are_not_taken_keeps_no_other_back(ledger, clock):
    hook = Hook()

    def post(identifier: str, document: bytes) -> None:
        if json.loads(document)["Account"] == "b":
            raise WebhookError("it answered 413")
        hook(identifier, document)

    alerts = alerts_of(ledger, post)
    for _ in range(3):
        alerts.report_changes([one for name in "abcd" for one in overview(name, quarantined=1)])
        clock.now += 300
    assert sorted(hook.words) == [(name, "Quarantine", True) for name in "acd"]


def test_what_was_reported_before_it_was_written_down_who_sees_it(ledger, clock):
    hook = Hook()
    ledger.key_values.set("alerts:a", {"raised": ["Problem"], "leased_until": 0, "ids": {}})
    gone = Problem(ProblemKind.INDEX, "a", "i", 3, None, "it is gone", "bring it back")
    (quiet,) = overview()
    alerts = alerts_of(ledger, hook)
    for problems in ((), (gone,)):
        alerts.report_changes([replace(quiet, problems=problems)])
        clock.now += 30
    assert hook.words == []


@pytest.mark.parametrize(
    "value",
    [
        {"raised": 5},
        {"raised": ["Loss"], "leased_until": "soon"},
        {"ids": ["msg_1"]},
        {"seen": {"Quarantine": ["w"]}},
        {"seen": {"Quarantine": {"v": "now"}}},
        {"told": 5},
    ],
    ids=range(6),
)
def test_a_value_that_is_none_keeps_no_alarm_back(ledger, value):
    hook = Hook()
    ledger.key_values.set("alerts:a", value)
    alerts = alerts_of(ledger, hook)
    for _ in range(2):
        alerts.report_changes([*overview("a", quarantined=1), *overview("b", quarantined=1)])
    assert hook.words == [("a", "Quarantine", True), ("b", "Quarantine", True)]


def problem(kind=ProblemKind.INDEX, index="i"):
    return Problem(kind, "a", index, 3, None, f"{kind} {index} is gone", "bring it back")


def test_another_problem_is_told_while_one_stands(ledger, clock):
    """What stands for weeks, as somebody knows of it, hides none that comes."""
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    (quiet,) = overview()
    old, new = problem(), problem(ProblemKind.ACCOUNT, "")
    for problems in ((old,), (old, new), (old, new), (old,), (old, new), (new,), ()):
        for _ in range(2):
            alerts.report_changes([replace(quiet, problems=problems)])
        clock.now += LAPSES_AFTER
    assert [told["Raised"] for told in hook.told] == [True, True, True, False]
    assert [len(told["Problems"]) for told in hook.told] == [1, 2, 2, 0]
    assert len(set(hook.ids)) == 4


def test_another_subscription_of_an_account_is_another_problem(ledger, clock):
    hook = Hook()
    alerts = alerts_of(ledger, hook)
    (quiet,) = overview()
    refused = replace(problem(ProblemKind.SUBSCRIPTION, ""), subject="one")
    both = refused, replace(refused, subject="two")
    for problems in ((refused,), both, both):
        alerts.report_changes([replace(quiet, problems=problems)])
        clock.now += 300
    assert [len(told["Problems"]) for told in hook.told] == [1, 2]


def test_another_problem_is_not_taken_for_one_that_may_have_been_told(ledger, clock):
    hook = Hook()
    alerts = alerts_of(ledger, unanswered(hook, 1))
    (quiet,) = overview()
    for problems in ((problem(),), (problem(), problem(index="j")), (problem(index="j"),)):
        alerts.report_changes([replace(quiet, problems=problems)])
        clock.now += 300
    assert [len(told["Problems"]) for told in hook.told] == [1, 2]
    assert len(set(hook.ids)) == 2


def test_a_worker_that_is_started_again_tells_no_problem_again(ledger, clock):
    hook = Hook()
    (quiet,) = overview()
    old, gone = problem(ProblemKind.ACCOUNT, ""), problem()
    alerts_of(ledger, hook).report_changes([replace(quiet, problems=(old, gone))])
    again = alerts_of(ledger, hook)
    for problems in ((old,), (old, gone)):  # it has to find out first which indexes are there
        again.report_changes([replace(quiet, problems=problems)])
        clock.now += 60
    assert len(hook.told) == 1
