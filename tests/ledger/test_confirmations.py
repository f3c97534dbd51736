"""From acknowledged to confirmed, or back to the queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sql

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Series
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.reasons import TransferReason
from tests.support.ledgers import (
    ORTHANC,
    SERIES,
    A,
    arrival,
    claim,
    claimed_rows,
    settle_batch,
    states,
)
from tests.support.transfers import events_of


def test_the_way_of_an_instance(ledger):
    ledger.arrivals.record([arrival("1")])
    assert states(ledger) == {"1": State.WAITING}
    assert claim(ledger) == ["1"]
    assert states(ledger) == {"1": State.SENDING}
    assert claim(ledger, "c") == []
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    assert ledger.confirmations.readable(A, [SERIES]) == [SERIES]
    ledger.confirmations.confirm(
        {row.id: ledger.now() for row in ledger.confirmations.acknowledged(A, SERIES)}
    )
    assert states(ledger) == {"1": State.CONFIRMED}


def test_a_series_is_read_back_when_all_of_it_was_sent(ledger, clock):
    """All that the same Orthanc has of it; and what has waited for that long enough."""
    other = Series("study 2", SERIES.series_instance_uid)
    ledger.arrivals.record([arrival("1"), arrival("2", source="gone")])
    ledger.arrivals.record([arrival("3", study_instance_uid=other.study_instance_uid)])
    claim(ledger, most_instances=1)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    assert ledger.confirmations.readable(A, [SERIES]) == [SERIES]
    ledger.arrivals.record([arrival("4")])
    assert ledger.confirmations.readable(A, [SERIES]) == []
    clock.now += 16
    assert ledger.confirmations.readable(A, [SERIES, other]) == [SERIES, other]
    assert [row.orthanc_id for row in ledger.confirmations.acknowledged(A, SERIES)] == ["1"]
    assert ledger.confirmations.acknowledged(A, other) == []


def test_what_is_due_for_longest_comes_first(ledger, clock):
    series = [Series("study", f"s{number}") for number in range(4)]
    for number, one in enumerate(series):
        ledger.arrivals.record([arrival(f"{number}", series_instance_uid=one.series_instance_uid)])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    for wait, one in zip((3, 1, 2, 90), series, strict=True):
        (row,) = ledger.confirmations.acknowledged(A, one)
        ledger.confirmations.postpone([row.id], clock.now + wait, reason="r", counts=True)
    clock.now += 5
    assert ledger.confirmations.due(A) == [series[1], series[2], series[0]]
    assert ledger.confirmations.due(A, limit=1) == [series[1]]
    (row,) = ledger.confirmations.acknowledged(A, series[3])
    assert (row.reason, row.attempts) == ("r", 1)


def test_what_is_due_of_backfills_is_asked_for_apart(ledger, clock):
    """However much of it has waited for longer."""
    for number in range(20):
        kind = Priority.BACKFILL if number % 10 else Priority(number // 10)
        more = {"priority": kind, "series_instance_uid": f"s{number}"}
        ledger.arrivals.record([arrival(f"{number}", **more)])
    for number in range(3):
        claim(ledger, f"{number}")
        rows = claimed_rows(ledger, f"{number}")
        settle_batch(ledger, State.ACKNOWLEDGED, f"{number}", sha256="d")
        for row in rows:
            due = clock.now + 9 - row.priority
            ledger.confirmations.postpone([row.id], due, reason="r")
    clock.now += 20
    assert ledger.confirmations.due(A, 2) == [Series("study", "s10"), Series("study", "s0")]
    assert ledger.confirmations.due(A, but=[Series("study", "s10")]) == [Series("study", "s0")]
    assert len(ledger.confirmations.due(A, backfilled=True)) == 18


def test_what_is_urgent_is_not_looked_for_among_all_of_a_backfill(sqlite_ledger):
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    sql.event.listen(sqlite_ledger.engine, "before_cursor_execute", note)
    sqlite_ledger.confirmations.due(A)
    sql.event.remove(sqlite_ledger.engine, "before_cursor_execute", note)
    with sqlite_ledger.reading() as connection:
        statement, parameters = asked[-1]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "gcp_transfers_queue" in str(plan)
    assert "gcp_transfers_acknowledged" not in str(plan)


def test_what_was_not_read_back_after_all_is_due(ledger, clock):
    series = [Series("study", "s1"), Series("study", "s2"), Series("study", "s3")]
    for number, one in enumerate(series):
        ledger.arrivals.record([arrival(f"{number}", series_instance_uid=one.series_instance_uid)])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    (row,) = ledger.confirmations.acknowledged(A, series[2])
    ledger.confirmations.postpone([row.id], clock.now + 9)
    ledger.confirmations.make_due(A, series[1:])
    assert ledger.confirmations.due(A) == [series[1]]
    ledger.confirmations.make_due(A, [])


def test_only_acknowledged_instances_are_confirmed(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    (row,) = claimed_rows(ledger, "b")
    for state in (State.DELAYED, State.QUARANTINED, State.WITHDRAWN):
        ledger.confirmations.confirm({row.id: ledger.now()})
        settle_batch(ledger, state, next_attempt_at=0.0, reason="r")
        ledger.confirmations.confirm({row.id: ledger.now()})
        assert states(ledger) == {"1": state}
        ledger.arrivals.record([arrival("1", priority=Priority.DEMANDED)])
        if state == State.DELAYED:
            ledger.queue.requeue_due(A)
        assert claim(ledger) == ["1"]


def test_a_newer_version_of_an_acknowledged_instance_is_not_confirmed_by_an_old_look(ledger, clock):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="old")
    (seen,) = ledger.confirmations.acknowledged(A, SERIES)
    ledger.arrivals.record([arrival("1", change_seq=2)])
    ledger.confirmations.confirm({seen.id: clock.now})
    assert states(ledger) == {"1": State.WAITING}
    looked = clock.now
    clock.now += 1
    claim(ledger, "c")
    settle_batch(ledger, State.ACKNOWLEDGED, "c", sha256="new")
    ledger.confirmations.confirm({seen.id: looked})
    assert states(ledger) == {"1": State.ACKNOWLEDGED}
    ledger.confirmations.confirm({seen.id: clock.now})
    assert states(ledger) == {"1": State.CONFIRMED}


def test_bytes_that_were_read_confirm_no_version_that_came_meanwhile(ledger, clock):
    """The worker that has sent that has a clock that is behind."""
    other = Ledger(ledger.engine, lambda: clock.now - 60)
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="old")
    (seen,) = ledger.confirmations.acknowledged(A, SERIES)
    ledger.arrivals.record([arrival("1", change_seq=2, attachment_uuid="new")])
    claim(other, "c")
    settle_batch(other, State.ACKNOWLEDGED, "c", sha256="new")
    ledger.confirmations.confirm({seen.id: clock.now}, {seen.id: "old"})
    assert states(ledger) == {"1": State.ACKNOWLEDGED}
    ledger.confirmations.confirm({seen.id: clock.now}, {seen.id: "new"})
    assert states(ledger) == {"1": State.CONFIRMED}


def test_what_came_from_the_store_and_is_doubted_is_read_back_like_all_else(ledger, clock):
    """No answer has ever acknowledged it: it was there when it was retrieved."""
    retrieved = {"retrieved_sha256": "d", "retrieved_at": clock.now - 60}
    ledger.arrivals.record([arrival("1", source="another", **retrieved)])
    ledger.arrivals.record([arrival("2", sop_instance_uid="1.1", received_at=6000.0)])
    claim(ledger)
    settle_batch(ledger, State.QUARANTINED, reason="conflict", sha256="d")
    assert states(ledger) == {"1": State.ACKNOWLEDGED, "2": State.QUARANTINED}
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    assert ledger.confirmations.acknowledged_at([row.id]) == {row.id: clock.now - 60}
    clock.now += 1
    ledger.confirmations.postpone([row.id], clock.now)
    ledger.confirmations.confirm({row.id: clock.now}, {row.id: "d"})
    assert states(ledger)["1"] == State.CONFIRMED
    with ledger.reading() as connection:
        query = sql.select(transfers.c.reason).where(transfers.c.id == row.id)
        assert connection.scalar(query) == "retrieved", "still, nobody has sent it"


def test_what_was_not_seen_is_searched_again_at_its_time(ledger, clock):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    assert ledger.confirmations.due(A) == []
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    ledger.confirmations.postpone([row.id], clock.now + 60)
    clock.now += 59
    assert ledger.confirmations.due(A) == []
    clock.now += 1
    assert ledger.confirmations.due(A) == [SERIES]


def test_a_reading_back_that_was_lost_is_due_by_itself(ledger, clock):
    """As when the worker died between the answer and the search."""
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    clock.now += 16
    assert ledger.confirmations.due(A) == [SERIES]


def test_what_is_missing_is_sent_again_as_the_outcome_says(ledger, clock):
    ledger.arrivals.record([arrival("1"), arrival("2")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    (row, _) = ledger.confirmations.acknowledged(A, SERIES)
    again = Outcome(row.id, State.DELAYED, "missing", "gone", sha256="d", next_attempt_at=clock.now)
    ledger.confirmations.settle([again])
    assert states(ledger) == {"1": State.DELAYED, "2": State.ACKNOWLEDGED}
    assert [event.detail for event in events_of(ledger, "missing")] == ["missing: gone"]
    assert ledger.confirmations.acknowledged_at([row.id]) == {}


def test_what_was_seen_of_a_version_says_nothing_of_one_that_was_sent_since(ledger):
    """It was received anew, and sent, while the store was asked for the version of before."""
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="old")
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    ledger.arrivals.record([arrival("1", change_seq=9, attachment_uuid="new")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="new")
    for state in (State.DELAYED, State.QUARANTINED):
        seen = Outcome(row.id, state, "different", sha256="old", other_is_there=True)
        ledger.confirmations.settle([seen])
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    assert (row.sha256, row.reason, row.attempts) == ("new", None, 0)
    assert not events_of(ledger, "missing") + events_of(ledger, "quarantined")


def test_what_an_audit_has_missed_of_a_version_says_nothing_of_one_that_was_sent_since(ledger):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="old")
    missed = ledger.confirmations.acknowledged(A, SERIES)
    ledger.arrivals.record([arrival("1", change_seq=9, attachment_uuid="new")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="new")
    assert ledger.confirmations.requeue_lost(missed) == 0
    assert ledger.confirmations.requeue_different(missed) == 0
    assert states(ledger) == {"1": State.ACKNOWLEDGED}
    assert not events_of(ledger, "missing")


def test_what_was_remembered_of_a_version_counts_as_long_as_the_ledger_says_so(ledger, clock):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d", reason=TransferReason.COMPARED)
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    ledger.confirmations.postpone([row.id], clock.now, other_is_there=True)
    clock.now += 1
    ledger.confirmations.confirm({row.id: clock.now}, {row.id: "d"}, remembered=[row.id])
    assert states(ledger) == {"1": State.ACKNOWLEDGED}
    ledger.confirmations.confirm({row.id: clock.now}, {row.id: "d"})
    assert states(ledger) == {"1": State.CONFIRMED}


def test_what_the_store_has_lost_waits_again_from_the_beginning(ledger):
    ledger.arrivals.record([arrival("1"), arrival("2"), arrival("3", held_for_orthanc_id="x")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d", attempts=4)
    lost = ledger.confirmations.acknowledged(A, SERIES)
    ledger.confirmations.confirm({row.id: ledger.now() for row in lost[:1]})
    assert ledger.confirmations.requeue_lost(lost) == 2
    assert states(ledger) == {"1": State.WAITING, "2": State.WAITING, "3": State.HELD}
    assert len(events_of(ledger, "missing")) == 2
    assert ledger.confirmations.requeue_lost(lost) == 0
    (row, _) = ledger.queue.claim(
        A, ORTHANC, "again", "w", most_instances=9, most_bytes=999, most_batches=9
    )
    assert (row.attempts, row.sha256) == (0, "d")


def test_whether_a_series_is_long(ledger):
    ledger.arrivals.record([arrival(str(number)) for number in range(3)])
    assert ledger.confirmations.is_long(A, SERIES, 2)
    assert not ledger.confirmations.is_long(A, SERIES, 3)
    assert not ledger.confirmations.is_long(A, Series("other", SERIES.series_instance_uid), 0)


def test_several_series_are_asked_for_at_once(ledger):
    others = [Series("study", "s1"), Series("another study", "s1"), Series("study", "s2")]
    for number, one in enumerate(others):
        ledger.arrivals.record([arrival(f"{number}", **one._asdict())])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    found = ledger.confirmations.acknowledged(A, *others[1:])
    assert {row.series for row in found} == set(others[1:])


def test_what_is_to_be_read_is_known_with_the_series_unless_it_is_much(ledger):
    others = [Series("study", "s1"), Series("another study", "s1"), Series("study", "s2")]
    for number, one in enumerate(others):
        ledger.arrivals.record([arrival(f"{number}", **one._asdict())])
    claim(ledger, most_instances=2)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    ledger.arrivals.record([arrival("3", **others[1]._asdict())])
    found = ledger.confirmations.to_read(A, others, 9)
    names = {one: [row.orthanc_id for row in rows] for one, rows in found.items()}
    assert names == {others[0]: ["0"], others[2]: []}, "one is still to be sent"
    assert ledger.confirmations.to_read(A, others[:1], 0).keys() == {others[0]}
    assert ledger.confirmations.to_read(A, [others[0], others[2]], 0) == {
        others[0]: None,
        others[2]: None,
    }
    assert ledger.confirmations.to_read(A, [], 9) == {}


def test_what_many_threads_read_back_at_once(ledger):
    """Each has its own series, of its own account, and all is confirmed."""
    accounts = A, "another account"
    wanted = [(account, f"s{number}") for account in accounts for number in range(8)]
    ledger.arrivals.record(
        [arrival(uid, account=account, series_instance_uid=uid) for account, uid in wanted]
    )
    for account in accounts:
        limits = {"most_instances": 100, "most_bytes": 10**9, "most_batches": 10}
        ledger.queue.claim(account, ORTHANC, account, "w", **limits)
        settle_batch(ledger, State.ACKNOWLEDGED, account, sha256="d")

    def read_back(account: str, uid: str) -> list[str]:
        series = Series("study", uid), Series("study", "unknown")
        found = ledger.confirmations.to_read(account, series, 1000)
        rows = [row for some in found.values() for row in some or ()]
        assert tuple(found) == series
        assert all(row.account == account for row in rows)
        ledger.confirmations.confirm({row.id: ledger.now() for row in rows})
        return [row.series_instance_uid for row in rows]

    with ThreadPoolExecutor(len(wanted)) as pool:
        found = list(pool.map(lambda one: read_back(*one), wanted))
    assert found == [[uid] for _, uid in wanted]
    with ledger.reading() as connection:
        assert set(connection.scalars(sql.select(transfers.c.state))) == {State.CONFIRMED}


def test_of_many_instances_that_are_read_back_at_once_few_are_in_memory(ledger):
    """Those of a series that is asked for alone are, however many they are."""
    series = [Series("study", f"s{number}") for number in range(3)]
    for one in series:
        uid = one.series_instance_uid
        ledger.arrivals.record(
            [arrival(f"{uid}.{number}", series_instance_uid=uid) for number in range(4)]
        )
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")
    assert ledger.confirmations.to_read(A, series, 11) == dict.fromkeys(series)
    assert len(ledger.confirmations.to_read(A, series, 12)[series[0]] or ()) == 4
    assert len(ledger.confirmations.to_read(A, series[:1], 1)[series[0]] or ()) == 4
