"""What is to come back, as the ledger has it, on both databases."""

from __future__ import annotations

from functools import partial

import pytest

from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import (
    Arrived,
    Coming,
    Digests,
    Listed,
    Notified,
    Resource,
    RetrievalOutcome,
)
from orthanc_gcp.ledger.schema import Cause, RetrievedState, State
from tests.support.ledgers import ORTHANC, A, arrival, before_it_commits, claim, settle_batch

STUDY = Resource("1", None, None)


def begun(ledger, *resources, **more):
    numbers = ledger.retrievals.request(
        A, ORTHANC, resources or [STUDY], compare_bytes=more.get("compare", False)
    )
    rows = {row.id: row for row in ledger.retrievals.open(ORTHANC)}
    return [rows[number] for number in numbers]


def uids(number, series="2"):
    return "1", series, f"3.{number}"


def listed(ledger, retrieval, count, **more):
    some = [(retrieval, Listed(uids(number, **more), 10)) for number in range(count)]
    ledger.retrieval_rounds.add_listed(some)


def settle(ledger, state, *rows, **more):
    ledger.retrievals.settle([RetrievalOutcome(row.id, state, **more) for row in rows])


def pending(ledger, retrieval, but=(), limit=100):
    return ledger.retrievals.pending(retrieval, but, limit)


def test_what_is_wanted_is_wanted_once(ledger):
    (one,) = begun(ledger)
    assert begun(ledger) == [one]
    (other,) = begun(ledger, compare=True)
    series, instance = begun(ledger, Resource("1", "2"), Resource("1", "2", "3"))
    assert len({one.id, other.id, series.id, instance.id}) == 4
    assert begun(ledger, STUDY, STUDY) == [one]
    assert ledger.retrievals.open("elsewhere") == []
    assert ledger.retrievals.any_open()
    ledger.retrievals.end(one, "not_listed", "none")
    assert begun(ledger)[0].id != one.id, "it has ended"


def test_what_is_wanted_twice_in_the_same_moment_is_wanted_once(postgresql_ledger):
    ledger = postgresql_ledger
    ledger.arrivals.record([arrival("1")])  # its destination is known
    twice = partial(ledger.retrievals.request, A, ORTHANC, [STUDY], compare_bytes=False)
    first, second = before_it_commits(ledger, twice, twice)
    assert first == second
    assert len(ledger.retrievals.open(ORTHANC)) == 1


def test_what_is_notified_twice_in_the_same_moment_is_wanted_once(postgresql_ledger):
    ledger = postgresql_ledger
    ledger.arrivals.record([arrival("1")])  # its destination is known
    twice = partial(notified, ledger, ("m", 1))
    first, second = before_it_commits(ledger, twice, twice)
    assert first == second
    assert len(ledger.retrievals.open(ORTHANC)) == 1


def test_what_is_listed_twice_is_one(ledger):
    (one,) = begun(ledger)
    for count in (3, 4, 0):
        listed(ledger, one, count)
    assert ledger.retrievals.count(one) == 4
    assert ledger.retrievals.count(one, "2") == 4
    assert ledger.retrievals.count(one, "none") == 0


def test_a_uid_that_cannot_be_asked_for_is_missing(ledger):
    (one,) = begun(ledger)
    ledger.retrieval_rounds.add_listed([(one, Listed(("1", "2", "a/\0b"), 1, "has a slash"))])
    assert pending(ledger, one) == []
    assert not ledger.retrievals.end(one)
    (report,) = ledger.retrievals.report(A)
    assert [(row.sop_instance_uid, row.reason) for row in report.missing] == [("a/\ufffdb", "uid")]


