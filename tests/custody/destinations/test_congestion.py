"""The congestion window follows what the store does."""

from __future__ import annotations

import logging

import pytest

from orthanc_gcp.custody.destinations.congestion import (
    FIRST,
    FIRST_PAUSE,
    LARGEST,
    LONGEST_PAUSE,
    MEGABYTE,
    MOST_INSTANCES,
    PART_OF_OUTAGE,
    ROUNDS_LENT,
    SOON,
    CongestionWindow,
)
from orthanc_gcp.errors import StoreError
from orthanc_gcp.outages import Outage
from tests.support.simulation import FakeClock

DOWN = StoreError("a store answered 500", reason="server_error", status=500)
TIMEOUT = StoreError("a store does not answer", reason="timeout")


BUSY = StoreError("a store answered 503", reason="unavailable", status=503)


def too_many(retry_after=None):
    return StoreError("a store", reason="throttled", status=429, retry_after=retry_after)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def congestion(clock):
    outage = Outage(logging.getLogger("window"), "down", "up", clock)
    return CongestionWindow(clock, 8, outage, jitter=lambda: 1.0)


def test_it_grows_while_requests_are_quick(congestion):
    for _ in range(20):
        congestion.succeeded(congestion.batch_instances, congestion.batch_bytes, 0.1)
    assert (congestion.window, congestion.batch_bytes, congestion.batch_instances) == (
        8,
        LARGEST,
        MOST_INSTANCES,
    )


def test_small_batches_are_no_reason_to_grow(congestion):
    for _ in range(20):
        congestion.succeeded(1, 1000, 0.1)
    assert (congestion.batch_bytes, congestion.batch_instances) == (FIRST, 100)


