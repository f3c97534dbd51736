"""Of the versions of one instance, the newest received is the current one, in whatever order."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.reporting.quarantine import dismiss
from orthanc_gcp.ledger.confirmations import ASK_AGAIN_AFTER
from orthanc_gcp.ledger.rows import Outcome, Seen
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.ledger.selection import Selection
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

OTHER = "another orthanc"


def receive(ledger, name: str, at: float, **more: object) -> None:
    """A version of the one instance was received at a time."""
    row = arrival(name, sop_instance_uid="1.1", received_at=at, change_seq=int(at), **more)
    ledger.arrivals.record([row])


def sent(ledger, name: str, state: State = State.ACKNOWLEDGED, **more: object) -> None:
    """What a source has waiting was claimed, and settled so."""
    source = more.pop("source", ORTHANC)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    claimed = ledger.queue.claim(A, source, f"of {name}", "w", **limits)
    assert [row.orthanc_id for row in claimed] == [name]
    settle(ledger, name, state, **more)


def settle(ledger, name: str, state: State, **more: object) -> None:
    rows = claimed_rows(ledger, f"of {name}")
    ledger.queue.settle(f"of {name}", [Outcome(row.id, state, **more) for row in rows])


def confirm(ledger) -> None:
    found = ledger.confirmations.acknowledged(A, SERIES)
    digests = {row.id: row.sha256 for row in found}
    ledger.confirmations.confirm(dict.fromkeys(digests, ledger.now()), digests)


@pytest.mark.parametrize("order", ["older first", "newer first"])
def test_of_two_in_one_orthanc_the_newer_is_sent(ledger, order):
    received = [("old", 10.0), ("new", 20.0)]
    for name, at in received if order == "older first" else reversed(received):
        receive(ledger, name, at)
    assert claim(ledger) == ["new"]
    assert claim(ledger, "c") == []
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.SENDING}
    assert len(events_of(ledger, "superseded")) == 1


def test_of_those_of_one_second_the_later_change_counts(ledger):
    receive(ledger, "a", 10.0)
    ledger.arrivals.record([arrival("b", sop_instance_uid="1.1", received_at=10.0, change_seq=9)])
    ledger.arrivals.record([arrival("a", sop_instance_uid="1.1", received_at=10.0, change_seq=11)])
    assert claim(ledger) == ["a"]


@pytest.mark.parametrize(
    "other", [{"study_instance_uid": "x"}, {"series_instance_uid": "x"}, {"account": "x"}], ids=str
)
def test_another_study_series_or_account_is_another_instance(ledger, other):
    receive(ledger, "one", 10.0)
    receive(ledger, "two", 20.0, **other)
    assert "one" in claim(ledger)
    assert State.SUPERSEDED not in states(ledger).values()


def test_an_old_version_that_is_demanded_is_not_sent_over_the_newer(ledger):
    receive(ledger, "old", 10.0)
    receive(ledger, "new", 20.0)
    sent(ledger, "new", sha256="n")
    receive(ledger, "old", 10.0, priority=Priority.DEMANDED)
    assert states(ledger)["old"] == State.WAITING
    assert claim(ledger) == []
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.ACKNOWLEDGED}


def test_what_is_received_again_is_the_newest(ledger):
    receive(ledger, "old", 10.0)
    receive(ledger, "new", 20.0)
    sent(ledger, "new", sha256="n")
    receive(ledger, "old", 30.0)
    assert claim(ledger) == ["old"]


def test_two_versions_are_never_on_their_way_at_once(ledger):
    receive(ledger, "one", 10.0)
    receive(ledger, "two", 20.0, source=OTHER)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    assert claim(ledger) == ["one"]
    assert ledger.queue.claim(A, OTHER, "c", "w", **limits) == []
    ledger.queue.requeue_batches(["b"])
    assert len(ledger.queue.claim(A, OTHER, "c", "w", **limits)) == 1
    assert claim(ledger, "d") == []


def test_identical_copies_of_two_orthancs_are_both_confirmed(ledger):
    receive(ledger, "one", 10.0)
    receive(ledger, "two", 20.0, source=OTHER)
    sent(ledger, "one", sha256="same")
    sent(ledger, "two", sha256="same", source=OTHER)
    confirm(ledger)
    assert set(states(ledger).values()) == {State.CONFIRMED}


@pytest.mark.parametrize("confirmed", [True, False])
def test_what_was_replaced_does_not_stay_confirmed(ledger, confirmed):
    receive(ledger, "old", 10.0)
    sent(ledger, "old", sha256="o")
    if confirmed:
        confirm(ledger)
    receive(ledger, "new", 20.0, source=OTHER)
    sent(ledger, "new", State.WAITING, source=OTHER, replace=True)
    assert states(ledger)["old"] == State.SUPERSEDED, "the store may have the newer one by now"
    sent(ledger, "new", source=OTHER, sha256="n", replace=True)
    confirm(ledger)
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.CONFIRMED}


def test_an_older_one_does_not_replace_a_newer(ledger):
    receive(ledger, "old", 10.0)
    sent(ledger, "old", State.WAITING, replace=True)
    receive(ledger, "new", 20.0, source=OTHER)
    assert claim(ledger) == []
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.WAITING}


def test_an_older_one_that_was_acknowledged_late_is_not_confirmed(ledger):
    receive(ledger, "new", 20.0, source=OTHER)
    sent(ledger, "new", source=OTHER, sha256="n")
    receive(ledger, "old", 10.0)
    sent(ledger, "old", sha256="o")
    confirm(ledger)
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.CONFIRMED}


@pytest.mark.parametrize("end", [State.WITHDRAWN, State.LOST])
def test_what_was_refused_waits_again_when_the_newer_one_has_gone_meanwhile(ledger, end):
    """It was compared with what the store has, which takes a while, when it was the older one."""
    receive(ledger, "old", 10.0)
    assert claim(ledger, "of old") == ["old"]
    receive(ledger, "new", 20.0, source=OTHER)
    (row,) = claimed_rows(ledger, "of old")
    assert ledger.versions.outdated([row.id]) == {row.id}
    with ledger.writing() as connection:
        newer = transfers.c.orthanc_id == "new"
        connection.execute(transfers.update().where(newer).values(state=end))
    settle(ledger, "old", State.SUPERSEDED, sha256="o", reason="superseded", detail="a newer one")
    assert states(ledger) == {"old": State.WAITING, "new": end}
    assert events_of(ledger, "superseded") == []
    with ledger.reading() as connection:
        mine = sql.select(transfers).where(transfers.c.orthanc_id == "old")
        again = connection.execute(mine).one()
    assert (again.reason, again.detail, again.batch, again.attempts) == (None, None, None, 0)
    assert claim(ledger, "again") == ["old"]


@pytest.mark.parametrize("settled", [State.QUARANTINED, State.SUPERSEDED])
def test_what_the_store_was_seen_not_to_have_is_doubted_of_all(ledger, settled):
    """And nothing says that it has ever taken what was refused."""
    receive(ledger, "one", 10.0)
    sent(ledger, "one", sha256="same")
    receive(ledger, "two", 20.0, source=OTHER)
    sent(ledger, "two", sha256="same", source=OTHER)
    confirm(ledger)
    receive(ledger, "three", 30.0, source="third")
    receive(ledger, "four", 40.0 if settled == State.SUPERSEDED else 5.0, source="fourth")
    reason = "conflict" if settled == State.QUARANTINED else "superseded"
    sent(ledger, "three", settled, sha256="same", source="third", reason=reason)
    expected = {"one": State.ACKNOWLEDGED, "two": State.ACKNOWLEDGED, "three": settled}
    expected["four"] = State.WAITING
    assert states(ledger) == expected
    assert sorted(unsure(ledger)) == ["one", "two"]
    with ledger.reading() as connection:
        query = sql.select(transfers.c.sha256).where(transfers.c.orthanc_id == "three")
        digest = connection.scalar(query)
    assert digest == ("same" if settled == State.QUARANTINED else None)


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Seen(100, "d"), State.CONFIRMED),
        (Seen(100, "third"), State.ACKNOWLEDGED),
        (Seen(100, None), State.CONFIRMED),
        (Seen(99, None), State.ACKNOWLEDGED),
        (None, State.CONFIRMED),
    ],
)
def test_what_the_store_was_seen_to_have_counts_for_all_that_is_confirmed(ledger, seen, state):
    receive(ledger, "one", 10.0)
    sent(ledger, "one", sha256="d")
    confirm(ledger)
    receive(ledger, "two", 20.0, source=OTHER)
    refused = {"sha256": "another", "reason": "conflict", "seen": seen}
    sent(ledger, "two", State.QUARANTINED, source=OTHER, **refused)
    assert states(ledger)["one"] == state


def doubted(ledger, clock) -> tuple[int, float]:
    """It is acknowledged, and another Orthanc meets other bytes; its row, a moment before that."""
    receive(ledger, "one", 10.0)
    sent(ledger, "one", sha256="same", reason="compared")
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    clock.now += 5
    before = clock.now
    clock.now += 5
    receive(ledger, "two", 20.0, source=OTHER)
    sent(ledger, "two", State.QUARANTINED, sha256="same", source=OTHER, reason="conflict")
    return row.id, before


def test_bytes_that_were_read_before_a_doubt_prove_nothing_after_it(ledger, clock):
    row, before = doubted(ledger, clock)
    ledger.confirmations.confirm({row: before}, {row: "same"})
    assert states(ledger)["one"] == State.ACKNOWLEDGED
    assert ledger.confirmations.due(A) == [SERIES]
    ledger.confirmations.confirm({row: clock.now}, {row: "same"})
    assert states(ledger)["one"] == State.CONFIRMED


def test_bytes_of_before_a_doubt_are_not_those_of_a_search_after_it(ledger, clock):
    """Two threads write down at once what they have found."""
    row, before = doubted(ledger, clock)
    with ThreadPoolExecutor(3) as pool, ledger.writing() as connection:
        connection.execute(transfers.update().values(attempts=transfers.c.attempts))
        pool.submit(ledger.confirmations.confirm, {row: before})  # the others wait for it
        time.sleep(0.1)
        pool.submit(ledger.confirmations.confirm, {row: before}, {row: "same"})
        time.sleep(0.1)
        last = pool.submit(ledger.confirmations.confirm, {row: clock.now})
        time.sleep(0.1)
    last.result()
    assert states(ledger)["one"] == State.ACKNOWLEDGED


def test_what_was_compared_before_a_doubt_is_not_called_so_any_more(ledger, clock):
    doubted(ledger, clock)
    assert [row.reason for row in ledger.confirmations.acknowledged(A, SERIES)] == [None]


@pytest.mark.parametrize(("is_late", "reason"), [(False, "compared"), (True, None)], ids=str)
def test_what_was_compared_before_a_late_upsert_is_not_called_so(ledger, is_late, reason):
    """The upsert of an older version, whose batch was taken back, arrives after the comparison."""
    receive(ledger, "old", 10.0)
    sent(ledger, "old", State.WAITING, replace=True)
    assert claim(ledger, "late") == ["old"]
    (old,) = claimed_rows(ledger, "late")
    ledger.queue.requeue_batches(["late"])
    receive(ledger, "new", 20.0, source=OTHER)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    assert len(ledger.queue.claim(A, OTHER, "of new", "w", **limits)) == 1
    if is_late:
        upserted = Outcome(old.id, State.ACKNOWLEDGED, sha256="o", replace=True)
        ledger.queue.settle("late", [upserted])
    settle(ledger, "new", State.ACKNOWLEDGED, sha256="n", reason="compared")
    assert [row.reason for row in ledger.confirmations.acknowledged(A, SERIES)] == [reason]


@pytest.mark.parametrize("met", ["missing", "other bytes"])
def test_what_was_compared_before_an_audit_of_its_twin_is_not_called_so(ledger, met):
    """Two accounts send the same file to one store, and may do so at once."""
    receive(ledger, "one", 10.0)
    sent(ledger, "one", sha256="same")
    receive(ledger, "two", 10.0, source=OTHER)
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    assert len(ledger.queue.claim(A, OTHER, "of two", "w", **limits)) == 1
    requeue = {
        "missing": ledger.confirmations.requeue_lost,
        "other bytes": ledger.confirmations.requeue_different,
    }
    assert requeue[met](ledger.confirmations.acknowledged(A, SERIES)) == 1
    settle(ledger, "two", State.ACKNOWLEDGED, sha256="same", reason="compared")
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    assert row.reason is None
    assert row.may_be_other


def test_what_was_compared_before_an_audit_has_missed_it_is_read_once_more(ledger, clock):
    receive(ledger, "one", 10.0)
    sent(ledger, "one", sha256="same")
    confirm(ledger)
    receive(ledger, "two", 20.0, source=OTHER)
    sent(ledger, "two", sha256="same", source=OTHER, reason="compared")
    with ledger.reading() as connection:
        query = sql.select(transfers).where(transfers.c.orthanc_id == "one")
        lost = connection.execute(query).all()
    before = clock.now
    clock.now += 5
    assert ledger.confirmations.requeue_lost(lost) == 1
    (row,) = ledger.confirmations.acknowledged(A, SERIES)
    assert row.reason is None
    ledger.confirmations.confirm({row.id: before}, {row.id: "same"})
    assert states(ledger)["two"] == State.ACKNOWLEDGED
    ledger.confirmations.confirm({row.id: clock.now}, {row.id: "same"})
    assert states(ledger)["two"] == State.CONFIRMED


def test_when_the_newer_is_withdrawn_the_older_waits_again(ledger):
    receive(ledger, "old", 10.0)
    receive(ledger, "new", 20.0)
    sent(ledger, "new", State.WITHDRAWN, reason="deleted")
    assert states(ledger) == {"old": State.WAITING, "new": State.WITHDRAWN}
    assert claim(ledger) == ["old"]


def test_when_the_newer_is_dismissed_the_older_waits_again(ledger):
    receive(ledger, "old", 10.0)
    receive(ledger, "new", 20.0)
    sent(ledger, "new", State.QUARANTINED, reason="damaged_file")
    assert claim(ledger) == []
    assert states(ledger)["old"] == State.SUPERSEDED
    assert dismiss(ledger, Selection(), by="jane", why="damaged") == 1
    assert states(ledger) == {"old": State.WAITING, "new": State.DISMISSED}
    assert claim(ledger) == ["old"]
    ((row,),) = [claimed_rows(ledger, "b")]
    assert ledger.versions.outdated([row.id]) == {row.id}, "it is not to replace what is there"


def test_what_was_dismissed_is_not_replaced_by_an_older_one(ledger):
    receive(ledger, "old", 10.0)
    sent(ledger, "old", State.WAITING, replace=True)
    receive(ledger, "new", 20.0, source=OTHER)
    sent(ledger, "new", State.QUARANTINED, source=OTHER, reason="uncompared")
    assert dismiss(ledger, Selection(), by="jane", why="it is there") == 1
    assert claim(ledger) == []
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.DISMISSED}


def test_which_are_outdated(ledger):
    receive(ledger, "old", 10.0)
    receive(ledger, "new", 20.0, source=OTHER)
    receive(ledger, "else", 30.0, study_instance_uid="x")
    with ledger.reading() as connection:
        rows = connection.exec_driver_sql("SELECT orthanc_id, id FROM gcp_transfers").all()
    ids = {row.orthanc_id: row.id for row in rows}
    assert ledger.versions.outdated(list(ids.values())) == {ids["old"]}


def test_very_many_old_versions_do_not_hold_up_the_queue(sqlite_ledger):
    ledger = sqlite_ledger
    for at in range(60):
        receive(ledger, f"version {at:02}", float(at))
    assert claim(ledger, most_instances=20) == ["version 59"]


def search(ledger) -> dict[str, str]:
    """Confirm what a search finds, which names no version; the states then."""
    found = ledger.confirmations.acknowledged(A, SERIES)
    ledger.confirmations.confirm({row.id: ledger.now() for row in found})
    return states(ledger)


def unsure(ledger) -> list[str]:
    found = ledger.confirmations.acknowledged(A, SERIES)
    return [row.orthanc_id for row in found if row.may_be_other]


@pytest.mark.parametrize("settled", [State.DELAYED, State.QUARANTINED, State.SUPERSEDED])
def test_a_search_does_not_say_which_of_two_versions_is_there(ledger, settled):
    receive(ledger, "old", 10.0)
    receive(ledger, "new", 20.0, source=OTHER)
    sent(ledger, "old", settled, reason="r")
    sent(ledger, "new", source=OTHER, sha256="n")
    assert search(ledger) == {"old": settled, "new": State.ACKNOWLEDGED}
    assert unsure(ledger) == ["new"]
    assert ledger.confirmations.due(A) == [SERIES]
    confirm(ledger)
    assert states(ledger) == {"old": settled, "new": State.CONFIRMED}


def test_what_is_being_sent_is_waited_for_before_a_search_counts(ledger, clock):
    receive(ledger, "new", 20.0, source=OTHER)
    sent(ledger, "new", source=OTHER, sha256="same")
    receive(ledger, "old", 10.0)
    assert claim(ledger) == ["old"]
    assert search(ledger)["new"] == State.ACKNOWLEDGED
    assert (unsure(ledger), ledger.confirmations.due(A)) == ([], [])
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="same")
    clock.now += ASK_AGAIN_AFTER
    assert ledger.confirmations.due(A) == [SERIES]
    assert search(ledger) == {"old": State.CONFIRMED, "new": State.CONFIRMED}


def test_what_was_sent_by_a_worker_that_is_gone_may_be_there(ledger):
    receive(ledger, "new", 20.0, source=OTHER)
    sent(ledger, "new", source=OTHER, sha256="n")
    receive(ledger, "old", 10.0)
    assert claim(ledger) == ["old"]
    ledger.queue.requeue_claims_of("w")
    assert search(ledger)["new"] == State.ACKNOWLEDGED
    assert unsure(ledger) == ["new"]


def test_what_was_never_sent_is_not_there(ledger):
    receive(ledger, "old", 10.0, source=OTHER)
    receive(ledger, "new", 20.0)
    sent(ledger, "new", sha256="n")
    assert search(ledger) == {"old": State.WAITING, "new": State.CONFIRMED}


def test_what_came_from_the_store_may_be_there_still(ledger):
    receive(ledger, "old", 10.0, source=OTHER, retrieved_sha256="o", retrieved_at=10.0)
    receive(ledger, "new", 20.0)
    sent(ledger, "new", sha256="n")
    assert search(ledger) == {"old": State.SUPERSEDED, "new": State.ACKNOWLEDGED}
    assert unsure(ledger) == ["new"]


@pytest.mark.parametrize("confirmed", [True, False])
def test_what_came_from_the_store_before_a_newer_version_was_sent_is_old(ledger, confirmed):
    """No rule had wanted it until then: it is written down last."""
    receive(ledger, "new", 5.0, source=OTHER)
    sent(ledger, "new", source=OTHER, sha256="n")
    if confirmed:
        confirm(ledger)
    receive(ledger, "old", 10.0, retrieved_sha256="o", retrieved_at=ledger.now() - 10)
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.ACKNOWLEDGED}
    assert unsure(ledger) == ["new"], "the store may have the older one again"
    assert len(events_of(ledger, "superseded")) == 1
    confirm(ledger)
    assert states(ledger) == {"old": State.SUPERSEDED, "new": State.CONFIRMED}


def test_what_came_from_the_store_as_another_has_sent_it_is_there(ledger):
    receive(ledger, "sent", 5.0, source=OTHER)
    sent(ledger, "sent", source=OTHER, sha256="same")
    confirm(ledger)
    receive(ledger, "came", 10.0, retrieved_sha256="same", retrieved_at=ledger.now())
    receive(ledger, "other", 10.0, study_instance_uid="x", retrieved_sha256="o", retrieved_at=10.0)
    assert set(states(ledger).values()) == {State.CONFIRMED}


def test_the_past_of_a_row_for_the_same_store_counts(ledger):
    """Its account has another name by now, and what that had sent before was not confirmed."""
    receive(ledger, "one", 10.0, attachment_uuid="a")
    sent(ledger, "one", State.DELAYED)
    receive(ledger, "one", 20.0, attachment_uuid="b")
    with ledger.writing() as connection:
        connection.exec_driver_sql("UPDATE gcp_destinations SET store = 's'")
        connection.exec_driver_sql(
            "INSERT INTO gcp_destinations (account, endpoint, store, since, used_at)"
            " SELECT 'renamed', endpoint, store, since, used_at FROM gcp_destinations"
        )
    receive(ledger, "one", 20.0, attachment_uuid="b", account="renamed")
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    (row,) = ledger.queue.claim("renamed", ORTHANC, "b", "w", **limits)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="b")
    ledger.confirmations.confirm({row.id: ledger.now()})
    (row,) = ledger.confirmations.acknowledged("renamed", SERIES)
    assert row.may_be_other


def test_versions_that_wait_for_another_hold_up_nothing_behind_them(ledger):
    """However many they are, and however long the other takes to be sent."""
    for number in range(3):
        one = {"sop_instance_uid": f"1.{number}", "received_at": 10.0}
        ledger.arrivals.record([arrival(f"theirs {number}", source=OTHER, **one)])
        ledger.arrivals.record([arrival(f"mine {number}", **one)])
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
    assert len(ledger.queue.claim(A, OTHER, "theirs", "w", **limits)) == 3
    ledger.arrivals.record([arrival("other", received_at=10.0)])
    assert claim(ledger, most_instances=1) == ["other"]