def test_what_waits_comes_series_by_series_and_in_its_time(ledger, clock):
    (one,) = begun(ledger)
    listed(ledger, one, 2, series="b")
    listed(ledger, one, 2, series="a")
    rows = pending(ledger, one)
    assert [row.series_instance_uid for row in rows] == ["a", "a", "b", "b"]
    assert pending(ledger, one, {rows[0].id}, 2) == rows[1:3]
    settle(ledger, RetrievedState.WAITING, rows[0], next_attempt_at=clock.now + 10, attempts=1)
    settle(ledger, RetrievedState.COMPARING, rows[1])
    assert [row.id for row in pending(ledger, one)] == [rows[2].id, rows[3].id, rows[1].id]
    clock.now += 11
    assert pending(ledger, one)[0].attempts == 1
    settle(ledger, RetrievedState.RECEIVED, *rows)
    assert not ledger.retrievals.any_pending(one)
    ledger.retrievals.settle([])


def test_it_is_complete_only_when_nothing_lacks(ledger):
    for state, complete in (
        (RetrievedState.RECEIVED, True),
        (RetrievedState.PRESENT, True),
        (RetrievedState.WAITING, False),
        (RetrievedState.DIFFERENT, False),
        (RetrievedState.MISSING, False),
    ):
        (one,) = begun(ledger)
        listed(ledger, one, 2)
        first, second = pending(ledger, one)
        settle(ledger, RetrievedState.RECEIVED, first)
        settle(ledger, state, second)
        assert ledger.retrievals.end(one) is complete
    assert ledger.retrievals.open(ORTHANC) == []
    states = [report.row.state for report in ledger.retrievals.report(A)]
    assert sorted(states) == ["complete"] * 2 + ["incomplete"] * 3


def test_a_reason_makes_it_incomplete(ledger):
    (one,) = begun(ledger)
    assert not ledger.retrievals.end(one, "not_listed", "none")
    (report,) = ledger.retrievals.report(A)
    assert (report.row.state, report.row.reason) == ("incomplete", "not_listed")
    assert report.row.ended_at is not None


def test_postponements(ledger, clock):
    (one,) = begun(ledger)
    ledger.retrievals.postpone(one, 2, 5.0, "forbidden", "no")
    (row,) = ledger.retrievals.open(ORTHANC)
    assert (row.attempts, row.next_attempt_at, row.detail) == (2, clock.now + 5, "no")


def test_why_something_waits_is_told_until_it_goes_on(ledger, clock):
    (one,) = begun(ledger)
    listed(ledger, one, 2)
    rows = pending(ledger, one)

    def why():
        (report,) = ledger.retrievals.report(A)
        return report.why

    assert why() == (None, None)
    later = {"next_attempt_at": clock.now + 5, "reason": "unavailable", "detail": "503"}
    settle(ledger, RetrievedState.WAITING, rows[1], **later)
    assert why() == ("unavailable", "503")
    settle(ledger, RetrievedState.RECEIVED, rows[1])
    assert why() == (None, None)
    settle(ledger, RetrievedState.WAITING, rows[0], **later)
    ledger.retrievals.end(one, "other_store", "another")
    assert why() == ("other_store", "another")


def test_all_of_one_is_given_up(ledger):
    one, other = begun(ledger, STUDY, Resource("1", "2"))
    for retrieval in (one, other):
        listed(ledger, retrieval, 2)
    ledger.retrievals.give_up(one.id, "full", "no room")
    assert not ledger.retrievals.any_pending(one)
    assert ledger.retrievals.any_pending(other)


def test_pages_of_reports(ledger):
    begun(ledger, *(Resource(f"1.{number}") for number in range(5)))
    first = ledger.retrievals.report(A, limit=2)
    rest = ledger.retrievals.report(A, after=first[-1].row.id, limit=10)
    studies = [one.row.study_instance_uid for one in (*first, *rest)]
    assert studies == ["1.4", "1.3", "1.2", "1.1", "1.0"]
    (one,) = ledger.retrievals.report(A, number=first[0].row.id)
    assert one.row == first[0].row
    assert ledger.retrievals.report("nobody") == []