def test_slow_requests_become_smaller(congestion):
    congestion.succeeded(100, FIRST, 11)
    assert (congestion.batch_bytes, congestion.batch_instances) == (FIRST // 2, 50)
    for _ in range(20):
        congestion.failed(TIMEOUT, too_big=True)
    assert congestion.batch_bytes >= 1 << 18
    assert congestion.batch_instances >= 10


def test_pauses_double_up_to_a_minute_and_end_with_a_success(congestion, clock):
    pauses, began = [], clock.time
    for _ in range(100):
        pauses.append(congestion.failed(DOWN))
        assert congestion.window == 0
        lasted = clock.time - began
        assert pauses[-1] <= max(SOON, PART_OF_OUTAGE * lasted), "what was short is over soon"
        clock.time += pauses[-1]
    assert pauses[:4] == [FIRST_PAUSE * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_PAUSE
    assert congestion.window == 1  # one request asks whether the store is back
    congestion.succeeded(1, 1, 0.1)
    assert congestion.window > 1
    assert congestion.failed(DOWN) == FIRST_PAUSE


def test_a_throttled_store_gets_half_as_many_requests(congestion, clock):
    began = clock.now()
    clock.time += 1
    for _ in range(8):  # all that ran at once are refused
        congestion.throttled(BUSY, began)
    clock.time += 1
    assert congestion.window == 4
    congestion.throttled(BUSY, clock.now())
    clock.time += 2
    assert congestion.window == 2
    congestion.succeeded(1, 1, 0.1)
    assert congestion.window == 3


def test_requests_that_fail_at_once_are_one_failure(congestion, clock):
    for _ in range(8):
        assert congestion.failed(DOWN) == FIRST_PAUSE
    clock.time += FIRST_PAUSE
    assert congestion.window == 8
    assert congestion.failed(DOWN) == 2 * FIRST_PAUSE


def test_what_is_left_of_a_request_is_known_by_the_pace_of_others(congestion):
    assert congestion.part_left(10, 100) == 1
    for _ in range(30):
        congestion.succeeded(10, 10 * MEGABYTE, 2.0)
        congestion.succeeded(1, 100, 0.5)  # too small to show a pace
    assert congestion.part_left(10 * MEGABYTE, 0.5) == pytest.approx(0.75)
    assert congestion.part_left(10 * MEGABYTE, 5) == 0


def test_a_quota_that_is_used_up_lets_one_request_ask_and_then_slows_all(congestion, clock):
    began = clock.now()
    congestion.begun(10 * MEGABYTE)
    clock.time += 1
    congestion.succeeded(10, 10 * MEGABYTE, 1.0, began)
    assert congestion.throttled(too_many(), began) == FIRST_PAUSE
    clock.time += 1
    assert congestion.window == 8
    assert not congestion.may_begin(3)
    assert congestion.may_begin(0)
    assert congestion.most_bytes(8) < congestion.batch_bytes


def test_refusals_beside_the_first_do_not_prolong_the_pause(congestion, clock):
    """They began before it was known, and end long after it where their bodies are large."""
    began = clock.now()
    clock.time += 1
    clock.time += congestion.throttled(too_many(), began)
    assert congestion.throttled(too_many(), began) == 0
    assert (congestion.delay, congestion.totals.throttled) == (0, 2)
    assert congestion.throttled(too_many(7.0), began) == 7.0, "unless they say until when"
    clock.time += 7.0
    asked = clock.now()
    assert congestion.throttled(too_many(), asked) > 0, "that it is still used up"


@pytest.mark.parametrize(("asked", "waits"), [(0.0, FIRST_PAUSE), (7.0, 7.0), (1800.0, 1800.0)])
def test_retry_after_is_honoured(congestion, clock, asked, waits):
    assert congestion.throttled(too_many(asked), clock.now()) == waits
    assert congestion.delay == waits
    clock.time += waits
    assert congestion.window > 0


def test_one_bad_instance_holds_up_nobody(congestion):
    congestion.succeeded(10, 1000, 0.1)
    assert congestion.failed(DOWN, suspect=True) == 0
    assert congestion.window > 0
    congestion.failed(DOWN)
    assert congestion.failed(DOWN, suspect=True) > 0  # the store has other trouble


# -- Reading back ---------------------------------------------------------------------------------


def test_fewer_read_back_where_the_store_asks_for_less(congestion, clock):
    assert congestion.searches == 16
    began = clock.now()
    for error in (too_many(), BUSY, too_many()):
        clock.time += 0.1
        congestion.read_failed(error, began)
    assert congestion.searches == 8, "they had begun before the first of them was refused"
    congestion.read_failed(DOWN, clock.now())
    congestion.read_failed(too_many(), clock.now(), suspect=True)
    assert congestion.searches == 8
    congestion.read_failed(too_many(), clock.now())
    assert congestion.searches == 4
    for _ in range(5):
        congestion.read_succeeded(clock.now())
    assert congestion.searches == 5, "one more after as many as run at once"
    for _ in range(100):
        congestion.read_succeeded(clock.now())
    assert congestion.searches == 8, "more are lent only after long"
    for _ in range(100 * ROUNDS_LENT):
        congestion.read_succeeded(clock.now())
    assert congestion.searches == 16
    for _ in range(9):
        congestion.read_failed(too_many())
    assert congestion.searches == 1


def test_a_store_says_how_long_nothing_is_to_be_read(congestion):
    assert congestion.read_failed(too_many(7.0)) == 7.0
    assert congestion.delay == 7.0


# -- What the log says ----------------------------------------------------------------------------


def test_an_outage_is_over_when_it_is_for_sending_and_for_reading(congestion, clock, caplog):
    congestion.failed(DOWN)
    congestion.read_failed(DOWN)
    clock.time += 5
    congestion.read_succeeded(clock.now())
    assert congestion.problem
    congestion.succeeded(1, 1, 0.1)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "down",
        "up after 5 s",
    ]
    assert congestion.problem is None


def test_what_cannot_be_read_back_is_no_problem_once_it_is(congestion, clock, caplog):
    congestion.read_failed(DOWN)
    assert congestion.problem == str(DOWN)
    clock.time += 5
    congestion.read_succeeded(clock.now() - 6)  # asked before
    assert congestion.problem
    congestion.read_succeeded(clock.now())
    assert congestion.problem is None
    assert caplog.records[-1].message == "up after 5 s"


def test_a_quota_that_is_used_up_for_a_moment_is_no_outage(congestion, clock, caplog):
    for _ in range(50):
        congestion.throttled(too_many(), clock.now())
        congestion.throttled(too_many(), clock.now())
        congestion.succeeded(1, 1, 0.1)
    assert caplog.records == []
    for _ in range(100):
        clock.time += congestion.throttled(too_many(), clock.now())
    assert len(caplog.records) == 2  # after ten minutes once more


def test_requests_that_are_too_large_are_no_outage(congestion, caplog):
    before = congestion.batch_bytes
    congestion.too_large(StoreError("a store", reason="too_large", status=413))
    assert caplog.records == []
    assert (congestion.delay, congestion.problem) == (0, None)
    assert congestion.batch_bytes < before
    assert congestion.totals.reasons == {"too_large": 1}


def test_what_failed_is_counted_by_its_reason(congestion):
    congestion.failed(DOWN)
    congestion.failed(TIMEOUT)
    congestion.throttled(too_many(), 0.0)
    congestion.throttled(too_many(), 0.0)
    assert congestion.totals.reasons == {"server_error": 1, "timeout": 1, "throttled": 2}
    assert (congestion.totals.failed, congestion.totals.throttled) == (2, 2)
