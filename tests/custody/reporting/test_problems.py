"""What stands still without any try that fails: each is found, with a remedy, and ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.custody.intake.former_ledgers import note_ledger
from orthanc_gcp.custody.intake.open_transfers import SEEN_WITHIN
from orthanc_gcp.custody.reporting import problems
from orthanc_gcp.custody.reporting.overview import Overview
from orthanc_gcp.custody.reporting.problems import (
    FRESH,
    RECOGNIZE_WITHIN,
    ProblemKind,
    Problems,
    find_problems,
    unread,
    unsent,
    without_worker,
)
from orthanc_gcp.custody.reporting.standstill import Standstill
from orthanc_gcp.ledger.destinations import StoreName
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.ledger.workers import note_served, worker_registry
from tests.support.keys import STORE
from tests.support.ledgers import ORTHANC, A, arrival, claim, settle_batch
from tests.support.simulation import FakeClock

NONE: dict[str, str] = {}


def found(ledger, accounts=(A,), rejections=NONE):
    return {
        (one.kind, one.account, one.index): one
        for one in find_problems(ledger, accounts, rejections)
    }


@pytest.fixture
def index(ledger):
    """An index that an Orthanc has just now."""
    return ledger.indexes.begin(ORTHANC, 0, ledger.now())


def test_nothing_is_the_matter(ledger, index):
    assert found(ledger) == {}
    ledger.arrivals.record([arrival("1")])
    assert found(ledger) == {}


def test_an_orthanc_that_nobody_can_follow(ledger, index, clock):
    """Though nothing waits in the ledger: what is received is not written down."""
    assert unread(ledger, ORTHANC, 1000.0, "wants a password") == [], "another worker follows it"
    (copy,) = unread(ledger, "", 1000.0, "it is a copy")
    clock.now += SEEN_WITHIN
    (one,) = unread(ledger, ORTHANC, 1000.0, "wants a password")
    assert (one.kind, one.account, one.index) == (ProblemKind.WORKER, "", ORTHANC)
    assert (one.since, copy.index) == (1000.0, "")
    assert "not read, and not sent: wants a password" in one.message


class Began(FakeClock):
    """The clocks of a worker that began at a time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._began = datetime.fromtimestamp(seconds, UTC)

    def utc(self) -> datetime:
        return self._began


@pytest.fixture
def worker(ledger, clock):
    """The worker that follows the index."""
    registry = worker_registry(ledger.engine, "worker", Began(clock.now))
    registry.join()
    yield registry
    registry.leave()


def test_a_worker_that_does_not_follow_its_orthanc_any_more(ledger, index, clock, worker):
    """As it cannot write that down, or stands still: though nothing waits, and nothing fails."""
    note_served(ledger.engine, "worker", ORTHANC, [])
    seen = clock.now
    assert found(ledger) == {}
    clock.now += SEEN_WITHIN
    (one,) = found(ledger).values()
    assert (one.kind, one.account, one.index) == (ProblemKind.WORKER, "", ORTHANC)
    assert (one.instances, one.since) == (0, seen)
    assert f"worker worker runs and does not follow Orthanc {ORTHANC}" in one.message
    assert "restart it" in one.remedy
    assert Problems(ledger, [A], NONE, worker="worker").found() == [], "it says so by itself"
    ledger.indexes.seen(index, "it is back")
    assert found(ledger) == {}
    clock.now += SEEN_WITHIN
    worker.leave()
    assert found(ledger) == {}, "none runs"


def test_a_worker_that_never_knew_which_index_its_orthanc_has(ledger, clock, worker):
    began = clock.now
    clock.now += SEEN_WITHIN - 1
    assert found(ledger) == {}
    clock.now += 1
    (one,) = found(ledger).values()
    assert (one.kind, one.index, one.since) == (ProblemKind.WORKER, "", began)
    assert "does not follow its Orthanc" in one.message


def test_a_worker_of_an_orthanc_in_which_nothing_was_yet(ledger, index, clock, worker):
    clock.now += SEEN_WITHIN
    ledger.indexes.seen(index, "it is there, and empty")
    assert found(ledger) == {}
    clock.now += SEEN_WITHIN
    assert [one.kind for one in found(ledger).values()] == [ProblemKind.WORKER]


def test_a_worker_that_can_send_nothing():
    one = unsent(1000.0, "the ledger cannot be used: it may only be read")
    assert (one.kind, one.account, one.since) == (ProblemKind.WORKER, "", 1000.0)
    assert one.message.startswith("what waits is not sent: the ledger cannot be used")


def test_an_account_that_the_configuration_does_not_have(ledger, index, clock):
    ledger.arrivals.record([arrival("1"), arrival("2")])
    begin = clock.now
    clock.now += 60
    (one,) = found(ledger, ["renamed"]).values()
    assert (one.kind, one.account, one.instances) == (ProblemKind.ACCOUNT, A, 2)
    assert one.message == f"2 instances wait: the configuration has no account {A}"
    assert "put the account back" in one.remedy
    assert one.since == begin
    assert one.as_json()["Kind"] == "account"