@pytest.mark.parametrize("path", ["store", "another"])
def test_where_it_came_from_is_a_store_and_no_account(engine, ledger, path):
    stores = {A: StoreName("store"), "b": StoreName(path)}
    ledger = Ledger(engine, ledger.now, stores)
    (one,) = begun(ledger)
    listed(ledger, one, 2)
    first, _ = pending(ledger, one)
    assert ledger.retrievals.origins(A, ["3.0", "3.1"]) == {}
    ledger.retrievals.note_digests([])
    ledger.retrievals.note_digests([Coming(first.id, 1, Digests(77, "md5", "sha"))])
    found = ledger.retrievals.origins(A, ["3.0", "3.1"])
    assert {key: [origin.md5 for origin in own] for key, own in found.items()} == {uids(0): ["md5"]}
    assert pending(ledger, one)[0].attempts == 1
    ledger.arrivals.record([arrival("x", account="b")])
    assert bool(ledger.retrievals.origins("b", ["3.0"])) == (path == "store")
    settle(ledger, RetrievedState.RECEIVED, first)
    ledger.retrieval_rounds.recognize([one], [Arrived(uids(0), "o", "file", 77)])
    (origin,) = ledger.retrievals.origins(A, ["3.0"])[uids(0)]
    assert origin.attachment_uuid == "file"


def test_digests_of_what_was_sent(ledger):
    ledger.arrivals.record([arrival("x", attachment_uuid="file")])
    (one,) = begun(ledger, Resource("study"))
    ledger.retrieval_rounds.add_listed([(one, Listed(("study", "series", "1.x"), 1))])
    rows = pending(ledger, one)
    assert ledger.retrievals.stored_digests(A, rows) == {}
    claim(ledger)
    settle_batch(ledger, State.CONFIRMED, sha256="sha")
    assert ledger.retrievals.stored_digests(A, rows) == {rows[0].uids: ("sha", {"file"})}


def test_a_clock_that_was_set_back_makes_nobody_wait(ledger, clock):
    (one,) = begun(ledger)
    listed(ledger, one, 1)
    ledger.retrievals.postpone(one, 1, 60.0, "forbidden", "no")
    settle(ledger, RetrievedState.WAITING, *pending(ledger, one), next_attempt_at=clock.now + 60)
    assert not ledger.retrievals.due(ORTHANC, [A], 10)
    assert not pending(ledger, one)
    clock.now -= 1e6
    assert [row.id for row in ledger.retrievals.due(ORTHANC, [A], 10)] == [one.id]
    assert len(pending(ledger, one)) == 1


def test_what_has_to_wait_is_passed_over(ledger, clock):
    one, other, third = begun(ledger, STUDY, Resource("2"), Resource("3"))
    listed(ledger, one, 1)
    settle(ledger, RetrievedState.WAITING, *pending(ledger, one), next_attempt_at=clock.now + 60)
    ledger.retrievals.wait_for_rows(one)
    assert [row.id for row in ledger.retrievals.due(ORTHANC, [A], 1)] == [other.id]
    assert not ledger.retrievals.due(ORTHANC, ["b"], 9)
    clock.now += 61
    assert [row.id for row in ledger.retrievals.due(ORTHANC, [A], 9)] == [
        one.id,
        other.id,
        third.id,
    ]


def test_many_are_wanted_at_once(ledger):
    many = [Resource(f"1.{number}") for number in range(1000)]
    first = ledger.retrievals.request(A, ORTHANC, many, compare_bytes=False)
    assert ledger.retrievals.request(A, ORTHANC, many, compare_bytes=False) == first
    assert len(set(first)) == 1000


def test_of_all_accounts_by_state_and_those_that_have_not_ended(ledger):
    assert ledger.retrievals.counts_by_state() == {}
    numbers = ledger.retrievals.request(
        "a", "o", [Resource("1"), Resource("2")], compare_bytes=False
    )
    numbers += ledger.retrievals.request("b", "o", [Resource("1")], compare_bytes=False)
    assert ledger.retrievals.counts_by_state() == {("a", "waiting"): 2, ("b", "waiting"): 1}
    reports = ledger.retrievals.open_reports(2)
    assert [one.row.id for one in reports] == sorted(numbers, reverse=True)[:2]


# -- What notifications name -----------------------------------------------------------------


def notified(ledger, *messages, account=A, source=ORTHANC):
    some = [Notified(message, uids(number)) for message, number in messages]
    return ledger.retrievals.notified(account, source, some)


