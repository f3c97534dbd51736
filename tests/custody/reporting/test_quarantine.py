"""What is in quarantine, by reason; what a person has dismissed is neither sent nor waiting."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting import quarantine as module
from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.quarantine import (
    QuarantineChangedError,
    as_typed,
    counts_by_reason,
    dismiss,
    list_name,
    quarantine,
    remedy_for,
)
from orthanc_gcp.custody.reporting.receipts import receipts
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import IN_NEED, UNSETTLED, State
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.reasons import StoreReason, TransferReason
from tests.support.transfers import arrive, confirm, events_of, settle

BY = as_typed("jane")


def refused(ledger, count=1, *, study="1", account="a", reason="conflict", detail="other bytes"):
    arrive(ledger, count, study=study, account=account)
    settle(ledger, State.QUARANTINED, account=account, reason=reason, detail=detail)


def dismissed(ledger):
    return instances(ledger, Selection(state=State.DISMISSED)).items


def test_groups_by_account_and_reason_the_largest_first(ledger):
    refused(ledger, 2, study="1")
    refused(ledger, 1, study="2")
    refused(ledger, 5, study="3", reason="invalid", detail="(0010,0010)")
    refused(ledger, 1, study="4", account="b", reason="never heard of")
    arrive(ledger, 3, study="5")
    confirm(ledger)
    found = quarantine(ledger, Selection())
    assert [(one.account, one.reason, one.instances, one.studies, one.bytes) for one in found] == [
        ("a", "invalid", 5, 1, 500),
        ("a", "conflict", 3, 2, 300),
        ("b", "never heard of", 1, 1, 100),
    ]
    assert found[1].as_json()["Detail"] == "other bytes"
    assert found[1].as_json()["Example"] == "1.1.0"
    assert found[1].remedy == remedy_for("conflict") != remedy_for("never heard of")
    narrow = quarantine(ledger, Selection(account="a", study_instance_uid="2"))
    assert [one.instances for one in narrow] == [1]
    assert quarantine(ledger, Selection(account="c")) == []


def test_what_is_for_a_former_store_says_so(engine):
    from orthanc_gcp.ledger.upgrade import prepare

    prepare(engine)
    first = Ledger(engine, stores={"a": StoreName("one")})
    refused(first)
    second = Ledger(engine, stores={"a": StoreName("two")})
    arrive(second, study="2")
    (group,) = quarantine(second, Selection())
    assert (group.store, group.current) == ("one", False)
    assert "orthanc-gcp destinations" in group.remedy
    assert dismiss(second, Selection(account="a"), by=BY, why="never mind") == 1


def test_dismissed_is_neither_sent_nor_waiting_and_comes_back(ledger):
    refused(ledger, 2, study="1")
    refused(ledger, 1, study="2", reason="invalid")
    chosen = Selection(study_instance_uid="1")
    assert dismiss(ledger, chosen, by=BY, why="a phantom") == 2
    assert dismiss(ledger, chosen, by=BY, why="a phantom") == 0, "once"
    assert [one.reason for one in dismissed(ledger)] == ["conflict", "conflict"]
    assert dismissed(ledger)[0].detail == "dismissed by jane (as typed): a phantom"
    assert State.DISMISSED not in {*UNSETTLED, *IN_NEED}, "protects no patient"
    (account,) = Overview(ledger).accounts(["a"])
    assert (account.counts.dismissed.instances, account.counts.quarantined.instances) == (2, 1)
    assert account.counts.in_need.instances == 1
    (receipt,) = receipts(ledger, "1", "a")
    told = receipt.as_json()
    assert told["Complete"] is False
    assert [event["Detail"] for event in told["Events"] if event["Kind"] == "dismissed"] == [
        "dismissed by jane (as typed): a phantom"
    ] * 2
    assert len(retry(ledger)) == 1, "only what is in quarantine"
    assert len(retry(ledger, reason="conflict")) == 0
    assert len(retry(ledger, instance="1.1.0")) == 1
    assert len(retry(ledger, dismissed=True)) == 1
    assert dismissed(ledger) == ()
    assert [event.detail for event in events_of(ledger, "retried")] == [
        "invalid",
        "conflict",
        "conflict",
    ]


def test_what_was_listed_is_dismissed_and_nothing_else(ledger):
    assert list_name(ledger, Selection()) is None
    refused(ledger, 2, study="1")
    listed = list_name(ledger, Selection())
    refused(ledger, 1, study="1", account="b")
    assert dismiss(ledger, Selection(), by=BY, why="x", listed=listed) == 2
    assert [one.account for one in quarantine(ledger, Selection())] == ["b"]
    listed = list_name(ledger, Selection())
    retry(ledger, "b")
    settle(ledger, State.QUARANTINED, account="b", reason="conflict")
    for choice in (Selection(), Selection(account="a")):
        with pytest.raises(QuarantineChangedError):
            dismiss(ledger, choice, by=BY, why="x", listed=listed)
    for name in ("", "1", "1-0123456789abcdeg", "-1-0123456789abcdef"):
        with pytest.raises(ValueError, match="expected the name of a list"):
            dismiss(ledger, Selection(), by=BY, why="x", listed=name)
    listed = list_name(ledger, Selection())
    assert dismiss(ledger, Selection(), by=BY, why="x", listed=listed) == 1


def test_only_what_is_in_quarantine_is_dismissed(ledger):
    arrive(ledger, 2, study="1")
    confirm(ledger)
    arrive(ledger, 3, study="2")
    assert dismiss(ledger, Selection(), by=BY, why="all of it") == 0


def test_what_is_received_anew_is_sent(ledger, clock):
    refused(ledger)
    dismiss(ledger, Selection(), by=BY, why="broken")
    clock.now += 10
    arrive(ledger, 1, study="1", change_seq=5)
    assert dismissed(ledger) == ()
    assert len(instances(ledger, Selection(state=State.WAITING)).items) == 1


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("", "why"),
        (BY, ""),
        (BY, " \t"),
        (BY, "two\nlines"),
        (BY, "\0"),
        (BY, "\x1b[2J"),
        (BY, "\ud800"),
        (BY, "x" * 1001),
        ("x" * 201, "why"),
    ],
)
def test_words_that_no_receipt_can_hold(ledger, by, why):
    refused(ledger)
    with pytest.raises(ValueError, match="expected"):
        dismiss(ledger, Selection(), by=by, why=why)
    assert dismissed(ledger) == ()
    assert events_of(ledger, "dismissed") == []


def test_more_at_once_than_a_statement_has_parameters(ledger, monkeypatch):
    monkeypatch.setattr(module, "MOST_PARAMETERS", 2)
    refused(ledger, 5)
    assert dismiss(ledger, Selection(), by=BY, why="all") == 5
    assert len(events_of(ledger, "dismissed")) == 5


def test_every_reason_has_words():
    for reason in (*TransferReason, *StoreReason, "", "http_418"):
        assert remedy_for(reason)


def test_counted_by_account_and_reason_whatever_the_store(ledger):
    former = Ledger(ledger.engine, stores={"a": StoreName("projects/p/former")})
    refused(former, 2, study="0")
    refused(ledger, 3)
    refused(ledger, 1, study="2", account="b", reason="invalid")
    assert counts_by_reason(ledger) == {("a", "conflict"): 5, ("b", "invalid"): 1}
