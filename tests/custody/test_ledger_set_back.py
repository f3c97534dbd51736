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
