"""A receipt names every instance, what became of it, and one digest over all that is confirmed."""

from __future__ import annotations

import hashlib

import pytest

from orthanc_gcp.custody.reporting import receipts as module
from orthanc_gcp.custody.reporting.receipts import digest_of_all, receipts
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers
from tests.support.transfers import arrive, confirm, settle

NOW = "2027-01-15T08:00:00.000+00:00"


def test_of_a_study_that_is_wholly_confirmed(ledger):
    arrive(ledger, 2, study="1.2")
    confirm(ledger)
    (receipt,) = receipts(ledger, "1.2")
    assert receipt.complete
    lines = b"1.2.1.0 d\n1.2.1.1 d\n"
    assert receipt.sha256 == hashlib.sha256(lines).hexdigest()
    document = receipt.as_json()
    instances = document.pop("Series")[0]["Instances"]
    assert document == {
        "Account": "a",
        "Store": None,
        "Study": "1.2",
        "Complete": True,
        "Instances": 2,
        "Bytes": 200,
        "Stores": [{"Store": None, "Current": True, "Instances": 2, "Confirmed": 2}],
        "States": {"confirmed": 2},
        "Sha256": receipt.sha256,
        "SentBy": [],
        "Workers": ["w"],
        "Sources": ["o"],
        "Received": [NOW, NOW],
        "Acknowledged": [NOW, NOW],
        "Confirmed": [NOW, NOW],
        "Events": [],
        "OlderEvents": 0,
    }
    assert instances[0] == {
        "Instance": "1.2.1.0",
        "Store": None,
        "Bytes": 100,
        "Sha256": "d",
        "State": "confirmed",
        "Reason": None,
        "Detail": None,
        "SentBy": None,
        "Worker": "w",
        "Source": "o",
        "Received": NOW,
        "Acknowledged": NOW,
        "Confirmed": NOW,
    }


def test_of_one_that_is_not(ledger):
    arrive(ledger, 1, study="1")
    confirm(ledger)
    arrive(ledger, 2, study="1", prefix="late")
    settle(ledger, State.QUARANTINED, reason="invalid", detail="no")
    arrive(ledger, 1, study="2")
    (receipt,) = receipts(ledger, "1")
    assert not receipt.complete
    assert receipt.as_json()["States"] == {"confirmed": 1, "quarantined": 2}
    assert len(receipt.confirmed) == 1
    quarantined = [event.as_json() for event in receipt.events]
    assert [event["Kind"] for event in quarantined] == ["quarantined"] * 2
    assert quarantined[0]["Detail"] == "invalid: no"
    (waiting,) = receipts(ledger, "2")
    assert waiting.sha256 is None
    assert waiting.as_json()["Confirmed"] == []


def test_each_account_has_its_own(ledger):
    for account in "ba":
        arrive(ledger, 1, study="1", account=account)
    assert [one.account for one in receipts(ledger, "1")] == ["a", "b"]
    assert [one.account for one in receipts(ledger, "1", "b")] == ["b"]


@pytest.mark.parametrize("only", [None, "a"])
def test_what_another_account_supersedes_is_complete_when_that_is_confirmed(ledger, clock, only):
    """Two Orthancs send to one store by accounts of their own."""
    store = StoreName("projects/one")
    ledger = Ledger(ledger.engine, clock, {"a": store, "b": store, "c": StoreName("projects/two")})
    arrive(ledger, 2, study="1", received_at=10.0)
    confirm(ledger)
    arrive(ledger, 1, study="1", prefix="newer", account="b", received_at=20.0)
    settle(ledger, State.WAITING, account="b", replace=True)

    def complete():
        return {one.account: one.complete for one in receipts(ledger, "1", only)}["a"]

    assert receipts(ledger, "1", "a")[0].as_json()["States"] == {"superseded": 1, "confirmed": 1}
    assert not complete(), "the store has neither version for certain"
    arrive(ledger, 1, study="1", prefix="other", account="c", received_at=20.0)
    confirm(ledger, account="c")
    assert not complete(), "another store is no proof"
    (row,) = settle(ledger, State.ACKNOWLEDGED, account="b", sha256="n", replace=True)
    ledger.confirmations.confirm({row: clock.now}, {row: "n"})
    assert complete()


