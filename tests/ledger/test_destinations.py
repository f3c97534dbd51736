"""An account is the store that the configuration names: what waits for another is not for it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sql

from orthanc_gcp.configuration import read
from orthanc_gcp.ledger.destinations import StoreName, stores_of
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import Outcome, Transfer
from orthanc_gcp.ledger.schema import Priority, State, destinations, transfers
from tests.support.configurations import configured
from tests.support.ledgers import ORTHANC, SERIES, A, arrival, claim, settle_batch, states

FIRST, SECOND = StoreName("projects/p/first"), StoreName("projects/p/second")


@pytest.fixture
def process(ledger, clock):
    """A process whose configuration names a store for the account."""

    def make(store: StoreName | None) -> Ledger:
        made = Ledger(ledger.engine, clock, {A: store} if store else {})
        clock.now += 1
        made.destinations.register()
        return made

    return make


def acknowledge(ledger: Ledger, *names: str) -> None:
    ledger.arrivals.record([arrival(name) for name in names])
    assert sorted(claim(ledger)) == sorted(names)
    settle_batch(ledger, State.ACKNOWLEDGED, sha256="d")


def test_each_store_is_a_destination_for_ever(process):
    first = process(FIRST).destinations.find(A)
    second = process(SECOND).destinations.find(A)
    assert first != second
    assert process(FIRST).destinations.find(A) == first
    known = process(SECOND).destinations.all()
    assert [(one.id, one.name, one.since < one.used_at) for one in known] == [
        (first, FIRST, True),
        (second, SECOND, True),
    ]


def test_a_worker_learns_what_the_account_was(process, ledger, clock):
    (registered,) = Ledger(ledger.engine, clock, {A: FIRST}).destinations.register()
    assert (registered.before, registered.adopted) == (None, False)
    process(SECOND)
    (registered,) = Ledger(ledger.engine, clock, {A: SECOND}).destinations.register()
    assert registered.before is None
    (registered,) = Ledger(ledger.engine, clock, {A: FIRST}).destinations.register()
    assert registered.before is not None
    assert registered.before.name == SECOND


def test_the_same_path_elsewhere_is_another_store(process):
    emulated = FIRST._replace(endpoint="http://127.0.0.1:8085")
    assert process(FIRST).destinations.find(A) != process(emulated).destinations.find(A)
    assert str(emulated) == "projects/p/first at http://127.0.0.1:8085"


@pytest.mark.parametrize(
    ("base", "endpoint"),
    [
        ("https://healthcare.googleapis.com/v1/", ""),
        ("https://healthcare.europe-west2.rep.googleapis.com/v1beta1", ""),
        ("HTTPS://Gateway.example/health/v1/", "https://gateway.example/health"),
        ("http://127.0.0.1:8085/v1beta1/", "http://127.0.0.1:8085"),
        ("http://127.0.0.1:8085/v1", "http://127.0.0.1:8085"),
    ],
)
def test_what_a_configuration_names(tmp_path, base, endpoint):
    settings = read(configured("GoogleCloudPlatform.BaseUrl", base), tmp_path)
    (account,) = settings.accounts
    assert stores_of(settings) == {account.name: StoreName(account.store_path, endpoint)}


def test_a_store_that_was_not_known_is_the_first_that_is_named(process, ledger):
    """As of a ledger that did not write it down, or of an account whose options had an error."""
    ledger.arrivals.record([arrival("1")])
    unknown = ledger.destinations.find(A)
    # It is the same to whoever only reads before a worker has started.
    assert Ledger(ledger.engine, stores={A: FIRST}).destinations.find(A) == unknown
    assert process(FIRST).destinations.find(A) == unknown
    assert process(SECOND).destinations.find(A) != unknown
    (known,) = (one for one in ledger.destinations.all() if one.id == unknown)
    assert known.name == FIRST


def test_what_has_no_store_now_is_what_was_used_last(process):
    first = process(FIRST)
    process(SECOND)
    process(FIRST)
    assert process(None).destinations.find(A) == first.destinations.find(A)
    assert process(None).destinations.find("never") is None


def test_several_that_begin_at_once_write_it_once(ledger, clock):
    def begin(account: str) -> None:
        own = Ledger(ledger.engine, clock)
        own.arrivals.record([arrival(account, account="unknown")])
        Ledger(ledger.engine, clock, {A: FIRST, "b": SECOND}).destinations.register()

    threads = [threading.Thread(target=begin, args=(f"{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = ledger.destinations.all()
    assert sorted(one.account for one in known) == sorted([A, "b", "unknown"])


def test_a_thousand_accounts_are_registered(ledger, clock):
    stores = {f"account-{number}": FIRST for number in range(1200)}
    for _ in range(2):
        own = Ledger(ledger.engine, clock, stores)
        assert all(one.before is None for one in own.destinations.register())
    assert len(own.destinations.all()) == 1200


def test_what_was_not_committed_is_not_remembered(ledger, clock):
    own = Ledger(ledger.engine, clock, {A: FIRST})
    cursor = own.indexes.begin(ORTHANC, 1, 5.0)
    broken = replace(
        cursor, seq="no number" if ledger.engine.dialect.name != "sqlite" else object()
    )
    with pytest.raises(sql.exc.SQLAlchemyError):
        own.arrivals.record([arrival("1")], broken)
    assert own.destinations.find(A) is None
    own.arrivals.record([arrival("1")])
    assert claim(own) == ["1"]


# -- Nothing of one store is anything of the other ------------------------------------------------


def test_what_waits_for_one_store_is_never_sent_to_another(process, clock):
    first = process(FIRST)
    first.arrivals.record([arrival("1"), arrival("2", held_for_orthanc_id="s")])
    second = process(SECOND)
    second.arrivals.release(ORTHANC, ["s"])
    second.queue.hasten(A)
    second.queue.requeue_due(A)
    second.queue.give_up(A, ORTHANC, clock.now + 1e9)
    assert claim(second) == []
    assert states(second) == {"1": State.WAITING, "2": State.WAITING}
    assert sorted(claim(first)) == ["1", "2"]


def test_two_workers_of_different_configurations_each_have_their_own(process):
    """As while workers on one database are restarted one after the other."""
    first, second = process(FIRST), process(SECOND)
    first.arrivals.record([arrival("1")])
    second.arrivals.record([arrival("2")])
    assert claim(second, "s") == ["2"]
    assert claim(first, "f", most_batches=1) == ["1"], "the other's batches do not count"
    settle_batch(first, State.DELAYED, "f", next_attempt_at=0.0)
    settle_batch(second, State.ACKNOWLEDGED, "s", sha256="d")
    first.queue.requeue_due(A)
    assert claim(second) == []
    assert claim(first) == ["1"]
    assert first.confirmations.acknowledged(A, SERIES) == []
    assert [row.orthanc_id for row in second.confirmations.acknowledged(A, SERIES)] == ["2"]


def test_what_a_store_has_acknowledged_is_read_back_there(process, clock):
    first = process(FIRST)
    acknowledge(first, "1")
    second = process(SECOND)
    clock.now += 100
    assert second.confirmations.due(A) == []
    second.confirmations.make_due(A, [SERIES])
    assert second.confirmations.acknowledged(A, SERIES) == []
    assert first.confirmations.due(A) == [SERIES]


def test_the_digest_of_one_store_says_nothing_of_another(process):
    first = process(FIRST)
    acknowledge(first, "1")
    (row,) = first.confirmations.acknowledged(A, SERIES)
    first.confirmations.confirm({row.id: first.now()})
    assert first.stored_digests.known(A, {row: "d"}) == {row.id}
    second = process(SECOND)
    second.arrivals.record([arrival("1", priority=Priority.DEMANDED)])
    (new,) = second.queue.claim(
        A, ORTHANC, "b", "w", most_instances=9, most_bytes=999, most_batches=9
    )
    assert second.stored_digests.known(A, {new: "d"}) == set()


def test_a_version_in_one_store_supersedes_none_in_another(process):
    first = process(FIRST)
    first.arrivals.record([arrival("old", sop_instance_uid="1", received_at=1.0)])
    second = process(SECOND)
    second.arrivals.record([arrival("new", sop_instance_uid="1", received_at=2.0)])
    (new,) = second.queue.claim(
        A, ORTHANC, "b", "w", most_instances=9, most_bytes=999, most_batches=9
    )
    second.queue.settle("b", [Outcome(new.id, State.ACKNOWLEDGED, sha256="d", replace=True)])
    assert states(first) == {"old": State.WAITING, "new": State.ACKNOWLEDGED}
    (old,) = first.queue.claim(
        A, ORTHANC, "c", "w", most_instances=9, most_bytes=999, most_batches=9
    )
    assert first.versions.outdated([old.id]) == set()


def test_a_worker_that_was_restarted_for_another_store_sends_none_of_its_own(process):
    """What it was sending when it was killed waits for the store that it was for."""
    first = process(FIRST)
    first.arrivals.record([arrival("1")])
    assert claim(first, "before") == ["1"]
    second = process(SECOND)
    second.queue.requeue_batches(second.queue.claimed_batches("w"))
    assert states(second) == {"1": State.WAITING}
    assert claim(second) == []
    assert claim(first) == ["1"]


# -- Several accounts of one store ----------------------------------------------------------------


@pytest.fixture
def both(ledger, clock):
    """Two accounts that name the same store."""
    own = Ledger(ledger.engine, clock, {A: FIRST, "b": FIRST})
    own.destinations.register()
    return own


def claim_as(ledger: Ledger, account: str, batch: str) -> list[Transfer]:
    limits = {"most_instances": 9, "most_bytes": 9999, "most_batches": 9}
    return ledger.queue.claim(account, ORTHANC, batch, "w", **limits)


def test_there_is_one_version_in_a_store_whichever_account_sends_it(both):
    both.arrivals.record([arrival("old", sop_instance_uid="1", received_at=1.0)])
    both.arrivals.record([arrival("new", account="b", sop_instance_uid="1", received_at=2.0)])
    assert claim_as(both, A, "x") == []
    assert states(both) == {"old": State.SUPERSEDED, "new": State.WAITING}
    assert [row.orthanc_id for row in claim_as(both, "b", "y")] == ["new"]


def test_one_instance_for_two_accounts_of_a_store_is_one_version(both):
    both.arrivals.record([arrival("1"), arrival("1", account="b")])
    for account in (A, "b"):
        (row,) = claim_as(both, account, account)
        both.queue.settle(account, [Outcome(row.id, State.ACKNOWLEDGED, sha256="d")])
        both.confirmations.confirm({row.id: both.now()})
    assert set(states(both).values()) == {State.CONFIRMED}


def test_what_one_account_replaces_is_confirmed_of_none(both):
    """The same instance of Orthanc, received anew, and sent by the other account only."""
    both.arrivals.record([arrival("1", attachment_uuid="first", received_at=1.0)])
    (row,) = claim_as(both, A, "x")
    both.queue.settle("x", [Outcome(row.id, State.ACKNOWLEDGED, sha256="d")])
    both.confirmations.confirm({row.id: both.now()})
    anew = arrival("1", account="b", attachment_uuid="second", received_at=2.0)
    both.arrivals.record([anew])
    (other,) = claim_as(both, "b", "y")
    both.queue.settle("y", [Outcome(other.id, State.ACKNOWLEDGED, sha256="e", replace=True)])
    query = sql.select(transfers.c.state).order_by(transfers.c.id)
    with both.reading() as connection:
        assert list(connection.scalars(query)) == [State.SUPERSEDED, State.ACKNOWLEDGED]


def test_what_one_account_has_sent_is_known_to_another_of_the_same_store(both):
    """As when an account is renamed: what it sends again is there."""
    acknowledge(both, "1")
    (row,) = both.confirmations.acknowledged(A, SERIES)
    both.confirmations.confirm({row.id: both.now()})
    both.arrivals.record([arrival("1", account="b")])
    (again,) = claim_as(both, "b", "x")
    assert both.stored_digests.known("b", {again: "d"}) == {again.id}


# -- What is owed to a new store ------------------------------------------------------------------


def test_what_was_written_down_for_the_former_store_is_not_owed_to_the_new_one(process):
    """Neither when changes are read again nor when all is compared; but what is new is."""
    first = process(FIRST)
    first.arrivals.record([arrival("1", attachment_uuid="u"), arrival("2", attachment_uuid="u")])
    second = process(SECOND)
    known = second.arrivals.known(ORTHANC, ["1", "2", "3"])
    assert {name: one.files for name, one in known.items()} == {"1": {"u"}, "2": {"u"}}
    assert second.arrivals.record([arrival("1", change_seq=9)], other_versions=True) == 0
    assert second.arrivals.record([arrival("1", received_at=9000.0), arrival("3")]) == 2
    assert sorted(claim(second)) == ["1", "3"]


@pytest.mark.parametrize("priority", [Priority.BACKFILL, Priority.DEMANDED])
def test_a_backfill_and_a_demand_send_it_to_the_new_store_as_well(process, priority):
    acknowledge(process(FIRST), "1")
    second = process(SECOND)
    assert second.arrivals.record([arrival("1", priority=priority)]) == 1
    assert claim(second) == ["1"]


def test_what_went_unsent_and_is_there_again_is_for_the_new_store(process):
    """It was withdrawn, as it was deleted in Orthanc, while the account was the former store."""
    first = process(FIRST)
    first.arrivals.record([arrival("1"), arrival("2")])
    claim(first)
    settle_batch(first, State.WITHDRAWN, reason="deleted")
    second = process(SECOND)
    assert second.arrivals.known(ORTHANC, ["1"]) == {}
    assert second.arrivals.reopen(ORTHANC, ["1"]) == 0
    assert second.arrivals.record([arrival("1")]) == 1
    assert first.arrivals.known(ORTHANC, ["1"])["1"].deleted
    assert first.arrivals.reopen(ORTHANC, ["1"]) == 1


def test_what_a_person_has_closed_is_not_found_missing(process):
    first = process(FIRST)
    first.arrivals.record([arrival("1")])
    claim(first)
    settle_batch(first, State.WITHDRAWN, reason="closed")
    second = process(SECOND)
    assert second.arrivals.known(ORTHANC, ["1"]).keys() == {"1"}
    assert second.arrivals.record([arrival("1")]) == 0


def test_a_version_of_after_the_change_is_what_counts(process):
    """Otherwise each comparison would find the former row, and look at the instance again."""
    process(FIRST).arrivals.record([arrival("1", attachment_uuid="old")])
    second = process(SECOND)
    second.arrivals.record([arrival("1", attachment_uuid="new", received_at=9000.0)])
    assert second.arrivals.known(ORTHANC, ["1"])["1"].files == {"new"}


# -- The cost -------------------------------------------------------------------------------------


def plan(ledger: Ledger, query: sql.Select) -> str:
    written = query.compile(ledger.engine, compile_kwargs={"literal_binds": True})
    with ledger.reading() as connection:
        return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}").all())


def test_queue_and_counts_are_read_from_indexes(sqlite_ledger):
    of = transfers.c
    waiting = (
        sql.select(of.id)
        .where(of.destination_id == 1, of.state == "waiting", of.source == "o", of.priority == 0)
        .order_by(of.priority, of.id)
    )
    assert "COVERING INDEX gcp_transfers_queue" in plan(sqlite_ledger, waiting)
    assert "TEMP B-TREE" not in plan(sqlite_ledger, waiting)
    counts = sql.select(of.destination_id, of.state, sql.func.sum(of.size_bytes)).group_by(
        of.destination_id, of.state
    )
    assert "COVERING INDEX gcp_transfers_queue" in plan(sqlite_ledger, counts)
    known = sql.select(of.attachment_uuid).where(
        of.destination_id.in_([1, 2]), of.source == "o", of.orthanc_id.in_(["a", "b"])
    )
    assert "destination_id=? AND source=? AND orthanc_id=?" in plan(sqlite_ledger, known)


def test_a_destination_is_asked_for_once(ledger, clock, monkeypatch):
    own = Ledger(ledger.engine, clock, {A: FIRST})
    own.destinations.register()
    with ledger.writing() as connection:
        connection.execute(destinations.delete())
    assert own.destinations.find(A) is not None
