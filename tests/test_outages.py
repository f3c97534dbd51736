"""An outage is told when it begins, with each reason, every ten minutes, and when it ends."""

from __future__ import annotations

import logging
import threading

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.outages import MOST_KINDS, Outage
from tests.support.simulation import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def outage(clock):
    return Outage(logging.getLogger("outage"), "the store is away", "the store is back", clock)


def test_its_life(outage, clock, caplog):
    assert outage.failed("refused", 1)
    for _ in range(300):
        clock.time += 1
        assert not outage.failed("refused", 1)
    assert outage.failed("timeout", 2.5)
    assert outage.active
    clock.time += 60
    assert outage.ended()
    assert not outage.ended()
    assert not outage.active
    assert [record.message for record in caplog.records] == [
        "the store is away: refused; since 2026-01-01T00:16:40+00:00, next try in 1.0 s",
        "the store is away, still: timeout; since 2026-01-01T00:16:40+00:00 (5 min), "
        "next try in 2.5 s",
        "the store is back after 6 min",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_nothing_is_told_of_what_works(outage, caplog):
    assert not outage.ended()
    assert caplog.records == []


def test_it_is_told_again_every_ten_minutes(outage, clock, caplog):
    for _ in range(3600):
        outage.failed("refused", 1)
        clock.time += 1
    assert len(caplog.records) == 6


def test_figures_in_the_words_are_no_new_reason(outage, clock, caplog):
    for number in range(100):
        outage.failed(f"{number} instances: refused", 1, kind="refused")
        clock.time += 1
    assert len(caplog.records) == 1


def test_reasons_without_end_are_bounded(outage, clock, caplog):
    for number in range(1000):
        outage.failed(f"reason {number}", 1)
        clock.time += 1
    assert len(caplog.records) <= 2 * MOST_KINDS


def test_what_flaps_does_not_fill_the_log(outage, clock, caplog):
    """Every other try fails, for an hour."""
    for _ in range(1800):
        outage.failed("refused", 1)
        clock.time += 1
        outage.ended()
        clock.time += 1
    assert len(caplog.records) <= 2 * 6


def test_a_second_outage_soon_after_the_first_is_told_when_it_lasts(outage, clock, caplog):
    outage.failed("refused", 1)
    clock.time += 5
    outage.ended()
    clock.time += 5
    for _ in range(40):
        outage.failed("refused", 1)
        clock.time += 1
    outage.ended()
    down = [record.message for record in caplog.records if "away" in record.message]
    assert len(down) == 2
    assert "since 2026-01-01T00:16:50+00:00" in down[1]
    assert caplog.records[-1].message == "the store is back after 40 s"


def test_a_later_outage_is_told_at_once(outage, clock, caplog):
    for _ in range(3):
        outage.failed("refused", 1)
        clock.time += 5
        outage.ended()
        clock.time += 100
    assert len(caplog.records) == 6


def test_it_is_over_when_it_is_for_all(outage, clock, caplog):
    outage.failed("refused", 1, by="one")
    outage.failed("refused", 1, by="two")
    clock.time += 5
    outage.ended(by="one")
    outage.ended(by="three")
    assert outage.active
    outage.ended(by="two")
    assert not outage.active
    assert len(caplog.records) == 2


def test_a_try_from_before_says_nothing(outage, clock):
    began = clock.now()
    clock.time += 1
    outage.failed("refused", 1)
    clock.time += 1
    outage.ended(began=began)
    assert outage.active


def test_the_wall_clock_may_be_set(outage, clock, caplog):
    outage.failed("refused", 1)
    clock.wall = clock.wall.replace(year=2020)
    clock.time += 5
    outage.ended()
    assert caplog.records[-1].message == "the store is back after 5 s"


def test_threads_tell_it_once(caplog):
    outage = Outage(logging.getLogger("outage"), "down", "up", SystemClock())
    together = threading.Barrier(16)

    def fail():
        together.wait()
        outage.failed("refused", 1)
        together.wait()
        outage.ended()

    threads = [threading.Thread(target=fail) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.records) == 2
