"""A ledger that loses what was written last, while a worker runs.

A standby server has taken over that did not have all, or somebody has restored a backup.
"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.intake.changes import SEEN_EVERY
from orthanc_gcp.ledger.schema import change_cursors, key_values, transfers
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import Life
from tests.support import simulated_worker
from tests.support.orthanc_life import file_of

__all__ = ["emulator", "life"]

FILES = [file_of(0, number, 0, number, 0) for number in range(4)]
_TABLES = (transfers, change_cursors, key_values)


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthanc recycles nothing."""
    monkeypatch.setattr(simulated_worker, "MOST_PATIENTS", 0)


def backup(life: Life) -> list[tuple[sql.Table, list[dict[str, Any]]]]:
    with life.ledger.reading() as connection:
        return [
            (table, [dict(row._mapping) for row in connection.execute(sql.select(table))])
            for table in _TABLES
        ]


def restore(life: Life, tables: list[tuple[sql.Table, list[dict[str, Any]]]]) -> None:
    with life.ledger.writing() as connection:
        for table, content in tables:
            connection.execute(table.delete())
            if content:
                connection.execute(table.insert(), content)


@pytest.mark.parametrize("more", [False, True])
def test_what_it_has_forgotten_is_read_again(life: Life, more: bool) -> None:
    index = life.orthancs[0].index
    life.receive(index, FILES[0])
    life.run(200)
    before = backup(life)
    life.fault(status=503)
    forgotten = [life.receive(index, content) for content in FILES[1:3]]
    life.run()
    restore(life, before)
    if more:
        forgotten.append(life.receive(index, FILES[3]))
    life.be_well()
    life.run(2 * SEEN_EVERY)
    states = life.states()
    assert [states.get(one) for one in forgotten] == [("confirmed", None)] * len(forgotten)


def test_what_another_worker_has_read_meanwhile_sets_nothing_back(life, caplog):
    """This one stood still in the midst of a step, and was taken over from."""
    index, first = life.orthancs[0].index, life.workers[0]
    life.receive(index, FILES[0])
    life.run(200)
    life.start_worker(life.orthancs[0])
    second, together = life.workers[1], life.town.together
    life.run()
    select = first.follower._selector.select

    def standing_still(source, *more):
        first.follower._selector.select = select
        found = select(source, *more)
        together.followers[source] = second.name
        life.receive(index, FILES[2])
        life.follow()
        assert len(life.states()) == 3
        return found

    life.receive(index, FILES[1])
    first.follower._selector.select = standing_still
    life.run(2 * SEEN_EVERY)
    assert set(life.states().values()) == {("confirmed", None)}
    assert len(life.states()) == 3
    second.end()
    life.run(2 * SEEN_EVERY)
    assert together.followers[first.follower.source] == first.name
    assert "an earlier state" not in caplog.text


def test_it_is_set_back_while_nobody_follows(life, caplog):
    """All sessions of PostgreSQL end when another server takes over: so do the locks."""
    index, worker = life.orthancs[0].index, life.workers[0]
    life.receive(index, FILES[0])
    life.run(200)
    before = backup(life)
    life.receive(index, FILES[1])
    life.run()
    source = worker.follower.source
    life.town.together.followers[source] = "nobody"
    worker.follow()
    restore(life, before)
    life.town.together.followers.clear()
    life.run(2 * SEEN_EVERY)
    assert set(life.states().values()) == {("confirmed", None)}
    assert len(life.states()) == 2
    assert "the ledger is an earlier state of what it was" in caplog.text
