"""Threads send and read back; what fails in one is forgotten by it, and by nobody else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.transfer import threads as module
from orthanc_gcp.custody.transfer.threads import MOST_TOGETHER, TransferThreads
from tests.support.orthanc import wait_until
from tests.support.threads import no_threads

__all__ = ["no_threads"]

A, B = "a", "b"


class Gate:
    """Stands in for sending and reading back: each call waits until it is let go."""

    def __init__(self) -> None:
        self.open, self.open_to_send = threading.Event(), threading.Event()
        self._lock, self.reading = threading.Lock(), 0
        self.sent: list[str] = []
        self.begun: list[str] = []
        self.read: list[tuple[str, list[str]]] = []
        self.error: Exception | None = None
        self.asked = len
        self.allowed = int

    def let_send(self) -> None:
        """What is sent is not held up, only what is read back."""
        self.open_to_send.set()

    def send(self, batch: str, transfers: list[str]) -> list[str]:
        assert self.open_to_send.is_set() or self.open.wait(10)
        self.sent.append(batch)
        if self.error is not None:
            raise self.error
        return transfers

    def confirm(self, account: str, series: list[str], may_ask: Callable[[str], bool]) -> int:
        with self._lock:
            self.reading += 1
            self.begun += series
        assert self.open.wait(10)
        series = [one for one in series if may_ask(one)]
        self.read.append((account, series))
        if self.error is not None:
            raise self.error
        return self.asked(series)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def told():
    return threading.Semaphore(0)


@pytest.fixture
def threads(gate, told):
    most = {A: 2, B: 1}
    made = TransferThreads(
        gate, gate, most, lambda account, lent: gate.allowed(most[account] + lent), told.release
    )
    yield made
    gate.open.set()
    assert made.rest(10)
    made.stop()


def test_a_batch_is_active_until_it_was_sent_then_its_series_are_read_back(threads, gate, told):
    threads.send(A, "one", ["s"])
    assert threads.sending(A) == 1
    assert threads.sending(B) == 0
    assert threads.active() == {"one"}
    gate.open.set()
    assert threads.rest(10)
    assert threads.active() == set()
    assert told.acquire(timeout=1)
    assert gate.sent == ["one"]
    assert gate.read == [(A, ["s"])]


def test_nothing_acknowledged_is_nothing_to_read_back(threads, gate):
    gate.open.set()
    threads.send(A, "one", [])
    assert threads.rest(10)
    assert gate.read == []


def test_without_a_thread_nothing_counts_as_sent_and_is_not_later(threads, gate, no_threads):
    gate.open.set()
    with pytest.raises(RuntimeError, match="thread"):
        threads.send(B, "one", [])
    assert threads.active() == set()
    assert threads.rest(0)
    no_threads()
    threads.send(B, "two", [])
    assert threads.rest(10)
    assert gate.sent == ["two"]


def test_without_a_thread_what_is_due_waits(threads, gate, no_threads):
    gate.open.set()
    with pytest.raises(RuntimeError, match="thread"):
        threads.read_back(B, ["s"])
    no_threads()
    threads.read_back(B)
    assert threads.rest(10)
    assert gate.read == [(B, ["s"])]


def test_accounts_do_not_wait_for_each_other(threads, gate):
    for number in range(5):
        threads.send(A, f"a{number}", [])
    threads.send(B, "b", [])
    assert threads.sending(A) == 5
    gate.open.set()
    assert threads.rest(10)
    assert sorted(gate.sent) == ["a0", "a1", "a2", "a3", "a4", "b"]


def test_many_series_are_read_back_side_by_side(threads, gate):
    gate.let_send()
    threads.send(A, "one", ["s", "t", "u"])
    wait_until(lambda: gate.reading == 2)
    gate.open.set()
    assert threads.rest(10)
    assert sorted(gate.read) == [(A, ["s"]), (A, ["t"]), (A, ["u"])]


def test_a_series_of_many_batches_is_read_back_once(threads, gate):
    gate.let_send()
    threads.send(A, "before", ["s", "t"])
    wait_until(lambda: gate.reading == 2)
    for number in range(5):
        threads.send(A, f"{number}", ["u"])
    wait_until(lambda: len(gate.sent) == 6 and not threads.active())
    gate.open.set()
    assert threads.rest(10)
    assert sorted(gate.read) == [(A, ["s"]), (A, ["t"]), (A, ["u"])]


def test_of_very_many_series_each_thread_takes_several(threads, gate):
    gate.let_send()
    threads.send(A, "one", ["s", "t"])
    wait_until(lambda: gate.reading == 2)
    threads.send(A, "two", [f"u{number}" for number in range(100)])
    wait_until(lambda: "two" in gate.sent and not threads.active())
    gate.open.set()
    assert threads.rest(10)
    taken = [len(series) for _, series in gate.read]
    assert sum(taken) == 102
    assert max(taken) == MOST_TOGETHER


def test_a_store_that_is_quick_to_search_needs_few_threads(gate, told):
    gate.open.set()
    threads = TransferThreads(gate, gate, {A: 20}, lambda _account, lent: 20 + lent, told.release)
    for number in range(9):
        threads.send(A, f"{number}", [f"s{number}"])
        assert threads.rest(10)
    gate.open.clear()
    gate.let_send()
    gate.reading = 0
    threads.send(A, "two", [f"t{number}" for number in range(9)])
    wait_until(lambda: not threads.active())
    gate.open.set()
    assert threads.rest(10)
    assert gate.read[9:] == [(A, [f"t{number}" for number in range(9)])]
    threads.stop()


def test_what_could_not_be_asked_for_yet_is_no_sign_of_a_quick_store(gate, told):
    gate.open.set()
    gate.asked = lambda _series: 0
    threads = TransferThreads(gate, gate, {A: 20}, lambda _account, lent: 20 + lent, told.release)
    for number in range(9):
        threads.send(A, f"{number}", [f"s{number}"])
        assert threads.rest(10)
    gate.open.clear()
    gate.let_send()
    gate.reading = 0
    threads.send(A, "two", [f"t{number}" for number in range(9)])
    wait_until(lambda: gate.reading == 9)
    gate.open.set()
    assert threads.rest(10)
    threads.stop()


def test_a_store_that_is_slow_to_search_does_not_fill_the_memory(threads, gate, monkeypatch):
    """What is not read back at once is due in the ledger a little later."""
    monkeypatch.setattr(module, "MOST_UNREAD", 5)
    gate.let_send()
    threads.send(A, "one", ["s", "t"])
    wait_until(lambda: gate.reading == 2)
    for number in range(9):
        threads.send(A, f"{number}", [f"u{number}", f"v{number}"])
    wait_until(lambda: len(gate.sent) == 10 and not threads.active())
    gate.open.set()
    assert threads.rest(10)
    assert sum(len(series) for _, series in gate.read) == 7
    threads.send(A, "later", ["w"])
    assert threads.rest(10)
    assert gate.read[-1] == (A, ["w"])


def test_series_that_are_due_are_read_back_by_themselves_once_at_a_time(threads, gate):
    threads.read_back(A, ["s", "t"])
    threads.read_back(A, ["t", "u"])
    threads.read_back(A, ["s"])
    gate.open.set()
    assert threads.rest(10)
    assert sorted(gate.read) == [(A, [one]) for one in "stu"]
    threads.read_back(A, ["s"])
    assert threads.rest(10)
    assert gate.read[-1] == (A, ["s"])


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (RuntimeError("a defect\nwith values"), logging.ERROR),
        (sql.exc.OperationalError("UPDATE", {}, Exception("away")), logging.DEBUG),
    ],
    ids=["defect", "ledger away"],
)
def test_what_fails_is_logged_and_the_thread_is_free_again(
    threads, gate, told, caplog, error, level
):
    caplog.set_level(logging.DEBUG)
    gate.error = error
    gate.open.set()
    threads.send(A, "one", ["s"])
    threads.read_back(A, ["t"])
    assert threads.rest(10)
    assert threads.active() == set()
    assert told.acquire(timeout=1)
    assert [record.levelno for record in caplog.records] == [level] * 2
    assert "with values" not in caplog.text
    gate.error = None
    threads.send(A, "two", ["s"])
    threads.read_back(A, ["t"])
    assert threads.rest(10)
    assert gate.sent == ["one", "two"]
    assert sorted(gate.read) == [(A, ["s"]), (A, ["t"]), (A, ["t"])]


def test_connections_that_send_nothing_read_back_too_but_for_one(threads, gate):
    gate.asked = lambda _series: 0  # how quick it is must not matter
    gate.let_send()
    threads.lend(lends=True)
    threads.send(A, "one", ["s", "t", "u", "v"])
    wait_until(lambda: gate.reading == 3)
    assert threads.free(A) == 1, "what arrives is sent at once"
    gate.open.set()
    assert threads.rest(10)
    assert sorted(series for _, [series] in gate.read) == ["s", "t", "u", "v"]
    assert threads.free(A) == 2


def test_lent_connections_are_given_back_where_more_is_to_be_sent(gate, told, monkeypatch):
    monkeypatch.setattr(module, "LENT_AGAIN_AFTER", 60)
    gate.asked = lambda _series: 0  # how quick it is must not matter
    gate.let_send()
    threads = TransferThreads(gate, gate, {A: 4}, lambda _account, lent: 4 + lent, told.release)
    threads.lend(lends=True)
    threads.send(A, "one", [f"s{number}" for number in range(7)])
    wait_until(lambda: gate.reading == 7)
    gate.open_to_send.clear()
    while told.acquire(blocking=False):
        pass
    assert threads.free(A) == 1
    threads.send(A, "two", [f"t{number}" for number in range(20)])
    assert threads.free(A) == 0
    gate.open.set()
    assert told.acquire(timeout=10), "it is said that one is free again"
    assert threads.rest(10)
    gate.open.clear()
    gate.let_send()
    gate.reading = 0
    threads.send(A, "three", [f"u{number}" for number in range(9)])
    wait_until(lambda: gate.reading == 4)
    assert threads.free(A) == 4, "none is lent yet"
    gate.open.set()
    assert threads.rest(10)
    threads.stop()


def test_no_more_run_at_once_than_may_send_and_read_back(gate, monkeypatch):
    """However often it changes whether something is to be sent."""
    free, running, most = threading.Semaphore(0), [0], [0]
    lock = threading.Lock()

    class Store:
        def _ask(self) -> None:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            gate.open.wait(0.002)
            with lock:
                running[0] -= 1

        def send(self, batch: str, transfers: list[str]) -> list[str]:
            self._ask()
            return transfers

        def confirm(self, account: str, series: list[str], may_ask: Callable[[str], bool]) -> int:
            asked = [one for one in series if may_ask(one)]
            for one in asked:
                self._ask()
                gate.read.append((account, [one]))
            return len(asked)

    store = Store()
    monkeypatch.setattr(module, "LENT_AGAIN_AFTER", 0.001)
    monkeypatch.setattr(module, "LENT_FROM", 0)
    threads = TransferThreads(store, store, {A: 4}, lambda _account, lent: 4 + lent, free.release)
    threads.lend(lends=True)
    for number in range(40):
        wait_until(lambda: threads.free(A) > 0)
        threads.send(A, f"{number}", [f"{number}.{one}" for one in range(10)])
    assert threads.rest(10)
    assert len({series for _, [series] in gate.read}) == len(gate.read) == 400
    assert 4 < most[0] <= 8
    threads.stop()


@pytest.mark.parametrize(("bound", "seconds"), [("LENT_FOR", 0.1), ("LENT_FROM", 0.3)])
def test_none_is_lent_to_a_store_that_is_slow_to_search_or_quick(
    threads, gate, monkeypatch, bound, seconds
):
    gate.let_send()
    threads.lend(lends=True)
    monkeypatch.setattr(module, bound, seconds)
    threads.send(A, "one", ["s", "t", "u", "v"])
    wait_until(lambda: gate.reading == 2)
    assert threads.free(A) == 2
    gate.open.set()
    assert threads.rest(10)


def test_in_a_pause_nothing_is_asked_for_and_later_it_goes_on(threads, gate):
    gate.let_send()
    gate.allowed = lambda _most: 0
    threads.send(A, "one", ["s", "t"])
    threads.read_back(A, ["u"])
    assert threads.rest(10)
    assert gate.reading == 0
    gate.open.set()
    gate.allowed = int
    threads.read_back(A)
    assert threads.rest(10)
    assert sorted(gate.read) == [(A, ["s"]), (A, ["t"]), (A, ["u"])]


def test_what_waits_when_a_pause_begins_is_asked_for_later(threads, gate):
    gate.let_send()
    threads.send(B, "one", ["s", "t"])
    wait_until(lambda: gate.reading == 1)
    gate.allowed = lambda _most: 0
    gate.open.set()
    assert threads.rest(10)
    assert gate.read == [(B, [])]
    gate.allowed = int
    threads.read_back(B)
    assert threads.rest(10)
    assert sorted(series for _, found in gate.read for series in found) == ["s", "t"]


def test_a_series_is_not_asked_for_twice_at_once(threads, gate):
    gate.let_send()
    threads.send(A, "one", ["s"])
    wait_until(lambda: gate.reading == 1)
    threads.send(A, "two", ["s"])
    threads.read_back(A, ["s"])
    wait_until(lambda: "two" in gate.sent and not threads.active())
    threads.read_back(A)
    assert threads.reading(A) == ["s"]
    assert gate.reading == 1
    gate.open.set()
    assert threads.rest(10)
    assert gate.read == [(A, ["s"])] * 2, "more of it was sent meanwhile"


def test_what_is_due_and_what_was_sent_take_turns(threads, gate):
    gate.let_send()
    threads.send(B, "one", ["s"])
    wait_until(lambda: gate.reading == 1)
    threads.send(B, "two", [f"t{number}" for number in range(30)])
    wait_until(lambda: not threads.active())
    threads.read_back(B, ["u", "v"])
    assert threads.due(B) == 2
    assert threads.due(B, behind=True) == 0
    gate.open.set()
    assert threads.rest(10)
    assert {"u", "v"} < {series for _, found in gate.read[:5] for series in found}


def send_backfill(threads, gate, series):
    """One thread reads back the first of a backfill, whose others wait."""
    gate.let_send()
    threads.send(B, "backfill", ["first"], behind=True)
    wait_until(lambda: gate.reading == 1)
    threads.send(B, "more", series, behind=True)
    wait_until(lambda: not threads.active())


def read(gate):
    return [series for _, found in gate.read for series in found]


def test_what_is_urgent_is_read_back_ahead_of_backfills(threads, gate):
    send_backfill(threads, gate, [f"sent{number}" for number in range(500)])
    threads.read_back(B, (), [f"due{number}" for number in range(200)])
    threads.send(B, "live", ["live"])
    wait_until(lambda: not threads.active())
    threads.read_back(B, ["late"])
    gate.open.set()
    assert threads.rest(10)
    assert set(read(gate)[1:3]) == {"live", "late"}
    assert len(read(gate)) == 703


def test_a_group_of_a_backfill_gives_way_to_what_is_urgent(threads, gate):
    send_backfill(threads, gate, [f"sent{number}" for number in range(500)])
    asks, let = threading.Semaphore(0), threading.Semaphore(0)
    confirm = gate.confirm

    def step_by_step(account, series, may_ask):
        def may_ask_after(one):
            may = may_ask(one)
            asks.release()
            assert let.acquire(timeout=10)
            return may

        return confirm(account, series, may_ask_after)

    gate.confirm = step_by_step
    gate.open.set()
    assert asks.acquire(timeout=10), "the first of ten"
    threads.send(B, "live", ["live"])
    wait_until(lambda: not threads.active())
    let.release(10_000)
    assert threads.rest(10)
    assert read(gate).index("live") == 2
    assert len(set(read(gate))) == len(read(gate)) == 502


@pytest.mark.parametrize("due", [True, False])
def test_a_backfill_whose_series_take_long_leaves_a_thread_to_what_is_urgent(gate, told, due):
    threads = TransferThreads(
        gate, gate, {A: 2}, lambda _account, lent: 2 + lent, told.release, slow={A}
    )
    series = [f"s{number}" for number in range(5)]
    gate.let_send()
    for number in range(3):
        if due:
            threads.read_back(A, (), series)
        else:
            threads.send(A, f"backfill {number}", series, behind=True)
    wait_until(lambda: gate.begun and not threads.active())
    threads.read_back(A)
    time.sleep(0.3)  # for another thread
    threads.send(A, "live", ["live"])
    wait_until(lambda: "live" in gate.begun, 5)
    gate.open.set()
    assert threads.rest(10)
    assert set(read(gate)) == {*series, "live"}
    threads.stop()


def test_what_is_urgent_does_not_hold_up_backfills_for_ever(threads, gate):
    send_backfill(threads, gate, ["sent"])
    threads.read_back(B, [f"live{number}" for number in range(100)], ["due"])
    gate.open.set()
    assert threads.rest(10)
    assert {"sent", "due"} < set(read(gate)[:25])


def test_a_series_of_a_backfill_of_which_more_arrives_is_urgent(threads, gate):
    send_backfill(threads, gate, [f"sent{number}" for number in range(50)])
    threads.send(B, "live", ["sent40"])
    wait_until(lambda: not threads.active())
    threads.read_back(B, (), ["sent40", "sent41"])
    assert threads.due(B, behind=True) == 1
    threads.send(B, "again", ["sent40", "sent41", "sent42"], behind=True)
    wait_until(lambda: not threads.active())
    gate.open.set()
    assert threads.rest(10)
    assert read(gate)[1] == "sent40"
    assert len(read(gate)) == 51


def test_a_backfill_that_fills_the_memory_leaves_room(threads, gate, monkeypatch):
    monkeypatch.setattr(module, "MOST_UNREAD", 5)
    send_backfill(threads, gate, [f"sent{number}" for number in range(50)])
    threads.send(B, "live", ["live"])
    wait_until(lambda: not threads.active())
    gate.open.set()
    assert threads.rest(10)
    assert len(read(gate)) == 7
    assert read(gate)[1] == "live"


def test_threads_that_have_nothing_to_read_back_for_a_while_end(threads, gate, monkeypatch):
    def readers():
        return {one.ident for one in threading.enumerate() if "gcp-read" in one.name}

    gate.open.set()
    for number in range(3):
        threads.send(A, f"{number}", [f"{number}.{one}" for one in range(9)])
        assert threads.rest(10)
    kept = readers()
    threads.read_back(A)
    assert kept and readers() == kept
    monkeypatch.setattr(module, "KEPT_FOR", 0.0)
    threads.read_back(A)
    wait_until(lambda: not readers())
    threads.send(A, "again", ["1"])
    assert threads.rest(10)
    assert gate.read[-1] == (A, ["1"])


def test_a_worker_that_stops_asks_for_nothing_more(threads, gate, caplog):
    gate.let_send()
    threads.send(B, "one", ["s", "t", "u"])
    wait_until(lambda: gate.reading == 1)
    threads.stop()
    gate.open.set()
    assert threads.rest(10)
    threads.read_back(B, ["v"])
    assert threads.rest(10)
    assert gate.read == [(B, [])]
    assert caplog.records == []


def test_what_runs_is_waited_for_no_longer_than_is_said(threads, gate):
    threads.send(A, "one", [])
    assert not threads.rest(0.05)
