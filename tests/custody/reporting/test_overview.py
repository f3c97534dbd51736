"""How far each account is."""

from __future__ import annotations

from datetime import datetime

import pytest

from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.custody.reporting import overview as overview_module
from orthanc_gcp.custody.reporting.overview import FRESH, UNCHANGED_FOR, Overview, delays
from orthanc_gcp.custody.reporting.problems import Problem, ProblemKind
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import Guard, Priority, State
from tests.support.ledgers import BEGIN
from tests.support.transfers import arrive, confirm, settle


@pytest.fixture
def overview(ledger):
    """What programs see, each time from the same reader."""
    reader = Overview(ledger)
    return lambda *given: [one.as_json() for one in reader.accounts(*given)]


def test_an_account_without_a_row_has_zeroes(overview):
    (told,) = overview(["a"])
    nothing = {"Instances": 0, "Bytes": 0}
    assert told == {
        "Account": "a",
        "Paused": False,
        "Waiting": nothing,
        "Sending": nothing,
        "Acknowledged": nothing,
        "Confirmed": nothing,
        "Quarantined": nothing,
        "Superseded": nothing,
        "Withdrawn": nothing,
        "Lost": nothing,
        "Dismissed": nothing,
        "OldestUnsentSeconds": None,
        "OldestUnsentDetail": None,
        "OldestAcknowledgedSeconds": None,
        "BytesPerSecond": 0.0,
        "InstancesPerSecond": 0.0,
        "EstimatedEnd": None,
        "LostChanges": 0,
        "UnprotectedPatients": 0,
        "Problem": None,
        "Problems": [],
        "Store": None,
        "FormerStores": [],
    }


def test_what_needs_a_person_is_shown_with_its_accounts(ledger):
    own = Problem(ProblemKind.INDEX, "a", "i", 3, None, "it is gone", "bring it back")
    all_ = Problem(ProblemKind.LEDGER, "", "i", 9, 0.0, "it is new", "restore it")
    told = {
        one.account: one.as_json()
        for one in Overview(ledger).accounts(["a", "b", "c"], {"c": "busy"}, [own, all_])
    }
    assert [one["Kind"] for one in told["a"]["Problems"]] == ["index", "ledger"]
    assert told["a"]["Problem"] == "it is gone"
    assert told["b"]["Problems"] == [all_.as_json()]
    assert told["c"]["Problem"] == "busy", "what fails just now comes first"


def test_every_state_is_counted_in_its_place(ledger, overview):
    arrive(ledger, 2, study="1")
    confirm(ledger)
    arrive(ledger, 3, study="2")
    settle(ledger, State.QUARANTINED, reason="invalid")
    arrive(ledger, 1, study="3")
    settle(ledger, State.WITHDRAWN, reason="deleted")
    arrive(ledger, 2, study="3.1")
    settle(ledger, State.LOST, reason="recycled")
    arrive(ledger, 4, study="4")
    settle(ledger, State.ACKNOWLEDGED)
    arrive(ledger, 2, study="5")
    settle(ledger, State.DELAYED, next_attempt_at=BEGIN + 9)
    arrive(ledger, 5, study="6")
    ledger.queue.claim("a", "o", "x", "w", most_instances=5, most_bytes=10**9, most_batches=9)
    arrive(ledger, 1, study="7", held_for_orthanc_id="series")
    arrive(ledger, 1, study="8")
    (told,) = overview()
    counts = {
        name: figures["Instances"] for name, figures in told.items() if isinstance(figures, dict)
    }
    assert counts == {
        "Waiting": 4,
        "Sending": 5,
        "Acknowledged": 4,
        "Confirmed": 2,
        "Quarantined": 3,
        "Superseded": 0,
        "Withdrawn": 1,
        "Lost": 2,
        "Dismissed": 0,
    }
    assert told["Sending"]["Bytes"] == 500


def test_the_age_is_that_of_the_oldest_owed_instance(ledger, overview, clock):
    arrive(ledger, study="1")
    confirm(ledger)
    clock.now += 500
    arrive(ledger, study="2", priority=Priority.BACKFILL)
    clock.now += 500
    arrive(ledger, study="3", received_at=BEGIN - 5000)  # asked for late
    clock.now += 30
    (told,) = overview()
    assert told["OldestUnsentSeconds"] == 30


def test_rate_and_end_come_from_what_was_confirmed_in_the_last_minute(ledger, overview, clock):
    overview(["a"])
    arrive(ledger, 10, study="1", size=1000)
    confirm(ledger)
    overview()
    clock.now += 300
    overview()  # what was before the minute does not count
    arrive(ledger, 30, study="2", size=1000)
    arrive(ledger, 30, study="3", size=1000)
    confirm(ledger, count=30)
    clock.now += 10
    (told,) = overview()
    assert told["InstancesPerSecond"] == 3.0
    assert told["BytesPerSecond"] == 3000.0
    assert datetime.fromisoformat(told["EstimatedEnd"]).timestamp() == clock.now + 10


