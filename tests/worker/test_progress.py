"""A loop that hangs is noticed, and nothing else is."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sql

from orthanc_gcp.worker import progress
from orthanc_gcp.worker.progress import HUNG, Progress
from tests.support.orthanc import wait_until


@pytest.fixture
def watched(monkeypatch):
    """A watch with quick rounds, and the exit codes that it has ended the process with."""
    monkeypatch.setattr(progress, "ROUND", 0.005)
    ended = []
    watch = Progress(ended.append)
    watch.start()
    yield watch, ended
    watch.stop()


def rounds(watch, count):
    begin = watch._round
    wait_until(lambda: watch._round >= begin + count)


def in_a_step(watch, work, what="dispatch", **more):
    """Does some work in a step of a loop, on a thread of its own."""

    def loop():
        with watch.step(what, **more):
            work()

    thread = threading.Thread(target=loop)
    thread.start()
    return thread


def test_a_step_that_hangs_ends_the_process(watched, caplog):
    watch, ended = watched
    released = threading.Event()
    thread = in_a_step(watch, released.wait)
    wait_until(lambda: ended)
    released.set()
    thread.join()
    assert ended == [HUNG]
    assert "the worker hangs: dispatch has made no progress" in caplog.text
    assert "in in_a_step" not in caplog.text and "test_progress.py" in caplog.text


def test_a_long_step_that_comes_further_does_not(watched, monkeypatch):
    watch, ended = watched
    monkeypatch.setattr(progress, "HUNG_AFTER", 20)

    def work():
        for _ in range(8):
            rounds(watch, 10)
            watch.made()

    in_a_step(watch, work).join()
    assert ended == []


def test_a_step_that_waits_for_google_may_take_longer(watched, monkeypatch):
    """And not for ever."""
    watch, ended = watched
    monkeypatch.setattr(progress, "HUNG_AFTER", 5)
    monkeypatch.setattr(progress, "HUNG_IN_NETWORK_AFTER", 100)
    in_a_step(watch, lambda: rounds(watch, 15), in_network=True).join()
    assert ended == []
    in_a_step(watch, lambda: wait_until(lambda: ended), in_network=True).join()
    assert ended == [HUNG]


def test_what_is_between_two_steps_does_not(watched, monkeypatch):
    watch, ended = watched
    monkeypatch.setattr(progress, "HUNG_AFTER", 5)
    in_a_step(watch, lambda: None).join()
    watch.made()  # of a thread that is in no step
    rounds(watch, 20)
    assert ended == []


def test_a_statement_of_the_ledger_may_take_longer(watched, monkeypatch):
    watch, ended = watched
    monkeypatch.setattr(progress, "HUNG_AFTER", 5)
    engine = sql.create_engine("sqlite://", poolclass=sql.pool.StaticPool)
    watch.of_ledger(engine)

    def slow(value):
        rounds(watch, 15)
        return value

    def work():
        with engine.connect() as connection:
            connection.connection.driver_connection.create_function("slow", 1, slow)
            assert connection.scalar(sql.text("SELECT slow(7)")) == 7
            assert ended == []
            with pytest.raises(sql.exc.OperationalError):
                connection.execute(sql.text("SELECT nothing(7)"))
        wait_until(lambda: ended)  # after the failure its time is that of any step

    in_a_step(watch, work).join()
    engine.dispose()
    assert ended == [HUNG]