def test_what_was_acknowledged_is_not_confirmed_without_its_account(ledger, index):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED)
    (one,) = found(ledger, []).values()
    assert (one.kind, one.instances) == (ProblemKind.ACCOUNT, 1)


def test_what_has_ended_waits_for_nobody(ledger, index):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.QUARANTINED)
    assert found(ledger, []) == {}


def test_an_account_whose_configuration_has_an_error(ledger, index):
    ledger.arrivals.record([arrival("1")])
    (one,) = found(ledger, [], {A: "BaseUrl is wrong"}).values()
    assert "1 instance waits: the configuration of the account has an error" in one.message


def test_an_index_that_no_orthanc_has_any_more(ledger, index, clock):
    ledger.arrivals.record([arrival("1"), arrival("2", account="b"), arrival("3", account="b")])
    clock.now += SEEN_WITHIN + 1
    every = found(ledger, [A, "b"])
    assert set(every) == {(ProblemKind.INDEX, A, ORTHANC), (ProblemKind.INDEX, "b", ORTHANC)}
    one = every[ProblemKind.INDEX, "b", ORTHANC]
    assert one.instances == 2
    assert f"indexes CONFIG --hand-over {ORTHANC}" in one.remedy
    ledger.indexes.seen(index, "it is back")
    assert found(ledger, [A, "b"]) == {}


def test_what_is_sent_of_an_index_needs_it_no_more(ledger, index, clock):
    ledger.arrivals.record([arrival("1")])
    claim(ledger)
    settle_batch(ledger, State.ACKNOWLEDGED)
    clock.now += SEEN_WITHIN + 1
    assert found(ledger) == {}


def test_a_ledger_in_the_place_of_another(ledger, index, tmp_path):
    (tmp_path / "orthanc-gcp-ledger.json").write_text('["another"]')
    note_ledger(ledger, tmp_path, ORTHANC, lambda: 1234)
    (one,) = found(ledger).values()
    assert (one.kind, one.account, one.index) == (ProblemKind.LEDGER, "", ORTHANC)
    assert "of the 1,234 instances" in one.message
    assert "backfill CONFIG --restart" in one.remedy
    assert one.concerns("any account")


def test_instances_that_no_rule_can_be_applied_to(ledger, index, clock):
    ledger.arrivals.change_unreadable(ORTHANC, ["1", "2"])
    (one,) = found(ledger).values()
    assert (one.kind, one.index, one.instances) == (ProblemKind.FILE, ORTHANC, 2)
    assert one.message.startswith(f"of 2 instances of {ORTHANC} it is not known")
    assert one.concerns(A)
    assert "tried again all the time" in one.remedy
    clock.now += SEEN_WITHIN + 1
    (one,) = found(ledger).values()
    assert f"--close {ORTHANC}" in one.remedy, "nobody tries them any more"
    ledger.arrivals.change_unreadable(ORTHANC, [], ["1", "2"])
    assert found(ledger) == {}


def test_a_store_that_the_account_is_no_more(ledger, clock):
    former, now = (
        Ledger(ledger.engine, clock, {A: StoreName(f"projects/p/{store}")})
        for store in ("first", "second")
    )
    former.destinations.register()
    former.indexes.begin(ORTHANC, 0, clock.now)
    former.arrivals.record([arrival("1"), arrival("2")])
    clock.now += 10
    now.destinations.register()
    now.arrivals.record([arrival("3")])
    (one,) = find_problems(now, [A], NONE)
    assert (one.kind, one.account, one.instances) == (ProblemKind.STORE, A, 2)
    assert one.message == (
        "2 instances wait for projects/p/first: the account is another store by now"
    )
    assert f"--hand-over {one.destination}" in one.remedy
    assert one.as_json()["Destination"] == one.destination
    both = find_problems(now, [], NONE)
    assert [(each.kind, each.instances) for each in both] == [
        (ProblemKind.ACCOUNT, 2),
        (ProblemKind.ACCOUNT, 1),
    ], "each store by itself"
    assert len({each.what for each in both}) == 2


def test_quarantine_of_a_former_store_waits_for_a_person_as_well(ledger, clock):
    """No retry of the account brings it to the store that it is now."""
    for store in ("first", "second"):
        own = Ledger(ledger.engine, clock, {A: StoreName(store)})
        clock.now += 1
        own.destinations.register()
        own.arrivals.record([arrival(store)])
        claim(own)
        settle_batch(own, State.QUARANTINED, reason="invalid")
    (one,) = find_problems(own, [A], NONE)
    assert (one.kind, one.instances) == (ProblemKind.STORE, 1)
    (account,) = Overview(own).accounts()
    assert (account.counts.quarantined.instances, account.quarantined_instances) == (1, 2)


