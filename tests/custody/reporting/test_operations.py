"""What people may do: pause, resume, retry."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.operations import (
    not_retried,
    pause,
    paused_accounts,
    resume,
    retry,
)
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.ledger.schema import UNSURE, State
from orthanc_gcp.ledger.selection import Selection
from tests.support.transfers import arrive, confirm, events_of, settle


@pytest.mark.parametrize(
    ("chosen", "moved"),
    [
        ({}, 5),
        ({"account": "a"}, 4),
        ({"account": "b"}, 1),
        ({"account": "a", "reason": "invalid"}, 2),
        ({"study": "2"}, 2),
        ({"instance": "2.1.1"}, 1),
        ({"study": "4"}, 2),  # withdrawn: only by name
        ({"account": "a", "instance": "4.1.0"}, 1),
        ({"reason": "deleted"}, 0),
        ({"study": "5"}, 0),  # confirmed
    ],
)
def test_retry_sends_what_was_chosen(ledger, chosen, moved):
    for study, account, verdict in (
        (
            "1",
            "a",
            {
                "state": State.QUARANTINED,
                "reason": "invalid",
                "max_batch_instances": 1,
                "attempts": 7,
            },
        ),
        ("2", "a", {"state": State.QUARANTINED, "reason": "conflict", "replace": True}),
        ("3", "b", {"state": State.QUARANTINED, "reason": "invalid"}),
        ("4", "a", {"state": State.WITHDRAWN, "reason": "deleted"}),
    ):
        arrive(ledger, 1 if account == "b" else 2, study=study, account=account)
        settle(ledger, account=account, **verdict)
    arrive(ledger, 1, study="5")
    confirm(ledger)
    assert len(retry(ledger, **chosen)) == moved
    waiting = instances(ledger, Selection(state=State.WAITING)).items
    assert len(waiting) == moved
    assert all(entry.attempts == 0 and entry.reason is None for entry in waiting)
    for account in "ab":
        claimed = ledger.queue.claim(
            account, "o", account, "w", most_instances=9, most_bytes=10**9, most_batches=9
        )
        assert all(row.max_batch_instances is None and not row.replace for row in claimed)
    assert len(events_of(ledger, "retried")) == moved


def test_retry_forgets_the_digest_of_what_was_never_stored(ledger):
    """With one, an instance that is deleted in Orthanc would count as lost by the store."""
    for study, reason in (("1", "conflict"), ("2", "refused"), ("3", "lost")):
        arrive(ledger, study=study)
        settle(ledger, state=State.QUARANTINED, reason=reason, sha256="abc")
    assert len(retry(ledger)) == 3
    waiting = instances(ledger, Selection(state=State.WAITING)).items
    found = {entry.study_instance_uid: entry.sha256 for entry in waiting}
    assert found == {"1": None, "2": None, "3": "abc"}


def test_retry_remembers_that_the_store_may_have_another_version(ledger):
    for study, outcome in (
        ("1", {"reason": "x", "replace": True}),
        ("2", {"reason": "conflict"}),
        ("3", {"reason": "x"}),
    ):
        arrive(ledger, study=study)
        settle(ledger, state=State.QUARANTINED, sha256="abc", **outcome)
    assert len(retry(ledger)) == 3
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    claimed = ledger.queue.claim("a", "o", "b", "w", **limits)
    assert [(row.stored_sha256, row.replace) for row in claimed] == [
        (UNSURE, False),
        (UNSURE, False),
        (None, False),
    ]


def test_retry_leaves_what_no_request_can_name(ledger):
    arrive(ledger, study="..")
    arrive(ledger, study="1")
    settle(ledger, state=State.QUARANTINED, reason="conflict")
    assert len(retry(ledger, study="..")) == 0
    assert not_retried(ledger, Selection("a", study_instance_uid="..")) == 1
    assert len(retry(ledger)) == 1
    assert not_retried(ledger, Selection()) == 1
    assert not_retried(ledger, Selection(), dismissed=True) == 0
    assert len(events_of(ledger, "retried")) == 1


def test_who_gave_up_has_all_the_time_again(ledger, clock):
    arrive(ledger)
    clock.now += 5000
    ledger.queue.give_up("a", "o", clock.now - 1000)
    assert len(retry(ledger, "a")) == 1
    ledger.queue.give_up("a", "o", clock.now - 1000)
    assert instances(ledger, Selection(state=State.QUARANTINED)).items == ()


def test_a_pause_stays_and_is_written_down_once(ledger):
    pause(ledger, "a")
    pause(ledger, "a")
    pause(ledger, "b_c%")
    assert paused_accounts(ledger) == {"a", "b_c%"}
    assert [one.paused for one in Overview(ledger).accounts(["a", "b"])] == [True, False]
    resume(ledger, "a")
    assert paused_accounts(ledger) == {"b_c%"}
    assert [event.account for event in events_of(ledger, "paused")] == ["a", "b_c%"]
    assert [event.account for event in events_of(ledger, "resumed")] == ["a"]
