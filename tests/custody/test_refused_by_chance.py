"""Something on the way that refuses half of all requests, whatever they hold, for hours."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from orthanc_gcp.errors import StoreError
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import Life, file_of

__all__ = ["emulator", "life"]

ONE = pytest.mark.parametrize("engine", ["SQLite"], indirect=True)


def states(life: Life) -> Counter[str]:
    return Counter(state for state, _ in life.states().values())


@ONE
@pytest.mark.parametrize(("status", "reason"), [(400, "bad_request"), (500, "server_error")])
def test_it_is_the_fault_of_no_instance(life, monkeypatch, status, reason):
    """What is always refused is found all the same, and ends in quarantine."""
    index, store = life.orthancs[0].index, life.workers[0]._stores[0]
    chance, store_all = random.Random(7), store.store

    def storing(parts, **more):
        bad = any(part.sop_instance_uid == "1.2.9.0" for part in parts)
        if bad or chance.random() < 0.5:
            raise StoreError("answered", reason=reason, retryable=status == 500, status=status)
        return store_all(parts, **more)

    monkeypatch.setattr(store, "store", storing)
    bad = life.receive(index, file_of(0, 0, 0, 0, 0))
    for number in range(1, 120):
        life.receive(index, file_of(number % 3, number % 20, 0, number, 0))
        if number % 40 == 39:
            work(life, 60)
    work(life, 7200)
    assert states(life) == {"confirmed": 119, "quarantined": 1}
    assert life.states()[bad] == ("quarantined", reason)
    life.nothing_false()


def work(life: Life, seconds: float) -> None:
    """Let the worker work until so many seconds are over, or nothing is open."""
    life.follow()
    end, worker = life.clock.time + seconds, life.workers[0]
    while life.clock.time < end and states(life).keys() - {"confirmed", "quarantined"}:
        life.clock.time += 0.6 if worker.work() else 5
