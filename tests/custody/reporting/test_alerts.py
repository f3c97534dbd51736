"""The webhook is told once of what needs a person, and once that it is over."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.reporting.alerts import LEASE, Alerts
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


def alerts_of(ledger, post):
    outage = Outage(logging.getLogger("webhook"), "not told", "told again", SystemClock())
    return Alerts(ledger, 900, post, outage)


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
