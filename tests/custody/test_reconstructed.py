"""An Orthanc that stores its files anew (``/reconstruct``, the Housekeeper, ``/compress``)."""

from __future__ import annotations

import pytest

from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import Life
from tests.custody.test_restored import restart
from tests.support import simulated_worker
from tests.support.orthanc_life import file_of
from tests.support.sent import rows
from tests.support.simulated_orthanc import Index

__all__ = ["emulator", "life"]

FILES = [file_of(0, number, 0, number, 0) for number in range(4)]
ONE_STUDY = [file_of(0, 0, 0, number, 0) for number in range(4)]


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthanc recycles nothing."""
    monkeypatch.setattr(simulated_worker, "MOST_PATIENTS", 0)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("files", [FILES, ONE_STUDY], ids=["studies", "study"])
@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("store_anew", [Index.reconstruct, Index.compress])
def test_it_has_the_same_index(life: Life, files: list[bytes], restarted, cleared, store_anew):
    index = life.orthancs[0].index
    for content in files:
        life.receive(index, content)
    life.run()
    life.clock.time += 1000  # two Orthancs may have the same changes for a moment
    life.fault(status=503)
    waits = life.receive(index, file_of(0, 0, 0, 9, 0))
    life.run(100)
    if cleared:
        index.clear_changes()
    for one in index.of_level("Instance"):
        store_anew(index, one.identifier)
    if restarted:
        restart(life)
    life.run()
    life.be_well()
    new = life.receive(index, file_of(0, 9, 0, 10, 0))
    life.run(200)
    assert {row.source for row in rows(life.ledger)} == {"first/ORTHANC"}
    states = life.states()
    assert states[waits] == states[new] == ("confirmed", None)
    assert {state for state, _ in states.values()} == {"confirmed"}
    assert [one.source for one in life.ledger.indexes.all()] == ["first/ORTHANC"]
