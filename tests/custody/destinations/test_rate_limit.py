"""A rate limit holds for all workers together, by a clock that only waiting moves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from orthanc_gcp.configuration import BackfillOptions, read
from orthanc_gcp.custody.destinations.rate_limit import (
    RateLimit,
    backfill_byte_limit,
    byte_limit,
    request_limit,
)
from tests.support.keys import STORE


def test_workers_that_share_a_limit_from_its_first_use_on(ledger, clock):
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return True

    limits = [RateLimit(ledger, "n", 0.1, wait) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(limit.acquire, 1.0) for limit in limits]:
            done.result()
    # Each had its own ten seconds; only the first did not wait.
    assert ledger.key_values.get("rate_limit:n", float) == clock.now + 60
    assert len(waited) == 5


@pytest.fixture
def wait(clock):
    """Lets the ledger's clock go on."""

    def wait(seconds):
        clock.now += seconds
        return False

    return wait


def test_it_holds_for_all_workers_together(ledger, clock, wait):
    rate, began, taken = 1000, clock.now, 0
    acquires = [RateLimit(ledger, "bytes", rate, wait).for_one_request() for _ in range(2)]
    for turn in range(100):
        acquires[turn % 2](130)
        taken += 130
        # Each may hold the quarter of a second that it has just taken.
        assert taken <= rate * (clock.now - began + 0.5)
    assert clock.now - began == pytest.approx(taken / rate, abs=1)


def test_long_waits_end_when_the_worker_stops(ledger):
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return len(waited) == 3

    limit = RateLimit(ledger, "n", 0.1, wait)
    limit.acquire()
    limit.acquire()
    assert waited == [1.0, 1.0, 1.0]


def test_a_clock_that_was_set_back_makes_nobody_wait_for_the_old_time(ledger, clock, wait):
    limit = RateLimit(ledger, "n", 1, wait)
    limit.acquire()
    clock.now -= 86_400
    before = clock.now
    limit.acquire()
    assert clock.now - before <= 60


def test_however_many_wait_each_has_its_own_turn(ledger, clock, wait):
    for _ in range(7):  # these wait for their turns meanwhile
        RateLimit(ledger, "n", 0.1, lambda _: True).acquire()
    before = clock.now
    for turn in (70, 80):
        RateLimit(ledger, "n", 0.1, wait).acquire()
        assert clock.now - before == pytest.approx(turn, abs=1)


def test_who_waits_to_be_given_a_turn_ends_when_the_worker_stops(ledger, clock):
    for _ in range(9):
        RateLimit(ledger, "n", 0.1, lambda _: True).acquire()
    assert ledger.key_values.get("rate_limit:n", float) == pytest.approx(clock.now + 70)


def test_who_goes_behind_books_nothing_that_others_would_wait_for(ledger, clock):
    """However many threads of however many workers wait behind."""
    turn = threading.Semaphore(0)
    waiting = threading.Semaphore(0)

    def until_told(_seconds):
        waiting.release()
        turn.acquire()
        return True

    limits = [RateLimit(ledger, "n", 1, until_told) for _ in range(2)]
    began, waited = clock.now, []
    with ThreadPoolExecutor(12) as pool:
        behind = [pool.submit(limits[one % 2].acquire, behind=True) for one in range(12)]
        for _ in range(2):
            assert waiting.acquire(timeout=10)
        RateLimit(ledger, "n", 1, lambda seconds: bool(waited.append(seconds))).acquire()
        turn.release(100)
        for one in behind:
            one.result()
    assert began == clock.now
    assert sum(waited) <= 2


def test_who_goes_behind_has_all_that_nobody_else_wants(ledger, clock, wait):
    began = clock.now
    acquire = RateLimit(ledger, "n", 1000, wait).for_one_request(behind=True)
    for _ in range(100):
        acquire(130)
    assert clock.now - began == pytest.approx(13, abs=1)


def test_who_goes_behind_is_not_held_up_for_ever(ledger, clock, wait):
    """Others want more than there is: a request that has begun would be ended by the store."""

    def others_ahead(seconds):
        for _ in range(3):
            RateLimit(ledger, "n", 10, lambda _seconds: True).acquire()
        return wait(seconds)

    began = clock.now
    RateLimit(ledger, "n", 10, wait).acquire()
    RateLimit(ledger, "n", 10, wait).acquire()
    RateLimit(ledger, "n", 10, wait).acquire()
    RateLimit(ledger, "n", 10, others_ahead).acquire(behind=True)
    assert clock.now - began < 10


def test_the_limits_that_options_ask_for(ledger, clock, wait):
    account = {**STORE, "ServiceAccountFile": "key.json", "MaxRequestsPerMinute": 30}
    section = {"Accounts": {"a": {**account, "MaxBytesPerSecond": 1000}}}
    (limited,) = read({"GoogleCloudPlatform": section}).accounts
    for limit, seconds in (
        (request_limit(limited, ledger, wait), 2),
        (byte_limit(limited, ledger, wait), 0.001),
        (backfill_byte_limit(BackfillOptions(max_bytes_per_second=10), ledger, wait), 0.1),
    ):
        before = clock.now
        limit.acquire()
        limit.acquire()
        assert clock.now - before == pytest.approx(seconds, abs=1e-4)
    free = replace(limited, max_requests_per_minute=None, max_bytes_per_second=None)
    assert request_limit(free, ledger, wait) is None
    assert byte_limit(free, ledger, wait) is None
    assert backfill_byte_limit(BackfillOptions(), ledger, wait) is None
    assert backfill_byte_limit(None, ledger, wait) is None