@pytest.mark.parametrize(
    ("rules", "message"), [((), "has no rule in Send"), (("a rule",), "no worker runs")]
)
def test_no_worker(ledger, index, clock, rules, message):
    assert without_worker(ledger, [A], NONE, rules) == []
    ledger.arrivals.record([arrival("1"), arrival("2", source="other")])
    clock.now += SEEN_WITHIN + 1  # nobody has seen an index then
    (one,) = without_worker(ledger, [A], NONE, rules)
    assert (one.kind, one.account, one.instances) == (ProblemKind.WORKER, A, 2)
    assert message in one.message


def test_a_worker_reads_them_now_and_then(ledger, index, clock):
    read = Problems(ledger, [], NONE)
    assert read.found() == []
    ledger.arrivals.record([arrival("1")])
    assert read.found() == [], "it was read just now"
    clock.now += FRESH + 1
    assert [one.kind for one in read.found()] == [ProblemKind.ACCOUNT]


def test_a_worker_that_has_just_started_may_have_to_find_its_orthanc(ledger, index, clock):
    ledger.arrivals.record([arrival("1")])
    clock.now += SEEN_WITHIN + 1
    read = Problems(ledger, [A], NONE, worker="worker")
    assert read.found() == []
    clock.now += RECOGNIZE_WITHIN
    assert [one.kind for one in read.found()] == [ProblemKind.INDEX]


def test_reading_that_takes_long_is_done_seldom(ledger, index, clock, monkeypatch):
    monkeypatch.setattr(problems, "SHARE", 1e9)
    read = Problems(ledger, [], NONE)
    assert read.found() == []
    ledger.arrivals.record([arrival("1")])
    clock.now += 60
    assert read.found() == []


@pytest.fixture
def another(postgresql_ledger, clock):
    """A worker with a configuration of its own."""
    registry = worker_registry(postgresql_ledger.engine, "another", Began(clock.now))
    registry.join()
    yield registry
    registry.leave()


def test_what_a_worker_of_another_configuration_sends_is_no_problem(postgresql_ledger, another):
    ledger = postgresql_ledger
    mine = ledger.indexes.begin(ORTHANC, 0, ledger.now()).source
    known = ledger.indexes.all()
    others = ledger.indexes.begin("other", 0, ledger.now(), known=known).source
    ledger.arrivals.record([arrival("1", source=others), arrival("2", source=mine)])
    number = ledger.destinations.find(A)
    assert found(ledger, ["b"])[ProblemKind.ACCOUNT, A, ""].instances == 2
    why = standstill_with(ledger, ["b"])
    assert set(why.of([1, 2]).values()) == {f"the configuration has no account {A}"}
    note_served(ledger.engine, "another", others, [number])
    (one,) = found(ledger, ["b"]).values()
    assert (one.kind, one.instances) == (ProblemKind.ACCOUNT, 1), "that of no other worker"
    assert "its turn" in why.of([1])[1]
    assert why.of([2]) == {2: f"the configuration has no account {A}"}
    (one,) = (
        one for one in without_worker(ledger, [A], NONE, (), runs=True) if one.kind == "worker"
    )
    assert one.instances == 1
    note_served(ledger.engine, "third", others, [number])
    another.leave()
    assert found(ledger, ["b"])[ProblemKind.ACCOUNT, A, ""].instances == 2, "it is not there"


def test_a_store_that_another_worker_sends_to_is_no_problem(postgresql_ledger, another, clock):
    first = Ledger(postgresql_ledger.engine, clock, {A: StoreName("first")})
    first.destinations.register()
    index = first.indexes.begin(ORTHANC, 0, clock.now).source
    first.arrivals.record([arrival("1", source=index)])
    clock.now += 1
    second = Ledger(first.engine, clock, {A: StoreName("second")})
    second.destinations.register()
    assert [kind for kind, *_ in found(second)] == [ProblemKind.STORE]
    note_served(first.engine, "another", index, [first.destinations.find(A)])
    assert found(second) == {}


def standstill_with(ledger, accounts):
    options = {**STORE, "ServiceAccountFile": "key.json"}
    section = {"Accounts": dict.fromkeys(accounts, options)}
    settings = configuration.read({"GoogleCloudPlatform": section}, Path("/etc"))
    return Standstill(ledger, settings, dict, lambda: True, lambda: datetime.now(UTC))


def test_many_rows_are_counted_by_the_database(ledger: Ledger, index):
    ledger.arrivals.record([arrival(str(number)) for number in range(300)])
    (one,) = found(ledger, []).values()
    assert one.instances == 300


def test_a_worker_that_only_retrieves_says_what_waits(ledger, index):
    ledger.arrivals.record([arrival("1")])
    assert Problems(ledger, [A], NONE).found() == []
    (one,) = Problems(ledger, [A], NONE, sends=False).found()
    assert (one.kind, one.account, one.instances) == (ProblemKind.WORKER, A, 1)
    assert "nothing is sent, as the configuration has no rule in Send" in one.message
