"""The schedule: real threads."""

from __future__ import annotations

import threading
import time

import pytest

from orthanc_gcp.auth.scheduler import Scheduler
from orthanc_gcp.clock import SystemClock
from tests.support.orthanc import wait_until
from tests.support.threads import no_thread_left

CLOCK = SystemClock()


@pytest.fixture
def schedule():
    made = Scheduler(CLOCK, workers=4, hangs_after=0.3, most_threads=20, most_slow=2)
    made.start()
    yield made
    made.stop()


def workers() -> int:
    return sum(thread.name == "gcp-worker" for thread in threading.enumerate())


def test_jobs_run_in_order_of_their_time(schedule):
    done = []
    now = CLOCK.now()
    for delay in (0.3, 0.1, 0.2):
        schedule.at(now + delay, lambda delay=delay: done.append(delay))
    wait_until(lambda: len(done) == 3)
    assert done == [0.1, 0.2, 0.3]


def test_a_job_that_fails_stops_nothing(schedule, caplog):
    done = threading.Event()
    schedule.at(CLOCK.now(), lambda: 1 / 0)
    schedule.at(CLOCK.now() + 0.05, done.set)
    assert done.wait(5)
    assert "a scheduled job failed" in caplog.text


def test_jobs_wait_for_threads_that_cannot_be_started(schedule, caplog):
    """As at a limit of tasks, for whatever reason it is reached for a while."""
    done = []
    with no_thread_left():
        for number in range(20):
            schedule.at(CLOCK.now(), lambda number=number: done.append(number))
        wait_until(lambda: "what is due cannot be done: can't start new thread" in caplog.text)
        time.sleep(0.6)
        assert done == []
    wait_until(lambda: len(done) == 20)
    assert "what is due is done again" in caplog.text
    assert len(caplog.messages) == 2


def test_threads_are_few_and_leave(schedule):
    done = []
    now = CLOCK.now()
    for _ in range(200):
        schedule.at(now, lambda: (time.sleep(0.005), done.append(1)))
    most = 0
    while len(done) < 200:
        most = max(most, workers())
        time.sleep(0.002)
    assert most <= 4
    wait_until(lambda: workers() == 0, 10)


def test_hanging_jobs_get_substitutes_up_to_the_bound(schedule):
    release = threading.Event()
    done = threading.Event()
    for _ in range(12):
        schedule.at(CLOCK.now(), release.wait)
    schedule.at(CLOCK.now(), done.set)
    assert done.wait(10)
    assert workers() <= 20
    release.set()


def test_few_slow_jobs_run_at_once(schedule):
    release = threading.Event()
    running = []
    for _ in range(6):
        schedule.at(CLOCK.now(), lambda: (running.append(1), release.wait()), slow=True)
    time.sleep(1)
    assert len(running) == 2
    done = threading.Event()
    schedule.at(CLOCK.now(), done.set)
    assert done.wait(5)
    release.set()
    wait_until(lambda: len(running) == 6)


def test_nothing_starts_after_a_stop(schedule):
    done = []
    schedule.at(CLOCK.now() + 0.2, lambda: done.append(1))
    schedule.stop()
    time.sleep(0.5)
    assert done == []
    wait_until(lambda: not any(t.name == "gcp-schedule" for t in threading.enumerate()), 5)


def test_an_idle_schedule_sleeps():
    """Two seconds of idling cost its thread next to no processor time."""
    others = set(threading.enumerate())
    schedule = Scheduler(CLOCK)
    schedule.start()
    fresh = set(threading.enumerate()) - others
    (thread,) = [thread for thread in fresh if thread.name == "gcp-schedule"]
    clock = time.pthread_getcpuclockid(thread.ident)
    began = time.clock_gettime(clock)
    time.sleep(2)
    assert time.clock_gettime(clock) - began < 0.1
    schedule.stop()
