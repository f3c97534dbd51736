"""Two stores as one, where one of them fails, is slow, or has too much."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.for_orthanc import merged
from orthanc_gcp.gateway.for_orthanc.merged import MergedStore
from orthanc_gcp.gateway.retrieve.limits import LimitedStore, Limits
from orthanc_gcp.reasons import StoreReason


def match(number):
    uids = {"0020000D": "1", "0020000E": "2", "00080018": str(number)}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}


class Store:
    """What a test says."""

    def __init__(self, *numbers, error=None, gate=None):
        self.numbers, self.error, self.gate, self.taken = numbers, error, gate, 0
        self.held = {("1", "2", str(one)): "" for one in numbers}

    def search(self, _path, _parameters, *, depth, page=1000):
        assert depth == 3
        for one in self.numbers:
            self.taken += 1
            yield match(one)
        if self.gate is not None:
            self.gate.wait(20)
        if self.error is not None:
            raise self.error

    @contextmanager
    def open(self, *uids, transfer_syntax="*"):
        if self.error is not None:
            raise self.error
        yield iter((type(self).__name__.encode(), uids[2].encode()))

    @contextmanager
    def retrieve(self, _study, _series=None):
        yield iter((iter((b"all",)),))


class Cloud(Store):
    """The other one."""


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


def refused(status=None, reason=StoreReason.UNAVAILABLE):
    return StoreError("it says no", reason=reason, status=status)


def numbers(store):
    return [one["00080018"]["Value"][0] for one in store.search("/instances", {}, depth=3)]


def test_each_once(pool):
    assert numbers(MergedStore(Store(1, 2), Cloud(2, 3), pool, lambda: 20)) == ["1", "2", "3"]
    assert numbers(MergedStore(Store(1, 2), None, pool, lambda: 20)) == ["1", "2"]


@pytest.mark.parametrize("error", [refused(401), refused(503), ZeroDivisionError()])
def test_one_that_fails(pool, error):
    renewed = []
    store = MergedStore(
        Store(1), Cloud(2, error=error), pool, lambda: 20, lambda: renewed.append(1)
    )
    assert numbers(store) == ["1", "2"]
    assert store.lacking
    assert bool(renewed) == (getattr(error, "status", None) == 401)
    assert not store.is_slow
    assert numbers(store) == ["1"]


@pytest.mark.parametrize("slow", [0.01, 1.0])
def test_one_that_is_slow(pool, monkeypatch, slow):
    monkeypatch.setattr(merged, "SLOW", slow)
    gate = threading.Event()
    store = MergedStore(Store(1), Cloud(gate=gate), pool, lambda: 0.01)
    assert numbers(store) == ["1"]
    assert store.lacking
    assert store.is_slow == (slow < 1)
    gate.set()


def test_no_more_is_taken_than_is_wanted(pool, monkeypatch):
    monkeypatch.setattr(merged, "_AHEAD", 5)
    cloud = Cloud(*range(100))
    found = MergedStore(Store(), cloud, pool, lambda: 20).search("/instances", {}, depth=3)
    next(found)
    found.close()
    pool.shutdown()
    assert cloud.taken < 10
    with pytest.raises(StoreError):
        numbers(MergedStore(Store(error=refused()), None, pool, lambda: 20))


def read(store, number):
    with store.open("1", "2", str(number)) as pieces:
        return b" ".join(pieces)


class Limit:
    """Counts what is taken."""

    def __init__(self):
        self.taken = 0

    def acquire(self, units=1):
        self.taken += units

    def for_one_request(self):
        return self.acquire


def test_only_the_store_has_caps(pool):
    requests, bytes_ = Limit(), Limit()
    caps = Limits(requests, bytes_)
    store = MergedStore(Store(1), LimitedStore(Cloud(2), caps), pool, lambda: 20)
    read(store, 1)
    assert (requests.taken, bytes_.taken) == (0, 0)
    read(store, 2)
    with store.retrieve("9") as files:
        assert [b" ".join(one) for one in files] == [b"all"]
    assert (requests.taken, bytes_.taken) == (2, len("Cloud") + len("2") + len("all"))


def test_files(pool):
    store = MergedStore(Store(1), Cloud(2), pool, lambda: 20)
    assert (read(store, 1), read(store, 2)) == (b"Store 1", b"Cloud 2")
    with store.retrieve("1", "2") as files:
        assert [b" ".join(one) for one in files] == [b"Store 1"]
    with store.retrieve("9") as files:
        assert [b" ".join(one) for one in files] == [b"all"]

    # What Orthanc has deleted since, the store may have.
    gone = Store(1, error=refused(404, StoreReason.NOT_FOUND))
    assert read(MergedStore(gone, Cloud(), pool, lambda: 20), 1) == b"Cloud 1"
    for one in (
        MergedStore(gone, None, pool, lambda: 20),
        MergedStore(Store(1, error=refused()), Cloud(), pool, lambda: 20),
    ):
        with pytest.raises(StoreError):
            read(one, 1)