def test_the_figures_are_half_a_minute_old_at_most(ledger, overview, clock):
    arrive(ledger)
    assert overview()[0]["Waiting"]["Instances"] == 1
    arrive(ledger, study="2")
    assert overview()[0]["Waiting"]["Instances"] == 1
    clock.now += FRESH
    assert overview()[0]["Waiting"]["Instances"] == 2


def test_rows_are_not_counted_while_nothing_changes(sqlite_ledger, clock, monkeypatch):
    ledger, counted = sqlite_ledger, []
    real = overview_module.destinations
    monkeypatch.setattr(
        overview_module, "destinations", lambda ledger: counted.append(1) or real(ledger)
    )
    arrive(ledger)
    reader = Overview(ledger)
    for seconds in (0, FRESH, UNCHANGED_FOR - FRESH - 1):
        clock.now += seconds
        (one,) = reader.accounts()
        assert one.oldest_unsent_seconds == clock.now - BEGIN, "moments go on"
    assert len(counted) == 1
    arrive(ledger, study="2")
    clock.now += FRESH
    assert reader.accounts()[0].counts.waiting.instances == 2
    assert len(counted) == 2
    clock.now += UNCHANGED_FOR
    reader.accounts()
    assert len(counted) == 3


def test_the_problem_of_an_account_is_told(ledger, overview):
    arrive(ledger)
    assert overview(["b"], {"a": "no token"})[0]["Problem"] == "no token"
    assert [one["Account"] for one in overview(["b"])] == ["a", "b"]


def test_what_is_lost_and_not_protected_is_told(ledger, overview):
    ledger.arrivals.lose("a", "o", 5, 9, 5)
    ledger.arrivals.lose("a", "o", 20, 26, 4)
    arrive(ledger, account="b")
    Patients(ledger).add("o", {"p": {"1.1"}}, {})
    Patients(ledger).set_guards("o", {"p": Guard.NO_ROOM})
    (a, b) = overview()
    assert (a["LostChanges"], a["UnprotectedPatients"]) == (9, 0), "it has nothing to send"
    assert (b["LostChanges"], b["UnprotectedPatients"]) == (0, 1)


def test_patients_are_not_protected_though_the_account_is_another_store(ledger, clock):
    first = Ledger(ledger.engine, clock, {"a": StoreName("first")})
    arrive(first)
    Patients(ledger).add("o", {"p": {"1.1"}}, {})
    Patients(ledger).set_guards("o", {"p": Guard.NO_ROOM})
    second = Ledger(ledger.engine, clock, {"a": StoreName("second")})
    second.destinations.register()
    for process in (first, second):
        (told,) = Overview(process).accounts(["a"])
        assert told.unprotected_patients == 1


def test_figures_that_were_changed_are_read_again(ledger):
    reader = Overview(ledger)
    arrive(ledger)
    assert reader.accounts()[0].counts.waiting.instances == 1
    arrive(ledger, study="2")
    reader.forget()
    assert reader.accounts()[0].counts.waiting.instances == 2


def test_the_last_delay_of_an_account_says_what_is_wrong(ledger):
    for study, detail, due in (("1", "older", 5), ("2", "newer", 9)):
        arrive(ledger, study=study)
        settle(ledger, State.DELAYED, detail=detail, next_attempt_at=BEGIN + due)
    arrive(ledger, account="b")
    assert delays(ledger, ["a", "b", "c"]) == {"a": "newer", "b": None, "c": None}


def test_what_is_left_of_a_former_store_is_shown_beside(ledger, clock):
    first = Ledger(ledger.engine, clock, {"a": StoreName("first")})
    arrive(first, 3)
    clock.now += 30
    second = Ledger(ledger.engine, clock, {"a": StoreName("second"), "new": StoreName("third")})
    second.destinations.register()
    for process, store, waiting in ((second, "second", 0), (first, "first", 3)):
        one, *others = [each.as_json() for each in Overview(process).accounts(["a"])]
        assert (one["Store"], one["Waiting"]["Instances"]) == (store, waiting)
        assert others == [], "one that has never had anything is not shown"
    (one,) = Overview(second).accounts()
    (former,) = one.as_json()["FormerStores"]
    assert former["Store"] == "first"
    assert (former["OpenInstances"], former["OldestOpenSeconds"]) == (3, 30.0)


def test_since_when_what_was_acknowledged_has_not_been_seen(ledger, overview, clock):
    arrive(ledger, 2)
    rows = settle(ledger, State.ACKNOWLEDGED, 1, sha256="d")
    clock.now += 100
    settle(ledger, State.ACKNOWLEDGED, sha256="d")
    clock.now += 7
    (told,) = overview(["a"])
    assert told["OldestAcknowledgedSeconds"] == 107
    ledger.confirmations.confirm(dict.fromkeys(rows, clock.now))
    clock.now += 60
    (told,) = overview(["a"])
    assert told["OldestAcknowledgedSeconds"] == 67
