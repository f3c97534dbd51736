"""What runs on a ledger."""

from __future__ import annotations

from orthanc_gcp import configuration
from orthanc_gcp.commands.live.activity import Activity
from orthanc_gcp.custody.audit.positions import Position, Positions
from orthanc_gcp.custody.audit.running import RunningAudit
from orthanc_gcp.custody.intake.backfill_studies import BackfillStudies
from orthanc_gcp.ledger.retrievals.rows import Resource
from tests.support.transfers import arrive

SETTINGS = configuration.read({"GoogleCloudPlatform": {"Accounts": {}, "Send": []}})


def test_nothing(ledger):
    assert Activity(ledger, SETTINGS).read() == {
        "Senders": [],
        "Orthancs": [],
        "Backfills": [],
        "Retrievals": [],
        "Audits": [],
        "BrokenOffAudit": None,
    }


def test_all_of_it(ledger):
    ledger.indexes.begin("o", 0, ledger.now())
    arrive(ledger, 3, size=100)
    most = {"most_instances": 2, "most_bytes": 10**9, "most_batches": 9}
    ledger.queue.claim("a", "o", "b", "w", **most)
    BackfillStudies(ledger, "o", []).restart()
    numbers = ledger.retrievals.request("a", "o", [Resource("1.2")], compare_bytes=False)
    RunningAudit(ledger, "here").note(3, 9)
    Positions(ledger).save({}, Position(0.0, "1.2.3"))
    found = Activity(ledger, SETTINGS).read()
    (sender,) = found["Senders"]
    assert sender == {"Worker": "w", "Account": "a", "Requests": 1, "Instances": 2, "Bytes": 200}
    (orthanc,) = found["Orthancs"]
    assert (orthanc["Index"], orthanc["Orthanc"]) == ("o", "o")
    (backfill,) = found["Backfills"]
    assert (backfill["Index"], backfill["State"]) == ("o", "Listing")
    (retrieval,) = found["Retrievals"]
    assert ([retrieval["Id"]], retrieval["Study"]) == (numbers, "1.2")
    (running,) = found["Audits"]
    assert (running["Machine"], running["Studies"]) == ("here", {"Done": 3, "Total": 9})
    audit = found["BrokenOffAudit"]
    assert (audit["After"], audit["Studies"]) == ("1.2.3", 0)
    assert audit["Began"].startswith("1970-01-01T00:00:00")


def test_a_place_that_cannot_be_read_is_none(ledger):
    ledger.key_values.set("audit", {"Began": 5})
    assert Activity(ledger, SETTINGS).read()["BrokenOffAudit"] is None


def test_what_takes_long_is_not_read_each_time(ledger):
    now = iter([0.0, 1.0, 5.0, 11.5, 12.0])
    activity = Activity(ledger, SETTINGS, lambda: next(now))
    first = activity.read()
    assert activity.read() is first
    assert activity.read() is not first


def test_a_backfill_that_has_ended_does_not_run(ledger):
    ledger.indexes.begin("o", 0, ledger.now())
    studies = BackfillStudies(ledger, "o", [])
    studies.restart()
    studies.finish(studies.run)
    assert Activity(ledger, SETTINGS).read()["Backfills"] == []
