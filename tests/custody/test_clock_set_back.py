"""The clock of a machine is set by hours while instances arrive, wait and are read back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sql

from orthanc_gcp.custody.reporting.problems import find_problems
from orthanc_gcp.ledger.schema import State
from tests.custody.test_kept_versions import OF_ANOTHER_PATIENT, OLD, Life, emulator
from tests.support.mishaps import sha256
from tests.support.orthanc_life import file_of
from tests.support.sent import rows

__all__ = ["emulator"]
HOURS = timedelta(hours=3)


@pytest.fixture(params=["Keep", "Replace"])
def life(request, engine: sql.Engine, emulator) -> Iterator[Life]:
    made = Life(engine.url.render_as_string(hide_password=False), emulator)
    made.town.replaces = request.param == "Replace"
    yield made
    made.close()


@pytest.mark.parametrize("is_sent", [True, False])
@pytest.mark.parametrize("pages", [1, 2])
def test_what_is_received_afterwards_is_newer_than_what_was_before(life, is_sent, pages):
    """A corrected PatientID, as the one that was corrected is sent, or waits."""
    index = life.add_orthanc()
    life.run()
    life.clock.wall += 2 * HOURS
    if not is_sent:
        life.fault(status=500)
    first = life.receive(index, OLD)
    if pages == 2:
        life.run()
    life.clock.wall -= HOURS
    second = life.receive(index, OF_ANOTHER_PATIENT)
    life.run(60)
    life.be_well()
    life.run(300)
    states = {row.orthanc_id: row.state for row in rows(life.ledger)}
    was_kept = is_sent and pages == 2 and not life.town.replaces
    if was_kept:
        assert states == {first: State.CONFIRMED, second: State.QUARANTINED}
    else:
        assert states == {first: State.SUPERSEDED, second: State.CONFIRMED}
        assert life.stored(rows(life.ledger)[0]) == sha256(OF_ANOTHER_PATIENT)


def test_what_waits_in_backoff_or_to_be_read_back_does_not_wait_for_the_old_time(life):
    index = life.add_orthanc()
    life.run()
    life.fault(status=500)
    life.receive(index, OLD)
    life.run(200)
    assert {row.state for row in rows(life.ledger)} <= {State.WAITING, State.DELAYED}
    life.clock.wall -= HOURS
    life.be_well()
    life.run(120)
    assert [row.state for row in rows(life.ledger)] == [State.CONFIRMED]


def test_an_orthanc_that_is_followed_is_not_away_when_the_clock_is_set_forward(life):
    """As when a machine has slept: no alarm goes off for what is there."""
    index = life.add_orthanc()
    life.run()
    life.fault(status=500)
    life.receive(index, OLD)
    life.run(10)
    life.clock.wall += HOURS
    life.run(1)
    assert find_problems(life.ledger, {row.account for row in rows(life.ledger)}, {}) == []


def test_numbers_of_changes_that_were_undone_make_nothing_newer(life):
    """An index that was restored counts its changes anew, and nothing is wrong with the clock."""
    index = life.add_orthanc()
    life.run()
    backup = index.copy()
    for number in range(1, 5):
        life.receive(index, file_of(0, 0, 0, number, 0))
    undone = life.receive(index, OLD)
    life.run(60)
    life.orthancs[0].stop()
    life.workers[0].ended = True
    life.orthancs[0].start(backup)
    life.start_worker(life.orthancs[0])
    received = life.receive(backup, OF_ANOTHER_PATIENT)
    life.run(300)
    found = {row.orthanc_id: row for row in rows(life.ledger)}
    assert found[received].change_seq < found[undone].change_seq
    if life.town.replaces:
        assert found[undone].state == State.SUPERSEDED
        assert found[received].state == State.CONFIRMED
    else:
        assert found[undone].state == State.CONFIRMED
        assert (found[received].state, found[received].reason) == (State.QUARANTINED, "conflict")
