"""Only what the store was seen to have is confirmed."""

from __future__ import annotations

import logging

import pytest

from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.destinations.rate_limit import RateLimit
from orthanc_gcp.custody.verification import read_back as module
from orthanc_gcp.custody.verification.read_back import FEW, MOST_SENDINGS, SEARCH_LAG, ReadBack
from orthanc_gcp.ledger.schema import Priority, State, transfers
from orthanc_gcp.outages import Outage
from orthanc_gcp.reasons import TransferReason
from tests.support.sent import acknowledge, changed, record, rows, send, series_of
from tests.support.simulation import FakeClock
from tests.support.site import make_instance, make_study


@pytest.fixture
def window():
    fake = FakeClock()
    return CongestionWindow(fake, 8, Outage(logging.getLogger("store"), "down", "up", fake))


@pytest.fixture
def read_back(ledger, store, window):
    """Reads back some series of account ``a``."""

    def confirm(*files, verify="Metadata", stopping=lambda: False, account="a"):
        destination = Destination("a", store, store, window, False, verify)
        reader = ReadBack(ledger, {"a": destination}, stopping, jitter=lambda: 1.0)
        return reader.confirm(account, sorted({series_of(content) for content in files}))

    return confirm


def states(ledger):
    return [row.state for row in rows(ledger)]


@pytest.mark.parametrize("count", [FEW, FEW + 1])
def test_what_is_there_is_confirmed(ledger, stow, read_back, count):
    files = make_study(instances=count)
    for content in files:
        stow(content)
    send(ledger, files)
    read_back(*files)
    assert states(ledger) == ["confirmed"] * count
    assert all(row.confirmed_at == ledger.now() for row in rows(ledger))


def test_a_series_that_is_still_being_sent_waits(ledger, stow, read_back):
    files = make_study(instances=2)
    for content in files:
        stow(content)
    send(ledger, files[:1])
    record(ledger, files[1:])
    read_back(*files)
    assert states(ledger) == ["acknowledged", "waiting"]


def test_very_many_are_confirmed_a_few_at_once(ledger, stow, read_back, monkeypatch):
    monkeypatch.setattr(module, "CONFIRMED_AT_ONCE", 1)
    files = make_study(series=3, instances=1)
    for content in files:
        stow(content)
    send(ledger, files)
    read_back(*files)
    assert states(ledger) == ["confirmed"] * 3


def test_a_search_may_lag_and_then_it_is_sent_again(ledger, clock, stow, read_back):
    files = make_study(instances=2)
    stow(files[0])
    send(ledger, files)
    read_back(*files)
    there, missing = rows(ledger)
    assert (there.state, missing.state) == ("confirmed", "acknowledged")
    assert missing.next_attempt_at == pytest.approx(clock.now + module.SHORTEST_WAIT)
    clock.now += 10
    read_back(*files)
    assert rows(ledger)[1].next_attempt_at == pytest.approx(clock.now + 5)
    clock.now += SEARCH_LAG
    read_back(*files)
    again = rows(ledger)[1]
    assert (again.state, again.reason, again.attempts) == ("delayed", "missing", 1)
    assert again.next_attempt_at > clock.now
    assert again.acknowledged_at is None


def test_other_bytes_are_sent_again_where_they_are_compared(ledger, stow, read_back):
    file = make_instance()
    stow(changed(file, PatientID="other"))
    send(ledger, [file])
    read_back(file, verify="Bytes")
    (row,) = rows(ledger)
    assert (row.state, row.reason) == ("delayed", "different")
    assert "the store gives back" in row.detail