def test_what_was_never_to_be_sent(ledger):
    arrive(ledger, 1, study="1")
    with pytest.raises(KeyError, match="2"):
        receipts(ledger, "2")
    with pytest.raises(KeyError):
        receipts(ledger, "1", "other")


def test_the_newest_events_and_how_many_more_there_are(ledger, monkeypatch):
    monkeypatch.setattr(module, "MOST_EVENTS", 2)
    arrive(ledger, 1, study="1")
    for number in range(5):
        ledger.events.add("a", f"kind{number}", "", "1", "1.1.0")
    ledger.events.add("b", "other", "", "1", "1.1.0")
    (receipt,) = receipts(ledger, "1")
    assert [event.kind for event in receipt.events] == ["kind3", "kind4"]
    assert receipt.older_events == 3


def test_the_digest_of_all_knows_no_order_and_nothing_twice():
    one = digest_of_all([("1", "x"), ("2", "y")])
    assert one == digest_of_all([("2", "y"), ("1", "x"), ("2", "y")])
    assert one != digest_of_all([("1", "y"), ("2", "x")])
    assert digest_of_all([]) == hashlib.sha256().hexdigest()


def test_an_older_version_is_no_proof_of_what_another_account_supersedes(ledger, clock):
    """Its PatientID was corrected twice, and the store has refused the last."""
    store = StoreName("projects/one")
    ledger = Ledger(ledger.engine, clock, {"a": store, "b": store})
    arrive(ledger, 1, study="1", prefix="first", received_at=10.0)
    confirm(ledger)
    arrive(ledger, 1, study="1", prefix="second", received_at=20.0)
    arrive(ledger, 1, study="1", prefix="third", account="b", received_at=30.0)
    settle(ledger, State.QUARANTINED, account="b", reason="conflict")
    settle(ledger, State.SUPERSEDED)
    (mine,) = receipts(ledger, "1", "a")
    assert mine.as_json()["States"] == {"confirmed": 1, "superseded": 1}
    assert not mine.complete, "the store has none of what was received last"


def test_what_came_from_the_store_and_was_replaced_there_is_complete(ledger, clock):
    """It counts as older than what was sent, though Orthanc has received it later."""
    arrive(ledger, 1, study="1", prefix="retrieved", received_at=20.0)
    confirm(ledger)
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(reason="retrieved"))
    clock.now += 5
    arrive(ledger, 1, study="1", prefix="own", received_at=10.0)
    (own,) = settle(ledger, State.ACKNOWLEDGED, sha256="own", replace=True)
    ledger.confirmations.confirm({own: clock.now}, {own: "own"})
    (mine,) = receipts(ledger, "1", "a")
    assert mine.as_json()["States"] == {"confirmed": 1, "superseded": 1}
    assert mine.complete


def test_what_came_from_the_store_is_no_proof_of_what_was_sent_there_since(ledger, clock):
    """It is written down last, as when a rule was added."""
    arrive(ledger, 1, study="1", prefix="own", received_at=10.0)
    clock.now += 5
    (own,) = settle(ledger, State.ACKNOWLEDGED, sha256="own", replace=True)
    ledger.confirmations.confirm({own: clock.now}, {own: "own"})
    came = {"retrieved_sha256": "came", "retrieved_at": clock.now - 4}
    arrive(ledger, 1, study="1", prefix="retrieved", received_at=20.0, **came)
    (mine,) = receipts(ledger, "1", "a")
    assert mine.as_json()["States"] == {"superseded": 1, "acknowledged": 1}
    assert not mine.complete
    ledger.confirmations.confirm({own: clock.now}, {own: "own"})
    (mine,) = receipts(ledger, "1", "a")
    assert mine.complete
