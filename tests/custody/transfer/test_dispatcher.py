"""What is sent when: claimed for threads, read back when due, given up when too old."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.destinations.fault_scope import OUTLIVED
from orthanc_gcp.custody.transfer.dispatcher import (
    ABANDONED_EVERY,
    DUE_EVERY,
    GIVE_UP_EVERY,
    MOST_READING,
    OTHERS_EVERY,
    Dispatcher,
)
from orthanc_gcp.custody.transfer.refusals import StoreRefusals
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.rows import Outcome, Series
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.ledger.workers import worker_registry
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import StoreReason, TransferReason
from tests.support.ledgers import states
from tests.support.simulation import FakeClock
from tests.support.transfers import arrive, settle

A, ORTHANC, WORKER = "a", "o", "w"


class Threads:
    """Keeps what it is given, as long as a test wants."""

    def __init__(self) -> None:
        self.batches: dict[str, list[object]] = {}
        self.behind: dict[str, bool] = {}
        self.given: list[list[str]] = []
        self.given_behind: list[list[str]] = []
        self.busy: list[str] = []
        self.lent, self.lends, self.most = 0, False, 4

    def sending(self, account: str) -> int:
        return len(self.batches)

    def free(self, account: str) -> int:
        return self.most - self.lent - len(self.batches)

    def due(self, account: str, *, behind: bool) -> int:
        return 0 if behind else len(self.busy)

    def reading(self, account: str) -> list[str]:
        return self.busy

    def active(self) -> set[str]:
        return set(self.batches)

    def send(
        self, account: str, batch: str, transfers: list[object], *, behind: bool = False
    ) -> None:
        self.batches[batch] = transfers
        self.behind[batch] = behind

    def read_back(self, account: str, urgent: list[str], behind: list[str]) -> None:
        if urgent:
            self.given.append(urgent)
        if behind:
            self.given_behind.append(behind)

    def lend(self, *, lends: bool) -> None:
        self.lends = lends


class Desk:
    """A dispatcher of one account, and what it is told."""

    def __init__(self, ledger, backfill_rate=None, give_up_after=None) -> None:
        self.ledger, self.threads, self.steady = ledger, Threads(), FakeClock()
        self.source, self.allowed = ORTHANC, tuple(Priority)
        outage = Outage(logging.getLogger("store"), "down", "up", self.steady)
        self.congestion = CongestionWindow(self.steady, 4, outage, jitter=lambda: 1.0)
        self.destination = Destination(
            A, None, None, self.congestion, replaces=False, verify="Search"
        )
        self.dispatcher = Dispatcher(
            ledger,
            {A: self.destination},
            self.threads,
            WORKER,
            self.steady,
            lambda: self.source,
            lambda _account: self.allowed,
            {A: give_up_after},
            backfill_rate,
        )

    def step(self, seconds: float = 0.0) -> bool:
        self.steady.time += seconds
        self.ledger.now.now += seconds
        return self.dispatcher.step()

    def finish(self, state: State = State.ACKNOWLEDGED, **outcome) -> list[object]:
        """All that is being sent comes to the same; the rows."""
        rows = []
        for batch, sent in self.threads.batches.items():
            one = [Outcome(row.id, state, **{"sha256": "d", **outcome}) for row in sent]
            self.ledger.queue.settle(batch, one)
            rows += sent
        self.threads.batches.clear()
        return rows

    def sizes(self) -> list[int]:
        return sorted(len(batch) for batch in self.threads.batches.values())


@pytest.fixture
def desk(ledger):
    return Desk(ledger)


def test_what_waits_is_claimed_as_far_as_the_window_reaches(desk):
    arrive(desk.ledger, 500)
    assert desk.step()
    assert desk.threads.sending(A) == desk.congestion.window
    assert set(states(desk.ledger).values()) == {State.SENDING, State.WAITING}
    assert not desk.step(), "no connection is free"


def test_all_connections_share_what_waits(desk):
    arrive(desk.ledger, 200, size=100_000)
    desk.step()
    assert desk.sizes() == [50, 50, 50, 50]


def test_what_one_connection_sends_in_a_moment_is_not_divided(desk):
    for _ in range(9):
        desk.congestion.succeeded(100, 100 * 1000, 0.1)
    arrive(desk.ledger, 200)
    desk.step()
    assert desk.sizes() == [50, 150], "1000 a second"


def test_sizes_that_differ_leave_none_for_another_round(desk):
    for number in range(100):
        arrive(desk.ledger, study=f"{number}", size=100_000 + 3000 * (number % 7))
    desk.step()
    assert State.WAITING not in states(desk.ledger).values()
    assert min(desk.sizes()) > 20


def test_small_studies_share_a_request(desk):
    for number in range(8):
        arrive(desk.ledger, 5, study=f"{number}")
    desk.step()
    assert desk.sizes() == [40]


def test_a_connection_that_is_free_leaves_to_others_what_they_can_send_meanwhile(desk):
    """Those that are nearly done take a share, those that have just begun take less."""
    arrive(desk.ledger, 32, size=1 << 20)
    for _ in range(9):
        desk.congestion.succeeded(1, 1 << 20, 1.0)  # a megabyte a second
    desk.step()
    assert desk.sizes() == [8, 8, 8, 8]
    arrive(desk.ledger, 8, study="2", size=1 << 20)
    first, rows = desk.threads.batches.popitem()
    sent = [Outcome(row.id, State.ACKNOWLEDGED, sha256="d") for row in rows]
    desk.ledger.queue.settle(first, sent)
    desk.step(4.0)
    assert desk.sizes() == [5, 8, 8, 8], "8 wait and 12 are left of others, for 4"


def test_what_is_about_to_be_queued_makes_the_first_batches_as_large_as_the_others(desk):
    desk.dispatcher.announce(A, 200)
    assert not desk.step()
    for page in range(4):
        arrive(desk.ledger, 50, study=f"{page}", size=100_000)
        desk.dispatcher.announce(A, -50)
        desk.step(0.1)
    assert desk.sizes() == [50, 50, 50, 50]


def test_what_was_announced_is_waited_for_only_for_a_moment(desk):
    desk.dispatcher.announce(A, 1_000_000)
    arrive(desk.ledger, 50, size=100_000)
    assert not desk.step(0.1)
    assert desk.step(1)
    assert sum(desk.sizes()) == 50


def test_where_more_waits_than_all_connections_carry_they_do_not_end_together(desk):
    arrive(desk.ledger, 400, size=1 << 20)
    desk.step()
    assert len(set(desk.sizes())) == 4
    assert 14 < min(desk.sizes()) < max(desk.sizes()) <= 32


def test_nothing_waits(desk):
    assert not desk.step()


@pytest.mark.parametrize("why", ["paused", "unknown Orthanc", "throttled"])
def test_nothing_is_claimed_while_nothing_may_be_sent(desk, why):
    arrive(desk.ledger, 5)
    if why == "paused":
        desk.allowed = ()
    elif why == "unknown Orthanc":
        desk.source = ""
    else:
        error = StoreError("s", reason="throttled", status=429, retry_after=60)
        desk.congestion.throttled(error, desk.steady.now())
    assert not desk.step()
    assert set(states(desk.ledger).values()) == {State.WAITING}


def test_live_instances_go_before_a_backfill(desk):
    arrive(desk.ledger, 3, study="1", priority=Priority.BACKFILL)
    arrive(desk.ledger, 2, study="2")
    desk.step()
    first = next(iter(desk.threads.batches.values()))
    assert {row.study_instance_uid for row in first} == {"2"}


def test_a_backfill_that_may_not_be_sent_waits(desk):
    desk.allowed = (Priority.LIVE, Priority.DEMANDED)
    arrive(desk.ledger, 3, priority=Priority.BACKFILL)
    assert not desk.step()


def test_a_request_of_a_capped_backfill_is_small(ledger):
    desk = Desk(ledger, backfill_rate=100)
    arrive(ledger, 10, size=100, priority=Priority.BACKFILL)
    desk.step()
    assert desk.sizes()[0] == 2, "two seconds of it"


def test_what_this_worker_had_claimed_before_it_died_waits_again_at_once(desk, caplog):
    arrive(desk.ledger, 3)
    limits = {"most_instances": 2, "most_bytes": 999, "most_batches": 9}
    desk.ledger.queue.claim(A, ORTHANC, "before", WORKER, **limits)
    desk.source = ""
    desk.step()
    assert set(states(desk.ledger).values()) == {State.WAITING}
    assert "interrupted requests: 1" in caplog.text


def test_a_batch_that_ends_while_it_is_looked_for_was_not_interrupted(desk, caplog, monkeypatch):
    arrive(desk.ledger, 3)
    desk.step()
    claimed_batches = desk.ledger.queue.claimed_batches

    def ends(worker):
        found = claimed_batches(worker)
        assert desk.finish()
        return found

    monkeypatch.setattr(desk.ledger.queue, "claimed_batches", ends)
    desk.step(ABANDONED_EVERY + 1)
    assert set(states(desk.ledger).values()) == {State.ACKNOWLEDGED}
    assert "interrupted" not in caplog.text


def test_what_another_worker_has_claimed_stays_with_it(desk):
    arrive(desk.ledger, 3)
    limits = {"most_instances": 3, "most_bytes": 999, "most_batches": 9}
    desk.ledger.queue.claim(A, ORTHANC, "theirs", "another", **limits)
    desk.step()
    assert set(states(desk.ledger).values()) == {State.SENDING}


def test_a_batch_whose_thread_failed_waits_again(desk):
    arrive(desk.ledger, 3)
    desk.step()
    desk.step(ABANDONED_EVERY + 1)
    assert set(states(desk.ledger).values()) == {State.SENDING}
    desk.threads.batches.clear()
    desk.source = ""
    desk.step(ABANDONED_EVERY + 1)
    assert set(states(desk.ledger).values()) == {State.WAITING}


def test_what_is_due_is_sent_and_read_back(desk):
    arrive(desk.ledger, study="1")
    settle(desk.ledger, State.DELAYED, next_attempt_at=desk.ledger.now() + 20)
    arrive(desk.ledger, study="2")
    settle(desk.ledger, State.ACKNOWLEDGED, sha256="d")
    desk.step()
    assert desk.threads.given == []
    desk.step(21)
    assert desk.threads.given == [[("2", "2.1")]]
    assert desk.sizes() == [1]


def test_a_clock_that_is_set_back_delays_nothing(desk):
    arrive(desk.ledger)
    settle(desk.ledger, State.DELAYED, next_attempt_at=desk.ledger.now() + 20)
    desk.step()
    desk.ledger.now.now -= 7200
    desk.step(DUE_EVERY + 0.1)
    assert set(states(desk.ledger).values()) == {State.SENDING}


@pytest.fixture
def stuck(ledger):
    """One that gives up after 100 seconds, and has no connection for what waits."""
    desk = Desk(ledger, give_up_after=100)
    desk.threads.lent = 4
    arrive(ledger)
    return desk


def last(desk: Desk, seconds: float) -> None:
    """Let so much time pass."""
    for _ in range(round(seconds / (GIVE_UP_EVERY + 1))):
        desk.step(GIVE_UP_EVERY + 1)


def test_what_is_too_old_is_given_up(stuck):
    last(stuck, 90)
    assert set(states(stuck.ledger).values()) == {State.WAITING}
    last(stuck, 60)
    assert set(states(stuck.ledger).values()) == {State.QUARANTINED}


def pause_account(desk: Desk) -> None:
    desk.allowed = ()
    last(desk, 600)
    desk.allowed = tuple(Priority)


def stop_worker(desk: Desk) -> None:
    desk.step(600)


def set_clock_forward(desk: Desk) -> None:
    desk.ledger.now.now += 7200


def lose_orthanc(desk: Desk) -> None:
    desk.source = ""
    last(desk, 600)
    desk.source = ORTHANC


@pytest.mark.parametrize(
    "happens",
    [pause_account, stop_worker, set_clock_forward, lose_orthanc],
    ids=lambda it: it.__name__,
)
def test_what_nobody_has_tried_to_send_is_not_given_up(stuck, happens):
    last(stuck, 60)
    happens(stuck)
    last(stuck, 31)
    assert set(states(stuck.ledger).values()) == {State.WAITING}
    last(stuck, 100)
    assert set(states(stuck.ledger).values()) == {State.QUARANTINED}


# -- Nothing waits for ever -----------------------------------------------------------------------


def test_what_is_less_urgent_goes_on_while_more_arrives_than_is_sent(desk):
    desk.congestion.max_requests = desk.congestion._window = 2
    for priority in (Priority.DEMANDED, Priority.BACKFILL):
        arrive(desk.ledger, 3, study=f"{priority:d}", priority=priority)
    sent = []
    for number in range(8):
        arrive(desk.ledger, 300, study=f"9.{number}")
        desk.step(0.1)
        sent += desk.finish()
    studies = [row.study_instance_uid for row in sent]
    assert {"1", "2"} < set(studies)
    assert states(desk.ledger)["9.7-299"] == State.WAITING, "more arrived than was sent"
    assert sum(study.startswith("9.") for study in studies) > 0.9 * len(studies)


@pytest.mark.parametrize("window", [1, 4])
def test_what_fails_alone_again_and_again_takes_turns_with_the_others(desk, window):
    desk.congestion.max_requests = desk.congestion._window = window
    arrive(desk.ledger, 50, study="1")
    settle(desk.ledger, State.WAITING, attempts=5, max_batch_instances=1)
    arrive(desk.ledger, 300, study="2")
    good, failed = [], []
    for _ in range(30):
        desk.step(0.1)
        for batch, rows in list(desk.threads.batches.items()):
            of_good = rows[0].study_instance_uid == "2"
            (good if of_good else failed).extend(row.id for row in rows)
            state = State.ACKNOWLEDGED if of_good else State.WAITING
            more = {"sha256": "d"} if of_good else {"max_batch_instances": 1, "attempts": 6}
            desk.ledger.queue.settle(batch, [Outcome(row.id, state, **more) for row in rows])
        desk.threads.batches.clear()
        if len(good) == 300:
            break
    assert len(good) == 300
    assert failed


def states_of(ledger):
    return set(states(ledger).values())


class Refusing:
    """A store that takes nothing of a study, and what becomes of that."""

    def __init__(self, desk: Desk, study: str, reason: str) -> None:
        self.desk, self.study, self.reason = desk, study, reason
        self.refusals = StoreRefusals(desk.ledger, None, None, lambda: 1.0)

    def step(self) -> None:
        """As soon as anything may be sent, it is."""
        desk, states = self.desk, states_of(self.desk.ledger)
        due = 0.0
        if State.WAITING not in states:
            with desk.ledger.reading() as connection:
                first = connection.scalar(sql.select(sql.func.min(transfers.c.next_attempt_at)))
            due = (first or 0.0) - desk.ledger.now()
        desk.step(max(desk.congestion.delay, DUE_EVERY, due) + 0.01)
        for batch, rows in list(desk.threads.batches.items()):
            desk.ledger.queue.settle(batch, self._outcomes(rows))
            if any(row.study_instance_uid != self.study for row in rows):
                desk.ledger.queue.hasten(A)
        desk.threads.batches.clear()

    def _outcomes(self, rows):
        destination, now = self.desk.destination, self.desk.steady.now()
        error = StoreError(self.reason, reason=self.reason, retryable=True)
        bad = [row for row in rows if row.study_instance_uid == self.study]
        if len(bad) == len(rows):
            if self.reason == TransferReason.INVALID:
                return self.refusals.of_each(destination, bad, [error] * len(bad), now)
            return self.refusals.of_instances(destination, bad, error, now)
        if bad and self.reason != TransferReason.INVALID:
            return self.refusals.of_instances(destination, rows, error, now)
        good = [row for row in rows if row not in bad]
        self.desk.congestion.succeeded(len(rows), 1, 0.1, now)
        destination.storing.succeeded([row.id for row in good], now, now)
        ended = [Outcome(row.id, State.QUARANTINED, self.reason) for row in bad]
        return [*ended, *(Outcome(row.id, State.ACKNOWLEDGED, sha256="d") for row in good)]

    def step_until(self, reached, most: int) -> None:
        for _ in range(most):
            if reached():
                return
            self.step()
        assert reached(), self.states()

    def states(self):
        with self.desk.ledger.reading() as connection:
            query = sql.select(transfers.c.study_instance_uid, transfers.c.state)
            return Counter(map(tuple, connection.execute(query)))


@pytest.fixture(params=[TransferReason.INVALID, StoreReason.BAD_REQUEST])
def refusing(desk, request):
    return Refusing(desk, "1", request.param)


@pytest.mark.parametrize("priority", [Priority.LIVE, Priority.BACKFILL])
def test_what_is_refused_throughout_leaves_turns_to_what_arrives(refusing, priority):
    """However many they are, for however long, and however many come behind."""
    ledger = refusing.desk.ledger
    arrive(ledger, 150, study="1", size=500_000, priority=priority)
    for _ in range(100):
        refusing.step()
    arrive(ledger, 1, study="2", priority=priority)
    refusing.step_until(lambda: ("2", State.ACKNOWLEDGED) in refusing.states(), 3)


def test_all_that_was_refused_has_its_turn(refusing):
    """What is sound was tried while nothing was taken at all, and nothing else arrives."""
    ledger = refusing.desk.ledger
    arrive(ledger, 100, study="1", size=500_000)
    arrive(ledger, 1, study="2", size=500_000)
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(reason=refusing.reason))
    refusing.step_until(lambda: ("2", State.ACKNOWLEDGED) in refusing.states(), 250)


def test_what_is_refused_again_and_again_on_a_quiet_site_ends_in_quarantine(refusing):
    """It is said, costs little, and is found by the few that are taken meanwhile."""
    desk, ended = refusing.desk, 0
    arrive(desk.ledger, 10, study="1", size=500_000)
    for number in range(9):
        if number:
            arrive(desk.ledger, 1, study=f"sound {number}")
        began = desk.steady.time
        for _ in range(40):
            refusing.step()
        ended = refusing.states()["1", State.QUARANTINED]
        if ended == 10:
            break
        assert desk.congestion.problem
        assert desk.steady.time - began > 80
        assert ended <= 2 or number >= OUTLIVED
    assert ended == 10


def test_what_is_slow_to_fail_alone_leaves_a_connection(desk):
    desk.congestion._window = 4
    arrive(desk.ledger, 50, study="1")
    settle(desk.ledger, State.WAITING, attempts=5, max_batch_instances=1)
    desk.step()
    assert desk.sizes() == [1, 1, 1]
    arrive(desk.ledger, 5, study="2")
    desk.step()
    assert desk.sizes() == [1, 1, 1, 5]


def test_a_connection_is_left_to_another_orthanc(postgresql_ledger):
    desk = Desk(postgresql_ledger)
    desk.congestion._window = 4
    arrive(desk.ledger, 900)
    desk.step()
    assert desk.threads.sending(A) == 4
    desk.finish()
    arrive(desk.ledger, 1, study="2")
    with desk.ledger.writing() as connection:
        theirs = transfers.c.study_instance_uid == "2"
        connection.execute(transfers.update().where(theirs).values(source="z"))
    desk.step(OTHERS_EVERY + 1)
    assert desk.threads.sending(A) == 3
    limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 4}
    assert desk.ledger.queue.claim(A, "z", "theirs", "another", **limits)


@pytest.mark.parametrize("connections", [1, 4])
def test_no_orthanc_takes_all_connections_from_a_third(postgresql_ledger, connections):
    """Two have more than they can send, and claim at once whatever is free again; so has it."""
    ledger = postgresql_ledger
    desks = {name: Desk(ledger) for name in "opq"}
    registries = [worker_registry(ledger.engine, name, FakeClock()) for name in desks]
    for name, registry in zip(desks, registries, strict=True):
        registry.join()
        desk = desks[name]
        desk.source, desk.dispatcher._worker = name, name
        desk.threads.most = connections
        desk.congestion.max_requests = desk.congestion._window = connections
        desk.congestion.batch_instances = 1
        arrive(ledger, 300, study=name, source=name)
    sent = Counter()
    for turn in range(120):
        ledger.now.now += 0.25
        for name, desk in desks.items():
            desk.steady.time += 0.25
            if name != "q":
                batch = next(iter(desk.threads.batches), None)
                ends = [] if batch is None else [(batch, desk.threads.batches.pop(batch))]
            else:
                ends = list(desk.threads.batches.items()) if turn % 4 == 0 else []
                desk.threads.batches.clear() if ends else None
            for batch, rows in ends:
                ledger.queue.settle(batch, [Outcome(rows[0].id, State.ACKNOWLEDGED, sha256="d")])
                sent[name] += turn > 40
            if name != "q" or turn % 2:  # the third looks now and then
                desk.dispatcher.step()
    for registry in registries:
        registry.leave()
    assert sent["q"] > 10, sent


def test_connections_that_send_nothing_are_lent_to_what_reads_back(desk):
    assert not desk.threads.lends
    arrive(desk.ledger, 500)
    desk.threads.lent = 3
    desk.step()
    assert desk.threads.lends, "no other worker is there"
    assert len(desk.threads.batches) == 1, "three are not given back yet"
    desk.threads.lent = 0
    desk.step()
    assert len(desk.threads.batches) == 4


def test_no_connection_is_lent_where_other_workers_send(postgresql_ledger):
    desk = Desk(postgresql_ledger)
    others = [worker_registry(desk.ledger.engine, name, FakeClock()) for name in "vw"]
    for one in others:
        one.join()
    desk.step()
    assert not desk.threads.lends
    others[0].leave()
    desk.step(OTHERS_EVERY + 1)
    assert desk.threads.lends
    others[1].leave()


def test_a_series_that_takes_long_to_be_read_back_hides_no_other(desk):
    for study in ("1", "2"):
        arrive(desk.ledger, 3, study=study)
        settle(desk.ledger, State.ACKNOWLEDGED, sha256="d")
    desk.step(21)
    assert desk.threads.given == [[("1", "1.1"), ("2", "2.1")]]
    desk.threads.given.clear()
    desk.threads.busy = [Series("1", "1.1")]
    desk.step(1)
    assert desk.threads.given == [[("2", "2.1")]]
    desk.threads.busy = [Series("1", "1.1")] * MOST_READING
    desk.step(1)
    assert len(desk.threads.given) == 1


def test_backfills_are_read_back_behind_what_is_urgent(desk):
    for study, priority in ("1", Priority.BACKFILL), ("2", Priority.LIVE):
        arrive(desk.ledger, 3, study=study, priority=priority)
        settle(desk.ledger, State.ACKNOWLEDGED, sha256="d")
    arrive(desk.ledger, 3, study="3", priority=Priority.BACKFILL)
    arrive(desk.ledger, 3, study="4", priority=Priority.DEMANDED)
    desk.step(21)
    assert (desk.threads.given, desk.threads.given_behind) == ([[("2", "2.1")]], [[("1", "1.1")]])
    for batch, rows in desk.threads.batches.items():
        assert desk.threads.behind[batch] == (rows[0].priority == Priority.BACKFILL)
