"""The pace that a quota allows is found, with few refusals."""

from __future__ import annotations

import heapq
import itertools
import math

import pytest

from orthanc_gcp.custody.destinations.congestion import FIRST
from orthanc_gcp.custody.destinations.pace import FREE_AT, LONGEST_DRAIN, SAVED_UP, SMALLEST, Pace
from orthanc_gcp.custody.transfer.dispatcher import LEAST_VARIED
from tests.support.simulation import FakeClock

MB = 1_000_000
CONNECTIONS, BANDWIDTH, WAIT = 20, 10 * MB, 0.22
CLAIM = 0.01
"""Seconds between two requests that begin."""


class Store:
    """Counts bytes as they come, and lets nobody begin while more than the quota was used.

    So does the emulator: a second of it can be saved up.
    """

    def __init__(self, quota: float) -> None:
        self.quota, self.left, self.seen = quota, quota, 0.0
        self.streams: dict[int, float] = {}  # request -> when its last byte comes

    def advance(self, now: float) -> None:
        for end in sorted({now, *(end for end in self.streams.values() if end < now)}):
            used = BANDWIDTH * sum(one >= end for one in self.streams.values())
            self.left = min(self.quota, self.left + (self.quota - used) * (end - self.seen))
            self.seen = end
        self.streams = {one: end for one, end in self.streams.items() if end > now}


