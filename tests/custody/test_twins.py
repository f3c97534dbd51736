"""A copy of an index, as a machine was cloned, beside the one that it is a copy of."""

from __future__ import annotations

import pytest

from orthanc_gcp.custody.intake.changes import SEEN_EVERY
from orthanc_gcp.custody.intake.open_transfers import separate
from orthanc_gcp.custody.intake.recognition import COPY_WAITS, REFUSE_AFTER
from orthanc_gcp.custody.outcomes import ABSENT_FOR
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.custody.life_of_one import emulator, life
from tests.custody.test_kept_versions import Life
from tests.support import simulated_worker
from tests.support.orthanc_life import file_of
from tests.support.sent import rows
from tests.support.simulated_orthanc import SimulatedOrthanc

__all__ = ["emulator", "life"]

BEFORE, OWN, OF_TWIN, LATER, LAST = (file_of(0, n, 0, n, 0) for n in range(1, 6))


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthanc recycles nothing."""
    monkeypatch.setattr(simulated_worker, "MOST_PATIENTS", 0)


@pytest.fixture
def twin(life: Life) -> SimulatedOrthanc:
    """A copy of the only Orthanc, to which something waits to be sent."""
    (original,) = life.orthancs
    life.receive(original.index, BEFORE)
    life.run(60)
    made = SimulatedOrthanc(original.index.copy(), "twin")
    made.start()
    life.orthancs.append(made)
    life.fault(status=503)
    life.receive(original.index, OWN)
    life.run(60)
    return made


def be_refused(life: Life, twin: SimulatedOrthanc) -> None:
    life.start_worker(twin)
    life.run(2 * REFUSE_AFTER + SEEN_EVERY)
    assert "a copy, or an earlier state" in life.workers[-1].problem


# What has nothing of its own cannot be told from a backup by a worker that is new.
@pytest.mark.parametrize(
    ("receives", "both_restart"),
    [
        (True, True),
        pytest.param(True, False, marks=pytest.mark.long),
        pytest.param(False, False, marks=pytest.mark.long),
    ],
)
def test_it_takes_nothing_over_while_the_original_is_started_again(
    life, twin, receives, both_restart
):
    original = life.orthancs[0]
    if receives:
        life.receive(twin.index, OF_TWIN)
    be_refused(life, twin)
    life.workers[0].end()
    original.stop()
    if both_restart:
        life.workers[-1].end()
        life.start_worker(twin)
    life.run(120)
    original.start()
    life.start_worker(original)
    life.run(2 * ABSENT_FOR)
    life.be_well()
    life.receive(original.index, LATER)
    life.run(2 * ABSENT_FOR)
    there = {one.identifier for one in original.index.of_level("Instance")}
    assert life.states() == dict.fromkeys(there, ("confirmed", None))


def test_it_takes_the_place_of_an_original_that_does_not_come_back(life, twin):
    mine = life.receive(twin.index, OF_TWIN)
    be_refused(life, twin)
    life.workers[0].end()
    life.orthancs[0].stop()
    life.be_well()
    life.clock.time += COPY_WAITS
    life.run(2 * ABSENT_FOR)
    assert life.states()[mine] == ("confirmed", None)
    assert max(life.states().values()) == ("lost", "restored")
    life.workers[-1].end()
    life.start_worker(twin)
    later = life.receive(twin.index, LATER)
    life.run(60)
    assert life.states()[later] == ("confirmed", None)


def separated(life: Life, twin: SimulatedOrthanc) -> str:
    return separate(life.ledger, OrthancSource(OrthancRest(twin.url), twin.storage))


@pytest.mark.parametrize("cleared", [False, True])
def test_one_of_its_own_it_is_followed_from_where_it_was_copied(life, twin, cleared):
    """Its files say so, where its changes do not."""
    mine = [life.receive(twin.index, OF_TWIN)]
    for _ in range(2):
        life.receive(life.orthancs[0].index, LATER)
        life.run(60)
    if cleared:
        twin.index.clear_changes()
        with pytest.raises(OrthancError, match="its changes were cleared"):
            separated(life, twin)  # nothing would tell it from the original
        mine.append(life.receive(twin.index, LAST))
    be_refused(life, twin)
    life.workers[-1].end()
    name = separated(life, twin)
    life.be_well()
    life.start_worker(twin)
    life.run(60)
    found = {row.orthanc_id: row.state for row in rows(life.ledger) if row.source == name}
    assert {one: found.get(one) for one in mine} == dict.fromkeys(mine, "confirmed")
