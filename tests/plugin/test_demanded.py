"""Without a rule, a worker runs for those who want something back, and for nobody else."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import WorkerUnavailableError
from orthanc_gcp.plugin import demanded as module
from orthanc_gcp.plugin.demanded import DemandedWorker


class Worker:
    def __init__(self, *answers):
        self.answers, self.started, self.stopped = list(answers), 0, 0

    def start(self):
        self.started += 1

    def stop(self):
        self.stopped += 1

    def call(self, *_):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Unattended(Worker):
    def call(self, *_):
        raise WorkerUnavailableError("so much waits")


AWAY = WorkerUnavailableError("it does not run just now")
STARTING, DONE = (503, {"Message": "starting"}), (200, {"Retrievals": [1]})
RETRIEVE = ("accounts", "a", "retrieve")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.001)


def test_it_is_started_once_by_the_first_who_want_something_back():
    worker, made = Worker(AWAY, STARTING, DONE), []
    one = DemandedWorker(lambda: made.append(worker) or worker, None)
    one.start()
    assert not made
    assert one.call("POST", RETRIEVE, {}, b"{}") == DONE
    assert one.call("GET", ("accounts", "a", "retrievals")) == DONE
    assert (made, worker.started) == ([worker], 1)
    one.stop()
    assert worker.stopped == 1
    with pytest.raises(WorkerUnavailableError):
        one.wake()


@pytest.mark.parametrize("action", ["send", "transfers", "pause"])
def test_for_all_else_there_is_none(action):
    one = DemandedWorker(lambda: pytest.fail("it is started"), None)
    with pytest.raises(WorkerUnavailableError, match="no rule in Send"):
        one.call("POST", ("accounts", "a", action))
    waits = Unattended()
    one = DemandedWorker(lambda: pytest.fail("it is started"), waits)
    one.start()
    with pytest.raises(WorkerUnavailableError, match="so much waits"):
        one.call("POST", ("accounts", "a", action))
    one.stop()
    assert (waits.started, waits.stopped) == (1, 1)


def test_one_that_does_not_come_up_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(module, "READY_WITHIN", 0.05)
    assert DemandedWorker(lambda: Worker(STARTING), None).call("POST", RETRIEVE) == STARTING
    with pytest.raises(WorkerUnavailableError, match="just now"):
        DemandedWorker(lambda: Worker(AWAY), None).call("POST", RETRIEVE)


def test_nobody_waits_for_one_when_orthanc_stops():
    class Stopping(Worker):
        def call(self, *_):
            one.stop()
            raise AWAY

    one = DemandedWorker(lambda: Stopping(AWAY), None)
    with pytest.raises(WorkerUnavailableError, match="Orthanc is stopping"):
        one.call("POST", RETRIEVE)


def test_one_that_was_up_is_not_waited_for():
    worker = Worker(DONE, AWAY)
    one = DemandedWorker(lambda: worker, None)
    assert one.call("POST", RETRIEVE) == DONE
    with pytest.raises(WorkerUnavailableError):
        one.call("POST", RETRIEVE)


def test_one_that_could_not_be_started_is_by_the_next_who_ask():
    class Unstarted(Worker):
        def start(self):
            raise RuntimeError("can't start new thread")

    made = [Worker(DONE), Unstarted(AWAY)]
    one = DemandedWorker(made.pop, None)
    with pytest.raises(RuntimeError):
        one.call("POST", RETRIEVE)
    assert one.call("POST", RETRIEVE) == DONE
