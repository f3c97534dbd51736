"""A quota of requests, of those that send and those that read back together, is found and kept."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.errors import StoreError
from orthanc_gcp.outages import Outage
from tests.support.simulation import FakeClock

CONNECTIONS, WAIT, LOOK, CLAIM = 20, 0.22, 0.1, 0.01
OF_STUDY = 10
"""Instances, of one series."""


class ASecond:
    """So many requests a second; those of one can be saved up."""

    def __init__(self, rate: float) -> None:
        self.rate, self.left, self.seen = rate, float(rate), 0.0

    def __repr__(self) -> str:
        return f"{self.rate} a second"

    def admits(self, now: float) -> bool:
        self.left = min(max(self.rate, 1.0), self.left + self.rate * (now - self.seen))
        self.seen = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class AMinute:
    """So many requests a minute, which begins with the first after the one before."""

    def __init__(self, most: int) -> None:
        self.rate, self.most, self.began, self.count = most / 60, most, -math.inf, 0

    def __repr__(self) -> str:
        return f"{self.most} a minute"

    def admits(self, now: float) -> bool:
        if now - self.began >= 60:
            self.began, self.count = now, 0
        self.count += 1
        return self.count <= self.most

    def left(self, now: float) -> float:
        """What ``Retry-After`` says: the seconds until the next minute."""
        return math.ceil(max(1.0, self.began + 60 - now))


class Work:
    """Studies that are sent, and read back series by series, as the worker does."""

    def __init__(
        self,
        quota: ASecond | AMinute,
        instance: int = 10_000,
        retry_after: Callable[[float], float] | None = None,
    ) -> None:
        self.clock, self.quota, self.instance = FakeClock(), quota, instance
        self.retry_after = retry_after
        self.clock.time = 0.0
        outage = Outage(logging.getLogger("store"), "down", "up", self.clock)
        self.window = CongestionWindow(self.clock, CONNECTIONS, outage, lambda: 0.5)
        self.destination = Destination("a", None, None, self.window, False, "Search")
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.sending = self.reading = self.unread = self.sent = 0
        self.answered, self.refused = Counter[str](), Counter[str]()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.clock.time + seconds, next(self.numbers), what))

    def run(self, seconds: float) -> None:
        """Until so many seconds since its begin."""
        if not self.events:
            self.later(0, self.look)
        while self.events and self.events[0][0] < seconds:
            self.clock.time, _, what = heapq.heappop(self.events)
            what()

    def look(self) -> None:
        """What is done ten times a second, and whenever a connection is free."""
        self.begin()
        self.later(LOOK, self.look)

    def begin(self) -> None:
        window = self.destination.useful(self.window.window)
        begun = 0
        while self.sending < window and self.window.may_begin(self.sending):
            size = min(self.window.batch_bytes, self.window.most_bytes(window))
            count = max(1, min(self.window.batch_instances, int(size / self.instance)))
            self.window.begun(count * self.instance)
            self.sending += 1
            self.later(CLAIM * begun, lambda count=count: self.send(count))
            begun += 1
        while self.unread and self.reading < self.destination.searches(0):
            self.unread -= 1
            self.reading += 1
            self.read()

    def send(self, count: int) -> None:
        if wait := self.window.turn():
            self.later(wait, lambda: self.send(count))
            return
        began, size = self.clock.time, count * self.instance

        def answer() -> None:
            self.window.ended()
            self.sending -= 1
            if admitted:
                self.window.succeeded(count, size, self.clock.time - began, began)
                self.answered["sending"] += 1
                self.sent += count
                self.unread += max(1, count // OF_STUDY)
            else:
                self.refused["sending"] += 1
                self.window.throttled(self.too_many(), began)
            self.begin()

        admitted = self.quota.admits(began)
        self.later(WAIT + (size / 10e6 if admitted else 0), answer)

    def read(self) -> None:
        if wait := self.window.turn():
            self.later(wait, self.read)
            return
        began = self.clock.time

        def answer() -> None:
            self.window.ended()
            self.reading -= 1
            if admitted:
                self.window.read(began, None)
                self.window.read_succeeded(began)
                self.answered["reading"] += 1
            else:
                self.unread += 1
                self.refused["reading"] += 1
                self.window.read(began, self.too_many())
                self.window.read_failed(self.too_many(), began)
            self.begin()

        admitted = self.quota.admits(began)
        self.later(WAIT, answer)

    @property
    def refused_part(self) -> float:
        refused = self.refused.total()
        return refused / (refused + self.answered.total())

    def too_many(self) -> StoreError:
        wait = self.retry_after(self.clock.time) if self.retry_after else None
        return StoreError("a store", reason="throttled", status=429, retry_after=wait)


@pytest.mark.parametrize("instance", [10_000, 500_000])
@pytest.mark.parametrize(
    ("quota", "seconds"),
    [
        (partial(ASecond, 5), 900),
        (partial(ASecond, 1), 2700),
        (partial(ASecond, 20), 600),
        (partial(ASecond, 100), 300),
        (partial(AMinute, 600), 900),
        (partial(AMinute, 6000), 300),
    ],
    ids=str,
)
def test_few_are_refused_of_all_requests(quota, seconds, instance):
    work = Work(quota(), instance)
    work.run(seconds)
    assert work.refused_part <= 0.02
    assert min(work.answered["sending"], work.answered["reading"]) > work.answered.total() / 8


@pytest.mark.parametrize("quota", [ASecond(5), ASecond(1), AMinute(600)], ids=repr)
def test_the_quota_is_used_and_batches_grow(quota):
    work = Work(quota)
    work.run(900)
    assert work.answered.total() > 0.8 * quota.rate * 900
    assert work.sent > 500 * work.answered["sending"], "many instances for each request"


@pytest.mark.parametrize("instance", [10_000, 500_000])
@pytest.mark.parametrize("most", [600, 1200])
def test_a_quota_whose_refusals_say_when_it_has_room_is_used(most, instance):
    """Nobody asks before the minute is over: that request is let in, as the first that asks."""
    silent, quota = Work(AMinute(most), instance), AMinute(most)
    work = Work(quota, instance, quota.left)
    for each in (silent, work):
        each.run(900)
    assert work.refused_part <= 0.02
    assert work.sent > silent.sent / 2


def test_a_quota_that_is_raised_is_found_again():
    work = Work(ASecond(5))
    work.run(300)
    work.quota.rate = 40
    work.run(600)
    before = work.answered.total()
    work.run(700)
    assert work.answered.total() - before > 0.8 * 40 * 100


@pytest.mark.parametrize("instance", [10_000, 500_000])
@pytest.mark.parametrize(("before", "after"), [(100, 20), (100, 30), (20, 2)])
def test_few_are_refused_of_a_quota_that_is_cut(before, after, instance):
    """What is taken of requests and of bytes sinks alike: neither says which of both counts."""
    work = Work(ASecond(before), instance)
    work.run(200)
    answered, refused = work.answered.total(), work.refused.total()
    work.quota.rate = after
    work.run(200 + 6000 / after)
    answered, refused = work.answered.total() - answered, work.refused.total() - refused
    assert refused <= 0.02 * (answered + refused)
    assert answered > 0.8 * 6000


class BytesOfASecond:
    """So many bytes a second; who has used more than those of one is not let in for a while."""

    def __init__(self, rate: float) -> None:
        self.rate, self.left, self.seen, self.size = rate, rate, 0.0, 0

    def admits(self, now: float) -> bool:
        self.left = min(self.rate, self.left + self.rate * (now - self.seen))
        self.seen = now
        if self.left < 0:
            return False
        self.left -= self.size
        return True


class WorkOfBytes(Work):
    """The same under such a quota, which what reads uses nothing of."""

    def send(self, count: int) -> None:
        self.quota.size = count * self.instance
        super().send(count)
        self.quota.size = 0


@pytest.mark.parametrize(
    ("rate", "instance"), [(100e6, 500_000), (20e6, 500_000), (20e6, 100_000), (5e6, 500_000)]
)
def test_a_quota_of_bytes_that_is_cut_is_one_of_bytes_still(rate, instance):
    """What reads is refused as well while it is used up: that is no sign of the other kind."""
    work = WorkOfBytes(BytesOfASecond(rate), instance)
    work.run(300)
    sent = work.sent
    work.quota.rate = rate / 5
    work.run(600)
    assert (work.sent - sent) * instance > 0.9 * 300 * rate / 5


def test_without_a_quota_no_request_waits():
    work = Work(ASecond(1e9))
    work.run(60)
    assert work.refused.total() == 0
    assert work.window.turn() == 0
    assert work.destination.useful(CONNECTIONS) == CONNECTIONS