class Transfer:
    """So many bytes that are sent over all connections, as the dispatcher does."""

    def __init__(self, quota: float, total: float, first: float = FIRST, instance: int = 1) -> None:
        self.clock = FakeClock()
        self.clock.time = 0.0
        self.pace, self.store, self.ready = Pace(self.clock), Store(quota), total
        self.first, self.instance = first, instance
        self.events: list[tuple[float, int, str, int]] = []
        self.numbers = itertools.count()
        self.running: dict[int, tuple[float, float]] = {}
        self.requests = self.refused = 0
        self.paused_until = self.next = 0.0
        self.failures = 0

    def at(self, moment: float, what: str, request: int = 0) -> None:
        heapq.heappush(self.events, (moment, next(self.numbers), what, request))

    def run(self) -> float:
        self.at(0.0, "look")
        while self.events:
            self.clock.time, _, what, request = heapq.heappop(self.events)
            self.store.advance(self.clock.time)
            getattr(self, what)(request)
        return self.clock.time

    def look(self, _: int) -> None:
        now = self.clock.time
        if self.ready <= 0 or len(self.running) >= CONNECTIONS:
            return
        wait = max(self.paused_until, self.next) - now
        if wait <= 0:
            wait = self.pace.wait(len(self.running))
        if wait > 0:
            if wait < math.inf:
                self.at(now + wait, "look")
            return
        size = min(self.first, self.pace.most_bytes(CONNECTIONS))
        if size >= LEAST_VARIED:
            size *= 0.5 + 0.5 * (0.618 * self.requests % 1)
        size = min(max(1, size // self.instance) * self.instance, self.ready)
        self.ready -= size
        self.requests += 1
        self.pace.begun(int(size))
        self.running[self.requests] = now, size
        self.next = now + CLAIM
        self.at(now + 0.01, "arrive", self.requests)
        self.at(self.next, "look")

    def arrive(self, request: int) -> None:
        now, (_, size) = self.clock.time, self.running[request]
        if self.store.left < 0:
            self.at(now + WAIT, "refuse", request)
            return
        self.store.streams[request] = now + size / BANDWIDTH
        self.at(now + size / BANDWIDTH + WAIT, "answer", request)

    def refuse(self, request: int) -> None:
        began, size = self.running.pop(request)
        self.refused += 1
        self.ready += size
        if self.clock.time >= self.paused_until:
            self.failures += 1
            self.paused_until = self.clock.time + min(8.0, 0.375 * 2 ** (self.failures - 1))
        self.pace.refused(began)
        self.look(0)

    def answer(self, request: int) -> None:
        began, size = self.running.pop(request)
        self.failures = 0
        self.pace.taken(int(size), began)
        self.look(0)


def test_a_gigabyte_under_half_of_what_the_wire_could():
    transfer = Transfer(100 * MB, 1000 * MB, instance=MB // 2)
    seconds = transfer.run()
    assert seconds < 10 / 0.9
    assert transfer.refused <= 0.02 * transfer.requests


@pytest.mark.parametrize("quota", [20 * MB, 50 * MB, 150 * MB])
def test_whatever_the_quota_is_it_is_used(quota):
    transfer = Transfer(quota, 60 * quota)
    seconds = transfer.run()
    assert seconds < 60 / 0.8
    assert transfer.refused <= 0.05 * transfer.requests


def test_without_a_quota_nothing_waits():
    transfer = Transfer(math.inf, 1000 * MB)
    transfer.run()
    assert transfer.refused == 0
    assert transfer.pace.most_bytes(CONNECTIONS) == math.inf


OF_TEN = 10 * MB / (1 + SAVED_UP)
"""The pace after ten megabytes in a second and a refusal."""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def pace(clock):
    return Pace(clock)


def refuse_one_of_ten_megabytes_a_second(pace, clock):
    began = clock.now()
    pace.begun(10 * MB)
    clock.time += 1
    pace.taken(10 * MB, began)
    pace.refused(clock.now())


def take(pace, clock, requests, size, seconds):
    """So many requests, one after the other, each of so many bytes and seconds."""
    for _ in range(requests):
        began = clock.now()
        clock.time += seconds
        pace.taken(size, began)


def ask_and_be_answered(pace, clock):
    assert pace.wait(0) == 0
    began = clock.now()
    pace.begun(SMALLEST)
    pace.taken(SMALLEST, began)


def test_after_a_refusal_one_request_asks_alone(pace, clock):
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    assert pace.wait(3) == math.inf
    assert pace.wait(0) == 0
    began = clock.now()
    pace.begun(MB)
    assert pace.wait(1) == math.inf
    clock.time += 1
    pace.taken(MB, began)
    assert pace.wait(1) < 1
    assert pace.most_bytes(1) == pytest.approx(OF_TEN / 2, rel=0.1), "half a second of it"


def test_one_that_ran_beside_it_says_nothing_new(pace, clock):
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    before = clock.now() - 1
    assert pace.wait(0) == 0
    pace.begun(MB)
    pace.refused(before)
    pace.taken(MB, before)
    assert pace.wait(1) == math.inf, "that one is still asking"


def test_one_that_asks_in_vain_changes_no_pace(pace, clock):
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    pace.wait(0)
    before = pace.most_bytes(1)
    for _ in range(5):
        pace.begun(MB)
        pace.refused(clock.now())
        assert pace.wait(1) == math.inf
        assert pace.wait(0) == 0
    assert pace.most_bytes(1) == before


def test_the_first_that_asks_carries_little(pace, clock):
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    assert pace.most_bytes(1) == SMALLEST
    ask_and_be_answered(pace, clock)
    assert pace.most_bytes(1) > SMALLEST


def test_a_quota_that_is_not_met_any_more_is_forgotten(pace, clock):
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    ask_and_be_answered(pace, clock)
    clock.time += FREE_AT * 100
    assert pace.most_bytes(1) == math.inf


def test_a_refusal_before_anything_was_taken_does_not_stop_all(pace, clock):
    pace.refused(clock.now())
    assert pace.wait(0) == 0
    assert pace.most_bytes(20) == SMALLEST


def test_hours_without_work_are_no_slow_pace(pace, clock):
    began = clock.now()
    pace.begun(MB)
    pace.taken(MB, began)
    clock.time += 7200
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    ask_and_be_answered(pace, clock)
    assert pace.most_bytes(1) == pytest.approx(OF_TEN / 2, rel=0.1)


def test_a_trickle_before_is_no_slow_pace(pace, clock):
    take(pace, clock, 20, 1000, 1)
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    ask_and_be_answered(pace, clock)
    assert pace.most_bytes(1) == pytest.approx(OF_TEN / 2, rel=0.1)


def test_a_quota_of_a_minute_that_was_used_up_in_a_moment(pace, clock):
    """Its pace is that of the minute, not that of the moment."""
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    for _ in range(3):
        assert pace.wait(0) == 0
        pace.begun(SMALLEST)
        clock.time += 9
        pace.refused(clock.now())
    ask_and_be_answered(pace, clock)
    assert pace.most_bytes(1) == SMALLEST
    clock.time += 0.25
    pace.begun(MB)
    assert pace.wait(1) == pytest.approx(MB / (10 * MB / 28.5) - 0.25, rel=0.1)


def test_between_two_refusals_the_quota_is_what_was_taken(pace, clock):
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    ask_and_be_answered(pace, clock)
    take(pace, clock, 8, 4 * MB, 1)
    pace.refused(clock.now())
    ask_and_be_answered(pace, clock)
    assert pace.most_bytes(1) == pytest.approx(4 * MB / 2, rel=0.05)


def test_requests_that_take_longer_carry_more(pace, clock):
    """Otherwise so many connections could not send what the quota lets in."""
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    ask_and_be_answered(pace, clock)
    take(pace, clock, 30, MB, 2)
    assert pace.most_bytes(10) > OF_TEN * 1.9 / 10


def test_a_giant_that_runs_holds_up_the_others_for_a_moment_only(pace, clock):
    refuse_one_of_ten_megabytes_a_second(pace, clock)
    assert pace.wait(1) == math.inf
    clock.time += LONGEST_DRAIN + 1
    assert pace.wait(1) == 0
    began = clock.now()
    pace.begun(MB)
    assert pace.wait(2) == math.inf
    clock.time += LONGEST_DRAIN + 1
    assert pace.wait(2) == 0, "what asks may be a giant, too"
    pace.taken(MB, began)
    assert pace.wait(1) < 1


def test_what_is_urgent_has_most_turns_and_the_rest_has_some(pace, clock):
    """However many of a backfill ask at once."""
    take(pace, clock, 50, 1000, 0.1)
    assert pace.refused(clock.now())
    ask_and_be_answered(pace, clock)
    assert pace.requests_per_second > 0
    turns: list[bool] = []
    while len(turns) < 60:
        for behind in (True, True, True, False, True):
            if pace.turn(behind=behind) == 0.0:
                pace.ended()
                turns.append(behind)
        clock.time += 0.01
    assert 3 <= sum(turns) <= 12
