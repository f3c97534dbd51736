"""When what has kept the store from being used is over, all goes on within seconds."""

from __future__ import annotations

import pytest

from orthanc_gcp.errors import StoreError
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import Life, file_of

__all__ = ["emulator", "life"]

ONE = pytest.mark.parametrize("engine", ["SQLite"], indirect=True)
AWAY = StoreError("the host name cannot be resolved", reason="network", retryable=True)
DOWN = StoreError("answered 500", reason="server_error", retryable=True, status=500)
FORBIDDEN = StoreError("answered 403", reason="forbidden", status=403)
NO_TOKEN = StoreError("answered 401", reason="unauthorized", retryable=True, status=401)
BAD = StoreError("answered 400", reason="bad_request", status=400)


def work(life: Life, seconds: float, step: float = 0.5) -> float:
    """Let the worker work until all is confirmed, or so many seconds are over; how many were."""
    began, worker = life.clock.time, life.workers[0]
    while life.clock.time < began + seconds:
        worked = worker.work()
        if worked and {state for state, _ in life.states().values()} == {"confirmed"}:
            break
        life.clock.time += 0.1 if worked else step
    return life.clock.time - began


@ONE
@pytest.mark.parametrize("lasts", [60, pytest.param(600, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "error", [AWAY, DOWN, FORBIDDEN, NO_TOKEN, BAD], ids=lambda one: one.reason
)
def test_all_goes_on_within_seconds(life, monkeypatch, error, lasts):
    index, store = life.orthancs[0].index, life.workers[0]._stores[0]
    sent = []

    def storing(parts, **_):
        raise error

    def counted(parts, **more):
        sent.append(len(parts))
        return store_all(parts, **more)

    store_all = store.store
    with monkeypatch.context() as away:
        away.setattr(store, "store", storing)
        for number in range(60):
            life.receive(index, file_of(number % 3, number % 20, 0, number, 0))
        life.follow()
        work(life, lasts, 2.0)
        assert not {state for state, _ in life.states().values()} & {"confirmed", "quarantined"}
    monkeypatch.setattr(store, "store", counted)
    took = work(life, 300)

    assert took < max(12, lasts / 15)
    assert len(sent) < 50, "few are sent alone"
