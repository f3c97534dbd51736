"""What there is of each store, and of those that accounts name no more."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.reporting.destinations import destinations, former_destinations
from orthanc_gcp.custody.reporting.instances import instances
from orthanc_gcp.custody.reporting.operations import not_retried, retry
from orthanc_gcp.custody.reporting.overview import Overview, delays
from orthanc_gcp.custody.reporting.receipts import receipts
from orthanc_gcp.custody.reporting.studies import studies
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Priority, State
from orthanc_gcp.ledger.selection import Selection
from tests.support.transfers import arrive, confirm, settle

FIRST, SECOND = StoreName("projects/p/first"), StoreName("projects/p/second")


@pytest.fixture
def stores(ledger, clock):
    """A process of before the account was another store, and one of now."""
    found = []
    for store in (FIRST, SECOND):
        own = Ledger(ledger.engine, clock, {"a": store})
        clock.now += 10
        own.destinations.register()
        found.append(own)
    return found


def test_each_store_is_counted_by_itself(stores, clock):
    first, second = stores
    arrive(first, 2, study="1")
    confirm(first)
    arrive(first, 1, study="2")
    settle(first, State.QUARANTINED, reason="invalid")
    arrive(first, 3, study="3")
    arrive(second, 1, study="4")
    arrive(second, 1, study="4", account="b")  # the configuration has it no more
    clock.now += 60
    before, now, other = [one.as_json() for one in destinations(second)]
    assert before == {
        "Destination": 1,
        "Account": "a",
        "Store": "projects/p/first",
        "Endpoint": None,
        "Since": "2027-01-15T08:00:10.000+00:00",
        "Configured": False,
        "OpenInstances": 3,
        "OldestOpenSeconds": 60.0,
        "QuarantinedInstances": 1,
        "ConfirmedInstances": 2,
        "LostInstances": 0,
    }
    assert (now["Store"], now["Configured"], now["OpenInstances"]) == ("projects/p/second", True, 1)
    assert (other["Account"], other["Store"], other["Configured"]) == ("b", None, False)
    assert [one.destination.id for one in former_destinations(second)] == [1, 3]
    assert [one.destination.id for one in former_destinations(first)] == [2, 3]


def test_an_account_is_counted_as_what_it_is_now(stores):
    first, second = stores
    arrive(first, 3)
    settle(first, State.DELAYED, 1, detail="the former is full", next_attempt_at=1e12)
    arrive(second, 1, study="2")
    (one,) = Overview(second).accounts()
    assert (one.account, one.counts.waiting.instances) == ("a", 1)
    assert delays(second, ["a"]) == {"a": None}
    assert delays(first, ["a"]) == {"a": "the former is full"}


def test_quarantine_of_a_former_store_is_not_opened_by_a_retry(stores):
    first, second = stores
    for one, study in ((first, "1"), (second, "2")):
        arrive(one, 2, study=study)
        settle(one, State.QUARANTINED, reason="invalid")
    assert len(retry(second, "a")) == 2
    assert len(retry(second)) == 0
    assert len(retry(second, "a", study="1")) == 0
    assert not_retried(second, Selection("a", study_instance_uid="1")) == 2
    assert not_retried(second, Selection("b")) == not_retried(first, Selection("a")) == 0
    assert len(retry(first, "a", study="1")) == 2


def test_each_row_says_for_which_store_it_is(stores):
    first, second = stores
    arrive(first, 2, study="1")
    arrive(second, 2, study="1", priority=Priority.BACKFILL)
    found, after = [], ""
    while after is not None:
        page = instances(second, Selection("a"), after, 1)
        after = page.following
        found += [(one.store, one.orthanc_id) for one in page.items]
    assert found == [
        *(("projects/p/first", f"1-{number}") for number in range(2)),
        *(("projects/p/second", f"1-{number}") for number in range(2)),
    ]
    found, after = [], ""
    while after is not None:
        page = studies(second, Selection("a"), after, 1)
        after = page.following
        found += [(one.store, one.counts.waiting.instances) for one in page.items]
    assert found == [("projects/p/first", 2), ("projects/p/second", 2)]


@pytest.mark.parametrize("after", ["1.2", "1.2/", "1.2/x", f"1.2/{1 << 63}", "/", "1.2/-1"])
def test_no_page_begins_after_what_no_page_has_said(stores, after):
    with pytest.raises(ValueError, match=r"literal|number"):
        studies(stores[0], Selection(), after)


@pytest.mark.parametrize("after", [str(1 << 63), "-1", "x"])
def test_nor_one_of_instances(stores, after):
    with pytest.raises(ValueError, match=r"literal|number"):
        instances(stores[0], Selection(), after)


def test_a_receipt_is_of_the_current_store(stores):
    first, second = stores
    arrive(first, 3, study="1")
    confirm(first)
    assert receipts(first, "1")[0].complete
    (receipt,) = receipts(second, "1")
    assert not receipt.complete
    assert receipt.sha256 is None
    document = receipt.as_json()
    assert document["Store"] == "projects/p/second"
    assert document["Stores"] == [
        {"Store": "projects/p/first", "Current": False, "Instances": 3, "Confirmed": 3}
    ]
    arrive(second, 2, study="1", priority=Priority.BACKFILL)
    confirm(second)
    (receipt,) = receipts(second, "1")
    assert not receipt.complete, "the third is in the former store only"
    arrive(second, 3, study="1", priority=Priority.BACKFILL)
    confirm(second)
    (receipt,) = receipts(second, "1")
    assert receipt.complete
    assert receipt.as_json()["Stores"][0] == {
        "Store": "projects/p/second",
        "Current": True,
        "Instances": 3,
        "Confirmed": 3,
    }
    in_first = [
        one["Store"]
        for series in receipt.as_json()["Series"]
        for one in series["Instances"]
        if one["State"] == "confirmed"
    ]
    assert sorted(in_first) == ["projects/p/first"] * 3 + ["projects/p/second"] * 3


def test_a_receipt_of_an_account_that_is_gone_is_of_its_last_store(stores, ledger, clock):
    first, _ = stores
    arrive(first, 1, study="1")
    confirm(first)
    assert not receipts(ledger, "1")[0].complete
    clock.now += 1
    first.destinations.register()
    assert receipts(ledger, "1")[0].complete
    assert receipts(ledger, "1")[0].store == "projects/p/first"
