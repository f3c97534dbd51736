"""An index that was restored from a backup: what came after it is not lost without a word."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.outcomes import ABSENT_FOR
from orthanc_gcp.ledger.schema import lost_changes
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import NEW, OLD, Life
from tests.support import simulated_worker
from tests.support.mishaps import sha256
from tests.support.orthanc_life import file_of
from tests.support.sent import rows
from tests.support.simulated_orthanc import Index

__all__ = ["emulator", "life"]

BEFORE, AFTER = file_of(0, 1, 0, 1, 0), file_of(0, 2, 0, 2, 0)
MORE = [file_of(0, number, 0, number, 0) for number in range(3, 8)]
ONE = pytest.mark.parametrize("engine", ["SQLite"], indirect=True)


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthanc recycles nothing."""
    monkeypatch.setattr(simulated_worker, "MOST_PATIENTS", 0)


def restart(life: Life, index: Index | None = None) -> None:
    (orthanc,) = life.orthancs
    life.workers[-1].end()
    orthanc.stop()
    life.clock.time += 60
    orthanc.start(index)
    life.start_worker(orthanc)


def stored(life: Life, mine: str) -> str | None:
    (row,) = (row for row in rows(life.ledger) if row.orthanc_id == mine)
    return life.stored(row)


def lost(life: Life) -> int:
    with life.ledger.reading() as connection:
        return connection.scalar(sql.select(sql.func.sum(lost_changes.c.changes))) or 0


@pytest.mark.parametrize("cleared", [False, True])
def test_what_waited_and_is_in_no_backup_is_lost_and_was_deleted_by_nobody(life, cleared):
    index = life.orthancs[0].index
    life.receive(index, BEFORE)
    life.run()
    backup = index.copy()
    if cleared:
        backup.clear_changes()
    life.fault(status=503)
    life.clock.time += 5
    mine = life.receive(index, AFTER)
    life.run()
    restart(life, backup)
    life.be_well()
    life.run(4 * ABSENT_FOR)
    assert life.states()[mine] == ("lost", "restored")
    life.receive(backup, AFTER)
    life.run()
    assert life.states()[mine] == ("confirmed", None)


@ONE
def test_what_is_deleted_after_an_index_was_restored_is_not_lost(life):
    index = life.orthancs[0].index
    life.receive(index, BEFORE)
    life.run()
    backup = index.copy()
    life.receive(index, AFTER)
    life.run()
    restart(life, backup)
    life.run()
    life.fault(status=503)
    mine = life.receive(backup, AFTER)
    life.run()
    backup.delete(mine)
    life.be_well()
    life.run(4 * ABSENT_FOR)
    assert life.states()[mine] == ("withdrawn", "deleted")


@ONE
def test_what_was_in_a_backup_without_changes_and_is_deleted_is_not_lost(life):
    """The files that are there say of when the backup is."""
    index = life.orthancs[0].index
    life.receive(index, BEFORE)
    life.run()
    life.fault(status=503)
    mine = life.receive(index, AFTER)
    life.receive(index, MORE[0])
    life.run()
    backup = index.copy()
    backup.clear_changes()
    life.clock.time += 5
    later = life.receive(index, MORE[1])
    life.run()
    restart(life, backup)
    life.run()
    backup.delete(mine)
    life.be_well()
    life.run(4 * ABSENT_FOR)
    assert life.states()[mine] == ("withdrawn", "deleted")
    assert life.states()[later] == ("lost", "restored")


@ONE
def test_only_what_changes_say_again_is_looked_up(life, monkeypatch):
    """No change with a number that is new can be of what was read before."""
    index = life.orthancs[0].index
    life.receive(index, BEFORE)
    life.run()
    backup = index.copy()
    life.receive(index, AFTER)
    life.run()
    restart(life, backup)
    asked: list[set[str]] = []
    arrivals = life.ledger.arrivals
    reopen = arrivals.reopen

    def noting(source: str, names: set[str]) -> int:
        asked.append(set(names))
        return reopen(source, names)

    monkeypatch.setattr(arrivals, "reopen", noting)
    life.run()
    again = life.receive(backup, MORE[0])
    life.run()
    assert {again} in asked
    life.receive(backup, MORE[1])
    life.run()
    asked.clear()
    last = life.receive(backup, MORE[2])
    life.run()
    assert life.states()[last] == ("confirmed", None)
    assert asked == []


