"""Caps: in the ledger where there is one, and nobody waits for one that is away."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from orthanc_gcp.dicomweb.client import PAGE
from orthanc_gcp.gateway.retrieve import limits
from orthanc_gcp.gateway.retrieve.limits import Bookings, LimitedStore, Limits, unlimited


def later(value):
    return (value or 0.0) + 1.0


def test_without_caps_nothing_waits():
    assert unlimited("a", threading.Event().wait) == Limits()


class Store:
    """Has files of two pieces."""

    connections = 7

    def search(self, path, parameters, *, depth, page):
        return iter([path, parameters, depth, page])

    @contextmanager
    def open(self, study, series, instance, *, transfer_syntax):
        assert (study, series, instance, transfer_syntax) == ("1", "2", "3", "x")
        yield iter([b"ab", b"c"])

    @contextmanager
    def retrieve(self, study, series):
        assert (study, series) == ("1", None)
        yield (iter([b"ab", b"c"]) for _ in range(3))


class Counted:
    def __init__(self):
        self.requests, self.units = 0, 0

    def acquire(self, units=1):
        self.units += units

    def for_one_request(self):
        self.requests += 1
        return self.acquire


def test_a_store_behind_caps():
    caps = Limits(requests=Counted(), bytes=Counted())
    store = LimitedStore(Store(), caps)
    assert store.connections == 7
    assert list(store.search("/studies", {}, depth=1)) == ["/studies", {}, 1, PAGE]
    assert (caps.requests.units, caps.bytes.units) == (0, 0), "searches are not held back"
    for each in (store, LimitedStore(Store(), Limits())):
        with each.open("1", "2", "3", transfer_syntax="x") as pieces:
            assert list(pieces) == [b"ab", b"c"]
        with each.retrieve("1") as files:
            assert [b"".join(pieces) for pieces in files] == [b"abc"] * 3
    assert (caps.requests.units, caps.bytes.requests, caps.bytes.units) == (2, 2, 12)


def test_they_stand_in_the_ledger(sqlite_ledger, clock):
    bookings = Bookings(sqlite_ledger)
    assert bookings.now() == clock()
    assert bookings.key_values.change("rate_limit:x", float, later) == 1.0
    assert sqlite_ledger.key_values.get("rate_limit:x", float) == 1.0


class Away:
    """A ledger that is away until it is not."""

    def __init__(self, ledger):
        self.ledger, self.is_away, self.asked = ledger, True, 0

    @property
    def key_values(self):
        self.now()
        return self.ledger.key_values

    def now(self):
        self.asked += 1
        if self.is_away:
            raise OperationalError("SELECT", {}, Exception("SECRET"))
        return self.ledger.now()


def test_a_ledger_that_is_away_is_asked_now_and_then(sqlite_ledger, caplog, monkeypatch):
    away = Away(sqlite_ledger)
    bookings = Bookings(away)
    assert [bookings.change("x", float, later) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert bookings.now() > 0
    assert away.asked == 1
    assert caplog.text.count("caps hold for this gateway alone") == 1
    assert "SECRET" not in caplog.text
    bookings._away_until = 0.0
    assert bookings.change("x", float, later) == 4.0
    assert caplog.text.count("caps hold for this gateway alone") == 1, "an outage is said once"
    away.is_away = False
    monkeypatch.setattr(limits, "_AWAY_FOR", 0.0)
    bookings._away_until = 0.0
    assert bookings.change("x", float, later) == 1.0
    assert sqlite_ledger.key_values.get("x", float) == 1.0


def test_without_a_ledger_they_hold_for_this_process():
    bookings = Bookings(None)
    assert [bookings.change("x", float, later) for _ in range(2)] == [1.0, 2.0]
    assert bookings.change("y", float, later) == 1.0