def test_a_notification_is_a_retrieval_that_is_listed(ledger):
    (number,) = notified(ledger, ("m", 1))
    (row,) = ledger.retrievals.open(ORTHANC)
    assert (row.id, row.cause, row.resource) == (number, "notification", Resource(*uids(1)))
    (one,) = pending(ledger, row)
    assert (one.uids, one.state) == (uids(1), RetrievedState.WAITING)


def test_one_that_comes_again_is_the_same(ledger):
    first, second = notified(ledger, ("m", 1), ("n", 2))
    assert first != second
    assert notified(ledger, ("n", 2), ("m", 1), ("m", 1)) == [second, first, first]
    rows = {row.id: row for row in ledger.retrievals.open(ORTHANC)}
    ledger.retrievals.end(rows[first], "not_found", "gone")
    assert notified(ledger, ("m", 1)) == [first], "ended or not"
    (fresh,) = notified(ledger, ("o", 1))
    assert fresh != first, "another message about it"
    assert notified(ledger, ("p", 1), ("", 1)) == [fresh, fresh], "it has not ended"
    assert notified(ledger, ("m", 3)) != [first], "the same name of another topic"
    assert notified(ledger, ("m", 1), source="elsewhere") != [first]
    assert notified(ledger) == []


def test_what_somebody_wants_already_is_not_wanted_twice(ledger):
    (row,) = begun(ledger, Resource(*uids(1)))
    assert notified(ledger, ("m", 1)) == [row.id]
    assert row.cause is None


@pytest.mark.parametrize(
    ("state", "attempts", "own"),
    [
        ("sending", 0, True),
        ("acknowledged", 0, True),
        ("confirmed", 0, True),
        ("waiting", 0, False),
        ("delayed", 1, True),
        ("withdrawn", 0, False),
        ("quarantined", 4, False),
    ],
)
def test_what_an_index_has_sent_itself(ledger, state, attempts, own):
    study, series, instance = uids(1)
    given = {"study_instance_uid": study, "series_instance_uid": series}
    ledger.arrivals.record([arrival("x", sop_instance_uid=instance, **given)])
    with ledger.writing() as connection:
        connection.exec_driver_sql(
            f"UPDATE gcp_transfers SET state = '{state}', attempts = {attempts}"
        )
    assert (notified(ledger, ("m", 1)) == [None]) is own
    assert notified(ledger, ("m", 1), source="elsewhere") != [None]


def test_what_has_ended(ledger):
    first, second = notified(ledger, ("m", 1), ("n", 2))
    rows = {row.id: row for row in ledger.retrievals.open(ORTHANC)}
    ledger.retrievals.end(rows[first], "not_found", "gone")
    found = ledger.retrievals.ended([first, second])
    assert {number: row.reason for number, row in found.items()} == {first: "not_found"}
    assert ledger.retrievals.ended([]) == {}


def test_what_nobody_wants_is_forgotten_and_its_number_is_not_given_again(ledger):
    first, second, third = notified(ledger, ("m", 1), ("n", 2), ("o", 3))
    rows = {row.id: row for row in ledger.retrievals.open(ORTHANC)}
    for number in (first, third):
        ledger.retrievals.forget(rows[number])
    found = ledger.retrievals.ended([first, second, third])
    assert {number: row and row.state for number, row in found.items()} == {
        first: None,
        third: "unwanted",
    }
    assert ledger.retrievals.count(rows[third]) == 0
    (fourth,) = notified(ledger, ("p", 4))
    assert fourth > third
    assert notified(ledger, ("n", 2)) == [second]


def test_what_was_brought_back(ledger):
    assert not ledger.retrievals.brought_back(ORTHANC, "1")
    ledger.retrievals.request(A, ORTHANC, [STUDY], compare_bytes=False, cause=Cause.PREFETCH)
    assert ledger.retrievals.brought_back(ORTHANC, "1")
    assert not ledger.retrievals.brought_back("elsewhere", "1")
    assert not ledger.retrievals.brought_back(ORTHANC, "2")
    assert [row.cause for row in ledger.retrievals.open(ORTHANC)] == ["prefetch"]
