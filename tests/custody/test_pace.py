"""The pace follows what the store does."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.pace import (
    FIRST,
    FIRST_PAUSE,
    LARGEST,
    LONGEST_PAUSE,
    MOST_INSTANCES,
    Pace,
)
from tests.support.simulation import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def pace(clock):
    return Pace(clock, 8, luck=lambda: 1.0)


def test_it_grows_while_requests_are_quick(pace):
    for _ in range(20):
        pace.succeeded(pace.instances, pace.bytes, 0.1)
    assert (pace.window, pace.bytes, pace.instances) == (8, LARGEST, MOST_INSTANCES)


def test_small_batches_are_no_reason_to_grow(pace):
    for _ in range(20):
        pace.succeeded(1, 1000, 0.1)
    assert (pace.bytes, pace.instances) == (FIRST, 100)


def test_slow_requests_become_smaller(pace):
    pace.succeeded(100, FIRST, 11)
    assert (pace.bytes, pace.instances) == (FIRST // 2, 50)
    for _ in range(20):
        pace.failed("timeout", too_big=True)
    assert pace.bytes >= 1 << 18
    assert pace.instances >= 10


def test_pauses_double_up_to_a_minute_and_end_with_a_success(pace, clock):
    pauses = [pace.failed("down") for _ in range(10)]
    assert pauses[:4] == [FIRST_PAUSE * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_PAUSE
    assert pace.window == 0
    clock.time += LONGEST_PAUSE
    assert pace.window == 1  # one request asks whether the store is back
    pace.succeeded(1, 1, 0.1)
    assert pace.window > 1
    assert pace.failed("down") == FIRST_PAUSE


def test_a_throttled_store_gets_half_as_many_requests(pace, clock):
    for _ in range(8):
        pace.succeeded(1, 1, 0.1)
    pace.throttled("429", None)
    clock.time += 1
    assert pace.window == 4


@pytest.mark.parametrize(("asked", "waits"), [(0.0, FIRST_PAUSE), (7.0, 7.0), (1800.0, 1800.0)])
def test_retry_after_is_honoured(pace, clock, asked, waits):
    assert pace.throttled("429", asked) == waits
    assert pace.pause == waits
    clock.time += waits
    assert pace.window > 0


def test_one_bad_instance_holds_up_nobody(pace):
    pace.succeeded(10, 1000, 0.1)
    assert pace.failed("500", suspect=True) == 0
    assert pace.window > 0
    pace.failed("500")
    assert pace.failed("500", suspect=True) > 0  # the store has other trouble
