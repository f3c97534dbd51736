"""The limits that hold for what is sent to an account."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace

import pytest

from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import SLOWEST_CONNECTION, Destination
from orthanc_gcp.custody.destinations.rate_limit import RateLimit
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.outages import Outage
from orthanc_gcp.transport.authorization import Authorization
from tests.support.simulation import FakeClock


@pytest.fixture
def destination(ledger):
    """A maker of destinations with limits of so many units a second, by name."""
    waited = []
    store = DicomStore("http://127.0.0.1:9/dicomWeb", lambda: Authorization("token"))

    def make(verify="Search", **rates):
        def wait(seconds):
            waited.append(seconds)
            return True

        limits = {name: RateLimit(ledger, name, rate, wait) for name, rate in rates.items()}
        fake = FakeClock()
        outage = Outage(logging.getLogger("store"), "down", "up", fake)
        window = CongestionWindow(fake, 8, outage)
        return Destination("a", store, store, window, False, verify, **limits), waited

    yield make
    store.close()


def test_without_a_limit_nothing_waits(destination):
    one, waited = destination()
    one.wait_for_request()
    assert list(one.byte_throttles(Priority.LIVE)) == []
    assert list(one.byte_throttles(Priority.BACKFILL)) == []
    assert waited == []


def test_lent_connections_read_back_where_the_limits_can_fill_them(destination):
    one, _ = destination()
    assert (one.searches(0), one.searches(5)) == (8, 13)
    one.congestion.read_failed(StoreError("a store", reason="throttled", status=429))
    assert one.searches(5) == 0, "a pause"
    slow, _ = destination(request_limit=20)
    assert (slow.searches(0), slow.searches(5)) == (8, 8)
    quicker, _ = destination(request_limit=30, byte_limit=1)
    assert quicker.searches(5) == 10


@pytest.mark.parametrize(("verify", "most"), [("Search", 8), ("Sample", 8), ("Bytes", 3)])
def test_a_limit_on_bytes_leaves_work_for_few_that_read_files(destination, verify, most):
    one, _ = destination(verify, byte_limit=2 * SLOWEST_CONNECTION)
    assert one.searches(0) == most


def test_requests_wait_for_their_turn(destination):
    one, waited = destination(request_limit=2)
    for _ in range(3):
        one.wait_for_request()
    assert waited == [0.5, 1.0]


def test_a_request_waits_until_it_is_known_whether_a_quota_has_room(destination):
    """Whatever it is for: what runs ends first, then one asks."""
    one, _ = destination()
    clock, waited, held = one.congestion._clock, [], ExitStack()

    def wait(seconds):
        clock.time += seconds
        waited.append(seconds)
        if sum(waited) > 2:
            held.close()
        return False

    one = replace(one, wait=wait)
    with one.request_to_read(Priority.LIVE):
        pass
    clock.time += 1
    held.enter_context(one.request(Priority.LIVE))
    with pytest.raises(StoreError), one.request_to_read(Priority.LIVE):
        raise StoreError("a store", reason="throttled", status=429)
    with one.request(Priority.LIVE) as began:
        assert sum(waited) > 2, "until the other one had ended"
        assert began == clock.time
        asked = len(waited)
    one.congestion.succeeded(1, 100, 0.1, began)
    with one.request_to_read(Priority.LIVE):
        assert len(waited) > asked, "and later as many a second as there is room for"


def test_a_worker_that_stops_waits_for_no_quota(destination):
    one, _ = destination()
    one = replace(one, wait=lambda _seconds: True)
    with one.request(Priority.LIVE):
        one.congestion.throttled(StoreError("a store", reason="throttled", status=429), 2000.0)
        with one.request_to_read(Priority.LIVE):
            pass


@pytest.mark.parametrize("priority", [Priority.LIVE, Priority.DEMANDED])
def test_what_is_urgent_goes_ahead_of_all_requests_of_backfills(destination, priority):
    one, waited = destination(request_limit=1)
    wait, ahead = one.request_limit._wait, []

    def urgent_meanwhile(seconds):
        if not ahead:
            ahead.append(seconds)
            with one.request(priority):
                pass
        return wait(seconds)

    one.request_limit._wait = urgent_meanwhile
    with one.request_to_read(Priority.BACKFILL):
        pass
    with one.request_to_read(Priority.BACKFILL):
        pass
    assert waited[0] == 1.0, "only what was let in before is in the way of what is urgent"


def test_a_backfill_has_a_limit_of_its_own_besides(destination):
    one, waited = destination(byte_limit=1000, backfill_byte_limit=100)
    assert len(one.byte_throttles(Priority.LIVE)) == 1
    assert len(one.byte_throttles(Priority.DEMANDED)) == 1
    for acquire in one.byte_throttles(Priority.BACKFILL):
        acquire(100)
        acquire(150)
    # A quarter of a second of its rate is taken at once by the faster one.
    assert waited == [1.0]


@pytest.mark.parametrize(
    ("rates", "connections"),
    [
        ({}, 20),
        ({"byte_limit": 1 << 20}, 5),
        ({"byte_limit": 1000}, 1),
        ({"byte_limit": 1 << 30}, 20),
        ({"request_limit": 1}, 6),
        ({"request_limit": 1 / 60}, 1),
        ({"request_limit": 100, "byte_limit": 1 << 20}, 5),
    ],
)
def test_no_more_connections_are_used_than_a_limit_leaves_work_for(destination, rates, connections):
    one, _ = destination(**rates)
    assert one.useful(20) == connections
    assert one.useful(0) == 0, "in a pause"