@pytest.mark.parametrize("demanded", [False, True])
def test_an_older_version_from_a_backup_replaces_no_newer_one(life, demanded):
    """Orthanc does not have the newer one any more: it would be nowhere."""
    life.town.replaces = True
    restart(life)
    index = life.orthancs[0].index
    mine = life.receive(index, OLD)
    life.receive(index, BEFORE)
    life.run()
    backup = index.copy()
    life.clock.time += 5
    life.receive(index, NEW)
    life.run()
    assert stored(life, mine) == sha256(NEW)
    restart(life, backup)
    life.run()
    if demanded:
        (orthanc,) = life.orthancs
        source = OrthancSource(OrthancRest(orthanc.url), orthanc.storage)
        send_on_demand(life.ledger, source, simulated_worker.ACCOUNT, [mine])
        life.run()
    assert stored(life, mine) == sha256(NEW)
    assert life.states()[mine] == ("confirmed", None)
    assert not lost(life)
    life.receive(backup, OLD)  # it is the newest now
    life.run()
    assert stored(life, mine) == sha256(OLD)


@ONE
def test_a_newer_version_that_was_not_sent_is_lost_with_an_index(life):
    index = life.orthancs[0].index
    mine = life.receive(index, OLD)
    life.receive(index, BEFORE)
    life.run()
    backup = index.copy()
    life.fault(status=503)
    life.clock.time += 5
    life.receive(index, NEW)
    life.run()
    restart(life, backup)
    life.run()
    life.be_well()
    life.run(4 * ABSENT_FOR)
    assert stored(life, mine) == sha256(OLD)
    assert life.states()[mine] == ("confirmed", None)
    assert lost(life) == 1


def newer_than_backup(life: Life) -> tuple[str, Index]:
    """An instance that waits, and a backup that has an older version of it."""
    index = life.orthancs[0].index
    life.receive(index, BEFORE)
    life.run()
    mine = life.receive(index, OLD)
    backup = index.copy()
    life.clock.time += 5
    life.receive(index, NEW)
    life.follow()
    return mine, backup


@pytest.mark.parametrize("replaces", [False, True])
def test_a_newer_version_is_lost_that_the_store_would_have_taken_at_once(life, replaces):
    """What waits is sent before it is compared: Orthanc has an older version by now."""
    life.town.replaces = replaces
    restart(life)
    mine, backup = newer_than_backup(life)
    restart(life, backup)
    worker = life.workers[-1]
    while not worker.follower.source:
        worker.follow()
    while worker.dispatch() or worker.run_task():
        life.clock.time += 0.6
    life.run(60)
    assert stored(life, mine) == sha256(OLD)
    assert life.states()[mine] == ("confirmed", None)
    assert lost(life) == 1


@ONE
def test_nor_does_it_go_before_a_worker_outside_has_seen_that_the_index_is_another_state(life):
    mine, backup = newer_than_backup(life)
    (orthanc,), (worker,) = life.orthancs, life.workers
    orthanc.stop()
    worker.follow()
    orthanc.start(backup)
    while worker.dispatch() or worker.run_task():
        life.clock.time += 0.6
    life.run(60)
    assert stored(life, mine) == sha256(OLD)
    assert life.states()[mine] == ("confirmed", None)
    assert lost(life) == 1


@ONE
def test_nothing_is_sent_before_it_is_written_down_what_may_be_an_older_version(life, monkeypatch):
    """Other threads send while the index is recognized."""
    mine, backup = newer_than_backup(life)
    restart(life, backup)
    worker = life.workers[-1]
    undo = worker.ledger.indexes.undo

    def sending(*what: object) -> None:
        assert not worker.dispatch()
        undo(*what)

    monkeypatch.setattr(worker.ledger.indexes, "undo", sending)
    life.run(60)
    assert life.states()[mine] == ("confirmed", None)
    assert lost(life) == 1


@ONE
@pytest.mark.parametrize("renamed", [False, True])
def test_an_index_is_recognized_whose_first_and_last_instances_are_gone(life, renamed):
    """The first are recycled, the last are in no backup, and its changes are cleared each night."""
    (orthanc,) = life.orthancs
    index = orthanc.index
    files = [file_of(0, number // 10, number // 10, number, 0) for number in range(70)]
    received = [life.receive(index, content) for content in files[:45]]
    life.run(60)
    index.clear_changes()
    backup = index.copy()
    life.fault(status=503)
    received += [life.receive(index, content) for content in files[45:]]
    life.run(60)
    for mine in received[:25]:
        backup.delete(mine)
    if renamed:
        orthanc.name = "renamed"
    restart(life, backup)
    life.run(60)
    (known,) = life.ledger.indexes.all()
    assert life.workers[-1].follower.source == known.source


@ONE
def test_what_counted_as_lost_is_sent_when_the_index_is_back(life):
    """A wrong volume was mounted for some minutes, while a worker outside of Orthanc went on."""
    (orthanc,) = life.orthancs
    index = orthanc.index
    life.receive(index, BEFORE)
    life.run()
    backup = index.copy()
    life.fault(status=503)
    mine = life.receive(index, AFTER)
    life.run()
    for mounted in (backup, index):
        orthanc.stop()
        life.run(30)
        orthanc.start(mounted)
        life.be_well()
        life.run(4 * ABSENT_FOR)
        assert life.states()[mine][0] == ("lost" if mounted is backup else "confirmed")
