"""Instances are told one by one, page by page."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.pages import LARGEST_PAGE
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.selection import Selection
from tests.support.ledgers import BEGIN
from tests.support.transfers import arrive, settle


def test_instances_are_told_page_by_page(ledger):
    arrive(ledger, 25)
    found, after = [], ""
    pages = 0
    while after is not None:
        page = instances(ledger, Selection(account="a"), after, 10)
        after = page.following
        found += [entry.sop_instance_uid for entry in page.items]
        pages += 1
    assert pages == 3
    assert found == [f"1.1.1.{number}" for number in range(25)]
    with pytest.raises(ValueError, match="invalid literal"):
        instances(ledger, Selection(), "no number")


def test_no_page_is_larger_than_the_largest(ledger):
    arrive(ledger, LARGEST_PAGE + 1)
    page = instances(ledger, Selection(), limit=10**9)
    assert len(page.items) == LARGEST_PAGE
    assert len(instances(ledger, Selection(), page.following).items) == 1


def test_an_instance_is_told_with_reason_and_times(ledger):
    arrive(ledger)
    settle(
        ledger, State.DELAYED, reason="other", detail="busy", next_attempt_at=BEGIN + 5, attempts=2
    )
    (told,) = instances(ledger, Selection()).items
    assert told.as_json() == {
        "Account": "a",
        "Store": None,
        "Source": "o",
        "Resource": "1.1-0",
        "Study": "1.1",
        "Series": "1.1.1",
        "Instance": "1.1.1.0",
        "Bytes": 100,
        "Sha256": None,
        "State": "delayed",
        "Priority": "Live",
        "Attempts": 2,
        "Reason": "other",
        "Detail": "busy",
        "NextTry": "2027-01-15T08:00:05.000+00:00",
        "Received": "2027-01-15T08:00:00.000+00:00",
        "Acknowledged": None,
        "Confirmed": None,
    }