def test_what_is_doubted_while_others_are_read_is_not_confirmed_by_what_is_remembered(
    ledger, clock, stow, store, window
):
    """It was compared when it was refused; an older version came late, while others were read."""
    files = make_study(series=2, instances=1)
    for content in files:
        stow(content)
    send(ledger, files)
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(reason=TransferReason.COMPARED))

    class Doubted:
        def instances(self, *series, **more):
            clock.now += 5
            others = [row.id for row in rows(ledger) if row.series_instance_uid != series[1]]
            ledger.confirmations.postpone(others, clock.now, other_is_there=True)
            return store.instances(*series, **more)

        def __getattr__(self, name):
            return getattr(store, name)

    destination = Destination("a", Doubted(), store, window, False, "Metadata")
    reader = ReadBack(ledger, {"a": destination}, lambda: False)
    reader.confirm("a", [series_of(content) for content in files])
    assert sorted(states(ledger)) == ["acknowledged", "acknowledged"]


def test_what_is_read_to_be_compared_keeps_to_the_caps(ledger, stow, store, window):
    files = make_study(instances=3, size=64)
    waited = []

    def limit(name, rate):
        return RateLimit(ledger, name, rate, lambda seconds: bool(waited.append(seconds)))

    send(ledger, files)
    with ledger.writing() as connection:
        connection.execute(transfers.update().values(priority=Priority.BACKFILL))
    for content in files:
        stow(content)
    size = sum(map(len, files))
    limits = {"byte_limit": limit("a", size), "backfill_byte_limit": limit("b", size / 10)}
    destination = Destination("a", store, store, window, False, "Bytes", **limits)
    ReadBack(ledger, {"a": destination}, lambda: False).confirm("a", [series_of(files[0])])
    assert states(ledger) == ["confirmed"] * 3
    booked = {name: ledger.key_values.get(f"rate_limit:{name}", float) for name in "ab"}
    assert booked["a"] - ledger.now() == pytest.approx(1, rel=0.3)
    assert booked["b"] - ledger.now() == pytest.approx(10, rel=0.1)
    assert waited, "the last ones wait until it is their turn"


def test_only_other_bytes_again_and_again_end_in_quarantine(ledger, clock, stow, store, window):
    """However often it was tried before, and failed otherwise."""
    file = make_instance()
    stow(changed(file, PatientID="other"))
    record(ledger, [file])
    destination = Destination("a", store, store, window, False, "Bytes")
    reader = ReadBack(ledger, {"a": destination}, lambda: False, jitter=lambda: 1.0)
    for times in range(MOST_SENDINGS):
        assert states(ledger) == ["delayed" if times else "waiting"]
        clock.now += 3600
        ledger.queue.requeue_due("a")
        acknowledge(ledger, [file])
        with ledger.writing() as connection:
            connection.execute(transfers.update().values(attempts=MOST_SENDINGS))
        reader.confirm("a", [series_of(file)])
    (row,) = rows(ledger)
    assert (row.state, row.reason) == ("quarantined", "different")


def test_other_bytes_are_not_seen_where_only_metadata_are(ledger, stow, read_back):
    file = make_instance()
    stow(changed(file, PatientID="other"))
    send(ledger, [file])
    read_back(file)
    assert states(ledger) == ["confirmed"]


def test_a_sample_is_some_of_them(ledger, stow, read_back):
    files = make_study(instances=60, size=8)
    for content in files:
        stow(changed(content, PatientID="other"))
    send(ledger, files)
    read_back(*files, verify="Sample")
    found = states(ledger)
    # One in twenty, by a checksum of the UID; that none of 60 is chosen happens once in 20 times.
    assert found.count("confirmed") + found.count("delayed") == 60
    assert found.count("delayed") < 15


@pytest.mark.parametrize("status", module.UNREADABLE)
def test_what_cannot_be_given_back_is_not_confirmed(ledger, clock, stow, read_back, faults, status):
    file = make_instance()
    stow(file)
    send(ledger, [file])
    faults(faults=[{"path": "/instances/[0-9.]+$", "method": "GET", "status": status}])
    read_back(file, verify="Bytes")
    assert states(ledger) == ["acknowledged"]
    clock.now += SEARCH_LAG + 1
    read_back(file, verify="Bytes")
    assert states(ledger) == ["delayed"]


