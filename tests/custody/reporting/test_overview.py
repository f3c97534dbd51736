"""What the ledger tells people, and what they may do with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from orthanc_gcp.custody.destinations.rate_limit import RateLimit
from orthanc_gcp.custody.reporting.overview import LARGEST_PAGE, Reports
from orthanc_gcp.ledger.ledger import NewTransfer, Outcome
from orthanc_gcp.ledger.schema import Priority, State
from orthanc_gcp.ledger.selection import Selection

BEGIN = 1_800_000_000.0


@pytest.fixture
def reports(ledger):
    return Reports(ledger)


def arrive(ledger, count=1, *, account="a", study="1.1", prefix="", size=100, **more):
    arrivals = [
        NewTransfer(
            account=account,
            source="o",
            orthanc_id=f"{prefix or study}-{number}",
            study_instance_uid=study,
            series_instance_uid=f"{study}.1",
            sop_instance_uid=f"{study}.1.{number}",
            size_bytes=size,
            **{"received_at": ledger.now(), **more},
        )
        for number in range(count)
    ]
    ledger.record(arrivals)


def send(ledger, state, count=1000, account="a", **verdict):
    """Carry what waits to an end."""
    claimed = ledger.claim(
        account, "o", "b", "w", most_instances=count, most_bytes=10**9, most_batches=9
    )
    ledger.settle("b", [Outcome(row.id, state, **verdict) for row in claimed])
    return [row.id for row in claimed]


def confirm(ledger, **more):
    rows = send(ledger, State.ACKNOWLEDGED, sha256="d", **more)
    ledger.confirm(dict.fromkeys(rows, ledger.now()))


def test_an_account_without_a_row_has_zeroes(reports):
    (told,) = reports.overview(["a"])
    nothing = {"Instances": 0, "Bytes": 0}
    assert told == {
        "Account": "a",
        "Paused": False,
        "Waiting": nothing,
        "Sending": nothing,
        "Acknowledged": nothing,
        "Confirmed": nothing,
        "Quarantined": nothing,
        "Withdrawn": nothing,
        "OldestUnsentSeconds": None,
        "BytesPerSecond": 0.0,
        "InstancesPerSecond": 0.0,
        "EstimatedEnd": None,
        "Problem": None,
    }


def test_every_state_is_counted_in_its_place(ledger, reports):
    arrive(ledger, 2, study="1")
    confirm(ledger)
    arrive(ledger, 3, study="2")
    send(ledger, State.QUARANTINED, reason="invalid")
    arrive(ledger, 1, study="3")
    send(ledger, State.WITHDRAWN, reason="deleted")
    arrive(ledger, 4, study="4")
    send(ledger, State.ACKNOWLEDGED)
    arrive(ledger, 2, study="5")
    send(ledger, State.DELAYED, next_attempt_at=BEGIN + 9)
    arrive(ledger, 5, study="6")
    ledger.claim("a", "o", "x", "w", most_instances=5, most_bytes=10**9, most_batches=9)
    arrive(ledger, 1, study="7", held_for_orthanc_id="series")
    arrive(ledger, 1, study="8")
    (told,) = reports.overview()
    counts = {
        name: figures["Instances"] for name, figures in told.items() if isinstance(figures, dict)
    }
    assert counts == {
        "Waiting": 4,
        "Sending": 5,
        "Acknowledged": 4,
        "Confirmed": 2,
        "Quarantined": 3,
        "Withdrawn": 1,
    }
    assert told["Sending"]["Bytes"] == 500


def test_the_age_is_that_of_the_oldest_owed_instance(ledger, reports, clock):
    arrive(ledger, study="1")
    confirm(ledger)
    clock.now += 500
    arrive(ledger, study="2", priority=Priority.BACKFILL)
    clock.now += 500
    arrive(ledger, study="3", received_at=BEGIN - 5000)  # asked for late
    clock.now += 30
    (told,) = reports.overview()
    assert told["OldestUnsentSeconds"] == 30


def test_rate_and_end_come_from_what_was_confirmed_in_the_last_minute(ledger, reports, clock):
    reports.overview(["a"])
    arrive(ledger, 10, study="1", size=1000)
    confirm(ledger)
    reports.overview()
    clock.now += 300
    reports.overview()  # what was before the minute does not count
    arrive(ledger, 30, study="2", size=1000)
    arrive(ledger, 30, study="3", size=1000)
    confirm(ledger, count=30)
    clock.now += 10
    (told,) = reports.overview()
    assert told["InstancesPerSecond"] == 3.0
    assert told["BytesPerSecond"] == 3000.0
    assert datetime.fromisoformat(told["EstimatedEnd"]).timestamp() == clock.now + 10


def test_the_figures_are_two_seconds_old_at_most(ledger, reports, clock):
    arrive(ledger)
    assert reports.overview()[0]["Waiting"]["Instances"] == 1
    arrive(ledger, study="2")
    assert reports.overview()[0]["Waiting"]["Instances"] == 1
    clock.now += 2
    assert reports.overview()[0]["Waiting"]["Instances"] == 2


def test_the_problem_of_an_account_is_told(ledger, reports):
    arrive(ledger)
    assert reports.overview(["b"], {"a": "no token"})[0]["Problem"] == "no token"
    assert [one["Account"] for one in reports.overview(["b"])] == ["a", "b"]


def test_instances_are_told_page_by_page(ledger, reports):
    arrive(ledger, 25)
    found, after = [], ""
    pages = 0
    while after is not None:
        page, after = reports.instances(Selection(account="a"), after, 10)
        found += [entry["Instance"] for entry in page]
        pages += 1
    assert pages == 3
    assert found == [f"1.1.1.{number}" for number in range(25)]
    with pytest.raises(ValueError, match="invalid literal"):
        reports.instances(Selection(), "no number")


def test_no_page_is_larger_than_the_largest(ledger, reports):
    arrive(ledger, LARGEST_PAGE + 1)
    page, after = reports.instances(Selection(), limit=10**9)
    assert len(page) == LARGEST_PAGE
    assert len(reports.instances(Selection(), after)[0]) == 1


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"account": "b"}, {"3"}),
        ({"state": State.QUARANTINED}, {"2"}),
        ({"reason": "invalid"}, {"2"}),
        ({"study_instance_uid": "1"}, {"1"}),
        ({"series_instance_uid": "2.1"}, {"2"}),
        ({"sop_instance_uid": "3.1.0"}, {"3"}),
        ({"since": BEGIN - 50}, {"2", "3"}),
        ({"until": BEGIN - 50}, {"1"}),
        ({"account": "a", "state": State.CONFIRMED}, set()),
    ],
)
def test_what_fits_is_told(ledger, reports, chosen, expected):
    arrive(ledger, 2, study="2")
    send(ledger, State.QUARANTINED, reason="invalid", detail="no")
    arrive(ledger, 2, study="1", received_at=BEGIN - 100)
    arrive(ledger, 2, study="3", account="b")
    studies, _ = reports.studies(Selection(**chosen))
    instances, _ = reports.instances(Selection(**chosen))
    assert {entry["Study"] for entry in studies} == expected
    assert {entry["Study"] for entry in instances} == expected


def test_studies_are_told_whole_and_page_by_page(ledger, reports):
    arrive(ledger, 3, study="1")
    confirm(ledger)
    arrive(ledger, 2, study="1", prefix="late")
    for account in ("b", "c"):
        arrive(ledger, 1, study="1", account=account)
    arrive(ledger, 1, study="2")
    found, after = [], ""
    while after is not None:
        page, after = reports.studies(Selection(), after, 1)
        found += [(entry["Study"], entry["Account"]) for entry in page]
    assert found == [("1", "a"), ("1", "b"), ("1", "c"), ("2", "a")]
    # Whatever was asked for, the figures are those of the whole study.
    (told,) = reports.studies(Selection(study_instance_uid="1", state=State.CONFIRMED))[0]
    assert (told["Confirmed"]["Instances"], told["Waiting"]["Instances"]) == (3, 2)
    assert datetime.fromisoformat(told["LastConfirmed"]).timestamp() == BEGIN


def test_an_instance_is_told_with_reason_and_times(ledger, reports):
    arrive(ledger)
    send(
        ledger, State.DELAYED, reason="other", detail="busy", next_attempt_at=BEGIN + 5, attempts=2
    )
    ((told,), _) = reports.instances(Selection())
    assert told == {
        "Account": "a",
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
def test_retry_sends_what_was_chosen(ledger, reports, chosen, moved):
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
        send(ledger, account=account, **verdict)
    arrive(ledger, 1, study="5")
    confirm(ledger)
    assert reports.retry(**chosen) == moved
    waiting, _ = reports.instances(Selection(state=State.WAITING))
    assert len(waiting) == moved
    assert all(entry["Attempts"] == 0 and entry["Reason"] is None for entry in waiting)
    for account in "ab":
        claimed = ledger.claim(
            account, "o", account, "w", most_instances=9, most_bytes=10**9, most_batches=9
        )
        assert all(row.max_batch_instances is None and not row.replace for row in claimed)
    assert len(told_events(ledger, "retried")) == moved


def test_retry_forgets_the_digest_of_what_was_never_stored(ledger, reports):
    """With one, an instance that is deleted in Orthanc would count as lost by the store."""
    for study, reason in (("1", "conflict"), ("2", "refused"), ("3", "lost")):
        arrive(ledger, study=study)
        send(ledger, state=State.QUARANTINED, reason=reason, sha256="abc")
    assert reports.retry() == 3
    waiting, _ = reports.instances(Selection(state=State.WAITING))
    found = {entry["Study"]: entry["Sha256"] for entry in waiting}
    assert found == {"1": None, "2": None, "3": "abc"}


def told_events(ledger, kind):
    from orthanc_gcp.ledger.schema import events

    with ledger.reading() as connection:
        return list(connection.execute(events.select().where(events.c.kind == kind)))


def test_who_gave_up_has_all_the_time_again(ledger, reports, clock):
    arrive(ledger)
    clock.now += 5000
    ledger.give_up("a", "o", clock.now - 1000)
    assert reports.retry("a") == 1
    ledger.give_up("a", "o", clock.now - 1000)
    assert reports.overview()[0]["Quarantined"]["Instances"] == 0


def test_a_pause_stays_and_is_written_down_once(ledger, reports):
    reports.pause("a")
    reports.pause("a")
    reports.pause("b_c%")
    assert Reports(ledger).paused() == {"a", "b_c%"}
    assert [one["Paused"] for one in reports.overview(["a", "b"])] == [True, False]
    reports.resume("a")
    assert Reports(ledger).paused() == {"b_c%"}
    assert [event.account for event in told_events(ledger, "paused")] == ["a", "b_c%"]
    assert [event.account for event in told_events(ledger, "resumed")] == ["a"]


def test_a_value_is_kept_and_replaced(ledger):
    assert ledger.key_value("x") is None
    ledger.set_key_value("x", {"a": 1})
    ledger.set_key_value("x", [2])
    assert ledger.key_value("x") == [2]
    assert ledger.change_key_value("x", lambda before: [*before, 3]) == [2, 3]


def test_workers_that_share_a_cap_from_its_first_use_on(ledger, clock):
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return True

    caps = [RateLimit(ledger, "n", 0.1, wait) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(cap.take, 1.0) for cap in caps]:
            done.result()
    # Each had its own ten seconds; only the first did not wait.
    assert ledger.key_value("allowance:n") == clock.now + 60
    assert len(waited) == 5
