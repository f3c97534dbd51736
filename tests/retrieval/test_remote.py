"""Whose fault it is that something does not come, and when a store is asked again."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from orthanc_gcp.errors import StoreError
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.retrieval import remote
from orthanc_gcp.retrieval.remote import Pace, RemoteStore
from tests.support.simulation import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def pace(clock):
    return Pace(clock, Outage(logging.getLogger("test"), "down", "up", clock))


def error(reason, **more):
    return StoreError("no", reason=reason, retryable=True, **more)


AWAY, REFUSED = error(StoreReason.UNAVAILABLE, status=503), error(StoreReason.NOT_FOUND, status=404)


def test_a_store_that_is_away_counts_against_nothing(pace, clock):
    for _ in range(30):
        assert pace.failed([1, 2], AWAY) == set()
        assert not pace.is_open
        clock.time += 61
        assert pace.is_open
    assert pace.problem == "no"
    pace.succeeded(clock.now())
    assert pace.is_open
    assert pace.problem is None


def test_what_fails_while_others_come_is_at_fault_itself(pace, clock):
    assert pace.failed([1], AWAY) == set()
    clock.time += 61
    pace.succeeded(clock.now())
    assert pace.failed([1, 2], AWAY) == {1}
    pace.forget(1)
    assert pace.failed([1], AWAY) == set()


def test_a_request_from_before_says_nothing(pace, clock):
    began = clock.now()
    clock.time += 5
    pace.failed([1], AWAY)
    pace.succeeded(began)
    assert pace.failed([1], AWAY) == set()


def test_a_refusal_counts_and_holds_up_nobody(pace):
    assert pace.failed([1, 2], REFUSED) == {1, 2}
    assert pace.is_open


def test_a_store_says_how_long_it_is_to_be_left_alone(pace, clock):
    pace.failed([1], error(StoreReason.THROTTLED, status=429, retry_after=100.0))
    clock.time += 99
    assert not pace.is_open
    clock.time += 2
    assert pace.is_open
    pace.failed([1], error(StoreReason.THROTTLED, status=429, retry_after=0.0))
    assert not pace.is_open


def test_what_is_remembered_has_a_bound(pace, monkeypatch):
    monkeypatch.setattr(remote, "MOST_REMEMBERED", 10)
    for number in range(50):
        pace.failed([number], REFUSED)
    assert len(pace._first_failed) == 10


def test_what_may_be_at_fault_is_so_only_if_the_store_answers_anything(pace, clock):
    asked = []

    def search(path, keys, *, depth, page):
        asked.append((path, keys, depth, page))
        if is_away:
            raise AWAY
        yield {}

    remote = RemoteStore("account", SimpleNamespace(search=search), pace, 1)
    is_away = False
    assert remote.failed([1], AWAY) == set()
    assert not asked, "as far as is known, it is away"
    clock.time += 61
    pace.succeeded(clock.now())
    is_away = True
    assert [remote.failed([1], AWAY) for _ in range(20)] == 20 * [set()]
    assert not pace.is_open
    is_away = False
    assert remote.failed([1, 2], AWAY) == {1}
    assert pace.is_open, "it is in the way of no other"
    assert set(map(str, asked)) == {"('/studies', {}, 1, 1)"}
    asked.clear()
    throttled = error(StoreReason.THROTTLED, status=429, retry_after=30.0)
    assert remote.failed([1, 2], throttled) == set()
    clock.time += 29
    assert not pace.is_open, "a quota is left alone for as long as it asks"
    assert remote.failed([1, 2], REFUSED) == {1, 2}
    assert not asked