@pytest.mark.parametrize("path", ["/instances", "/instances/[0-9.]+$"])
def test_a_store_that_cannot_be_read_is_asked_later(
    ledger, clock, stow, read_back, faults, window, path
):
    file = make_instance()
    stow(file)
    send(ledger, [file])
    faults(faults=[{"path": path, "method": "GET", "status": 503}])
    read_back(file, verify="Bytes")
    (row,) = rows(ledger)
    assert row.state == State.ACKNOWLEDGED
    assert row.next_attempt_at > clock.now
    assert row.reason == "unavailable"
    assert "503" in window.problem
    faults(faults=[])
    read_back(file, verify="Bytes")
    assert states(ledger) == ["confirmed"]
    assert window.problem is None


def test_a_quota_is_nothing_that_a_series_has_done(ledger, stow, store, faults, window):
    files = make_study(series=6, instances=1)
    for content in files:
        stow(content)
    send(ledger, files)
    first, *others = (series_of(content) for content in files)
    faults(faults=[{"path": f"/{first.series_instance_uid}/", "method": "GET", "status": 429}])
    destination = Destination("a", store, store, window, False, "Metadata")
    reader = ReadBack(ledger, {"a": destination}, lambda: False, jitter=lambda: 1.0)
    for other in others:
        reader.confirm("a", [first])
        reader.confirm("a", [other])
    refused = next(row for row in rows(ledger) if row.series_instance_uid == first[1])
    assert (refused.state, refused.attempts) == ("acknowledged", 0)
    assert sorted(states(ledger)) == ["acknowledged"] + ["confirmed"] * 5
    assert window.searches < 16


def test_what_may_not_be_asked_for_is_left(ledger, stow, store, window):
    files = make_study(series=3, instances=1)
    for content in files:
        stow(content)
    send(ledger, files)
    series = [series_of(content) for content in files]
    destination = Destination("a", store, store, window, False, "Metadata")
    reader = ReadBack(ledger, {"a": destination}, lambda: False)
    assert reader.confirm("a", series, lambda one: one != series[1]) == 2
    assert states(ledger) == ["confirmed", "acknowledged", "confirmed"]
    assert rows(ledger)[1].next_attempt_at is None, "whoever asks later decides when"


def test_a_worker_that_stops_reads_no_more(ledger, stow, read_back):
    file = make_instance()
    stow(file)
    send(ledger, [file])
    read_back(file, stopping=lambda: True)
    read_back(file, stopping=iter([False, True]).__next__)  # after it has asked the ledger
    read_back(file, account="none")
    assert states(ledger) == ["acknowledged"]
    read_back(make_instance())  # of nothing that was sent
    assert states(ledger) == ["acknowledged"]


def test_several_series_are_read_one_after_the_other(ledger, stow, read_back):
    files = make_study(series=3, instances=2)
    for content in files:
        stow(content)
    send(ledger, files)
    assert read_back(*files) == 3
    assert states(ledger) == ["confirmed"] * 6


def test_of_much_that_is_to_be_read_one_series_is_in_memory_at_a_time(
    ledger, stow, read_back, monkeypatch
):
    monkeypatch.setattr(module, "MOST_KNOWN", 3)
    files = make_study(series=3, instances=2)
    for content in files:
        stow(content)
    send(ledger, files)
    assert read_back(*files) == 3
    assert states(ledger) == ["confirmed"] * 6
    assert read_back(*files) == 0


@pytest.mark.parametrize(("listed", "searches"), [(100, 1), (1, 3)])
def test_a_few_instances_are_searched_one_by_one_only_in_a_long_series(
    ledger, stow, read_back, store, monkeypatch, listed, searches
):
    monkeypatch.setattr(module, "LISTED", listed)
    asked = []
    search = store._search

    def noted(path, limit, named):
        asked.append(path)
        return search(path, limit, named)

    monkeypatch.setattr(store, "_search", noted)
    files = make_study(instances=7)
    for content in files:
        stow(content)
    send(ledger, files[:4])
    read_back(*files[:1])
    assert len(asked) == 1, "four of four"
    asked.clear()
    send(ledger, files[4:])
    read_back(*files[:1])
    assert len(asked) == searches
    assert states(ledger) == ["confirmed"] * 7
