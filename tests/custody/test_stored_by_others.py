"""Somebody else deletes what a store has of an instance, or stores other bytes in its place."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields

import pytest
import urllib3

from orthanc_gcp.dicomweb.store_request import Part
from orthanc_gcp.ledger import versions
from orthanc_gcp.ledger.rows import Transfer
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import NEW, OLD, Life, file_of
from tests.support.mishaps import sha256
from tests.support.sent import dataset, rows

__all__ = ["emulator", "life"]

OTHER = file_of(0, 0, 0, 0, 9)
"""A version that no Orthanc has received."""


def uids(content: bytes) -> tuple[str, str, str]:
    one = dataset(content)
    return str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID)


def delete(life: Life, content: bytes) -> None:
    path = "/studies/{}/series/{}/instances/{}".format(*uids(content))
    headers = {"Authorization": f"Bearer {life.emulator.access_token()}"}
    with urllib3.PoolManager(retries=False) as http:
        assert http.request("DELETE", life.store.url + path, headers=headers).status == 200


def store(life: Life, content: bytes) -> None:
    part = Part(*uids(content), len(content), lambda: nullcontext(iter([content])))
    assert {one.status for one in life.store.store([part]).results.values()} == {"stored"}


def of_first(life: Life) -> list[Transfer]:
    return [
        Transfer(**{one.name: getattr(row, one.name) for one in fields(Transfer)})
        for row in rows(life.ledger)
        if row.source.startswith("first")
    ]


def miss(life: Life) -> None:
    """An audit of the first Orthanc has found that the store has its instance no more."""
    assert life.ledger.confirmations.requeue_lost(of_first(life)) == 1


def find_out(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is confirmed is false until custody has sent something of it again."""
    with monkeypatch.context() as patched:
        patched.setattr(Life, "nothing_false", lambda _life: None)
        life.run(300)
    life.nothing_false()


def states(life: Life) -> list[tuple[str, str | None]]:
    return [(row.state, row.reason) for row in rows(life.ledger)]


def test_what_was_missed_and_is_another_by_now(life, monkeypatch):
    life.receive(life.orthancs[0].index, OLD)
    life.run()
    delete(life, OLD)
    miss(life)
    store(life, OTHER)
    find_out(life, monkeypatch)
    assert states(life) == [("quarantined", "conflict")]


def test_what_was_missed_and_is_there_as_it_was(life, monkeypatch):
    life.receive(life.orthancs[0].index, OLD)
    life.run()
    delete(life, OLD)
    miss(life)
    find_out(life, monkeypatch)
    assert states(life) == [("confirmed", None)]


@pytest.mark.parametrize("seconds", [20, 45])
def test_what_a_search_misses_and_finds_long_after(life, monkeypatch, seconds):
    """The store has acknowledged it, and lost it; what is found then is somebody else's."""
    life.fault(lose="all")
    life.receive(life.orthancs[0].index, OLD)
    life.run(seconds)
    life.be_well()
    store(life, OTHER)
    find_out(life, monkeypatch)
    assert states(life) == [("quarantined", "conflict")]


def test_what_was_missed_of_an_instance_that_several_orthancs_have(life, monkeypatch):
    """What the others have sent is not there, either."""
    life.receive(life.orthancs[0].index, OLD)
    life.run()
    life.receive(life.add_orthanc("second"), OLD)
    life.run(60)
    assert states(life) == [("confirmed", None)] * 2
    delete(life, OLD)
    miss(life)
    store(life, OTHER)
    find_out(life, monkeypatch)
    assert states(life) == [("superseded", "superseded"), ("quarantined", "conflict")]


@pytest.mark.parametrize("replaces", [False, True])
def test_what_was_seen_to_be_another(life, monkeypatch, replaces):
    """An audit has read it, and the copy of another Orthanc is not there, either."""
    life.town.replaces = replaces
    life.workers.pop().end()
    life.start_worker(life.orthancs[0])
    life.receive(life.orthancs[0].index, OLD)
    life.run()
    life.receive(life.add_orthanc("second"), OLD)
    life.run(60)
    delete(life, OLD)
    store(life, OTHER)
    assert life.ledger.confirmations.requeue_different(of_first(life)) == 1
    find_out(life, monkeypatch)
    there = life.stored(rows(life.ledger)[0])
    if replaces:
        assert there == sha256(OLD)
        assert ("confirmed", None) in states(life)
    else:
        assert there == sha256(OTHER)
        assert {state for state, _ in states(life)} <= {"quarantined", "superseded"}


def test_what_a_comparison_has_read_counts_for_all_that_was_confirmed(life, monkeypatch):
    """It is neither what is confirmed, nor what was refused."""
    life.receive(life.orthancs[0].index, OLD)
    life.run()
    delete(life, OLD)
    store(life, OTHER)
    life.receive(life.add_orthanc("second"), NEW)
    find_out(life, monkeypatch)
    assert states(life) == [("superseded", "superseded"), ("quarantined", "conflict")]


def test_what_is_confirmed_is_not_read_again_as_another_version_is_refused(life, monkeypatch):
    """A comparison has just read it."""
    life.receive(life.orthancs[0].index, OLD)
    life.run()
    life.receive(life.add_orthanc("second"), NEW)
    doubted = []
    monkeypatch.setattr(versions, "_doubt", lambda _connection, _now, rows: doubted.extend(rows))
    life.run(60)
    assert states(life) == [("confirmed", None), ("quarantined", "conflict")]
    assert doubted == []


@pytest.mark.parametrize("replaces", [False, True])
def test_an_older_version_that_the_store_takes_shows_that_the_newer_is_gone(
    life, monkeypatch, replaces
):
    life.workers.pop().end()
    life.town.replaces = replaces
    life.receive(life.orthancs[0].index, OLD)
    life.receive(life.add_orthanc("second"), NEW)
    life.run(60)
    assert states(life) == [("confirmed", None)]
    delete(life, NEW)
    life.start_worker(life.orthancs[0])
    find_out(life, monkeypatch)
    newer = ("confirmed", None) if replaces else ("quarantined", "conflict")
    assert states(life) == [newer, ("superseded", "superseded")]


def test_nothing_is_replaced_once_that_is_not_wanted_any_more(life, monkeypatch):
    """What was to be replaced before stays as it is."""
    life.workers.pop().end()
    life.town.replaces = True
    life.start_worker(life.orthancs[0])
    store(life, OTHER)
    life.receive(life.orthancs[0].index, OLD)
    (worker,) = life.workers
    while not (found := rows(life.ledger)) or not found[0].replace:
        life.clock.time += 1
        worker.follow()
        worker.dispatch()
        worker.run_task()
    worker.end()
    life.town.replaces = False
    life.start_worker(life.orthancs[0])
    find_out(life, monkeypatch)
    assert life.stored(rows(life.ledger)[0]) == sha256(OTHER)
    assert states(life) == [("quarantined", "conflict")]
