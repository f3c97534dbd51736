"""The one policy of every retry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.backoff import Backoff

BACKOFF = Backoff(0.5, 60.0)


def test_delays_double_up_to_the_longest():
    delays = [BACKOFF.delay(attempt, lambda: 1.0) for attempt in range(1, 10)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize(("random", "delay"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_half_of_a_delay_is_random(random, delay):
    assert BACKOFF.delay(4, lambda: random) == delay


@pytest.mark.parametrize(("jitter", "shortest"), [(0.0, 4.0), (0.2, 3.2), (1.0, 0.0)])
def test_the_random_share_is_chosen(jitter, shortest):
    assert Backoff(0.5, 60.0, jitter).delay(4, lambda: 0.0) == pytest.approx(shortest)


def test_the_delay_after_another():
    delays, previous = [], 0.0
    for _ in range(9):
        previous = BACKOFF.after(previous, lambda: 1.0)
        delays.append(previous)
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_longest_below_the_first():
    assert Backoff(1.0, 0.2, 0).delay(1) == Backoff(1.0, 0.2, 0).after(0.2) == 0.2


@given(st.integers() | st.just(10**100), st.floats(0, 1))
def test_any_number_of_attempts(attempt, random):
    assert 0.25 <= BACKOFF.delay(attempt, lambda: random) <= 60.0


@given(st.floats(0, 1e308), st.floats(0, 1))
def test_any_delay_before(previous, random):
    assert 0.25 <= BACKOFF.after(previous, lambda: random) <= 60.0


def test_its_own_random_numbers_spread():
    assert len({BACKOFF.delay(8) for _ in range(20)}) > 10
