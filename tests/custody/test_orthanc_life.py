"""The life of Orthancs, by chance: what was received ends in the store, or something is said.

The real ledger, the real parts of a worker and the real emulator, a step at a time, by a clock
that is set. Only Orthanc is simulated, as one of its steps would cost seconds: by its answers,
which ``tests/orthanc/test_simulated_orthanc.py`` compares with a real one's. ``make torture``
makes more of these lives, and longer ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, Phase, settings

from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.intake.recognition import REFUSE_AFTER
from orthanc_gcp.emulator.server import Emulator, Options
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.support.orthanc_life import OrthancLife, file_of
from tests.support.simulated_orthanc import Index, SimulatedOrthanc
from tests.support.simulated_worker import ACCOUNT, SimulatedWorker

LIVES, STEPS = 6, 40


def test_nothing_is_unread_of_an_orthanc_of_which_nothing_is_left() -> None:
    """All that the ledger knows of it is deleted, and it has another name when it is back."""
    with begun() as life:
        life.receive(at=0, patient=0, study=0, series=0, instance=0, version=0, then=4)
        life.wait(seconds=700, then=4)
        life.wait(seconds=700, then=4)
        life.receive(at=0, patient=1, study=1, series=1, instance=1, version=0, then=0)
        life.recycle(at=0, then=0)
        life.clock.time += 5
        life.rename(at=0, name="practice")
        (orthanc,) = life.orthancs
        assert life.town.now() - orthanc.since > 5
        (left,) = orthanc.index.of_level("Instance")
        assert left.identifier not in {row.orthanc_id for row in life.rows()}


@pytest.mark.parametrize("seconds", [-600, 600])
def test_the_same_after_the_clock_was_set(seconds: int) -> None:
    with begun() as life:
        life.receive(at=0, patient=0, study=0, series=0, instance=0, version=0, then=4)
        life.wait(seconds=700, then=4)
        life.wait(seconds=700, then=4)
        before = life.town.now()
        life.set_clock(seconds=seconds, then=0)
        assert life.town.now() - before == seconds
        life.receive(at=0, patient=1, study=1, series=1, instance=1, version=0, then=0)
        life.recycle(at=0, then=0)
        life.clock.time += 5
        life.rename(at=0, name="practice")


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_was_not_compared_yet_when_an_earlier_index_was_restored(rounds: int) -> None:
    """What no change reports, as they were cleared while no worker ran, in the backup too."""
    with begun(outside=True) as life:
        life.work(at=0, count=1)
        life.kill(at=0, passing=0, anew=False)
        life.receive(at=0, patient=0, study=0, series=0, instance=0, version=0, then=0)
        life.clear_changes(at=0, then=0)
        life.back_up(at=0)
        life.clock.time += 1000
        life.start_worker(at=0, another_name=False)
        life.wait(seconds=130, then=4)
        life.receive_a_series(at=0, count=4, study=1, then=rounds)
        life.restore(at=0, chosen=0, then=3)


@pytest.mark.parametrize("passing", [25, 31, 37, 43])
def test_what_was_received_before_it_was_restored_and_read(passing: int) -> None:
    """A worker outside has noted what its index is recognized by, has read nothing, and is killed.

    Then the index is restored from before, with what nobody has read, and has nothing of that.
    """
    with begun(outside=True) as life:
        life.work(at=0, count=1)
        life.kill(at=0, passing=0, anew=False)
        life.receive(at=0, patient=0, study=0, series=0, instance=0, version=0, then=0)
        life.back_up(at=0)
        life.clear_changes(at=0, then=0)
        life.receive(at=0, patient=1, study=1, series=0, instance=0, version=0, then=0)
        life.clock.time += 5
        life.start_worker(at=0, another_name=False)
        life.kill(at=0, passing=passing, anew=False)
        life.clock.time += 5
        life.restore(at=0, chosen=0, then=0)


@pytest.mark.parametrize("ended", ["before", "after"])
@pytest.mark.parametrize("restored", [True, False])
def test_another_index_and_another_name_while_no_worker_outside_runs(
    ended: str, restored: bool
) -> None:
    """Nothing is left of the former index: only where Orthanc is asked says what it is."""
    with begun(outside=True) as life:
        life.back_up(at=0)
        life.receive_a_series(at=0, study=1, count=2, then=4)
        if ended == "before":
            life.kill(at=0, passing=0, anew=False)
        if restored:
            life.restore(at=0, chosen=0, then=0)
        else:
            life.empty_volume(at=0, then=0)
            life.aside[0] = None  # it stays away
        life.receive_a_series(at=0, study=1, count=3, then=0)
        life.clock.time += 5
        if ended == "after":
            life.kill(at=0, passing=0, anew=False)
        life.rename(at=0, name="practice")
        life.start_worker(at=0, another_name=True)


@pytest.mark.parametrize("name", ["hospital", "practice"])
def test_a_command_leaves_it_to_a_worker_since_when_another_index_is_followed(name: str) -> None:
    """Who sends one of its instances, while no worker runs, knows nothing of the others."""
    with begun(outside=True) as life:
        life.receive_a_series(at=0, study=1, count=2, then=4)
        life.kill(at=0, passing=0, anew=False)
        life.empty_volume(at=0, then=0)
        life.aside[0] = None  # it stays away
        life.receive_a_series(at=0, study=0, count=3, then=0)
        life.clock.time += 5
        life.rename(at=0, name=name)
        (orthanc,) = life.orthancs
        source = OrthancSource(OrthancRest(orthanc.url), orthanc.storage)
        one = orthanc.index.of_level("Instance")[0].identifier
        ledger = life.workers[0].ledger
        with pytest.raises(OrthancError, match="start a worker first"):
            send_on_demand(ledger, source, ACCOUNT, [one])
        life.start_worker(at=0, another_name=False)
        life.work(at=0, count=4)
        assert send_on_demand(ledger, source, ACCOUNT, [one]) <= 1


def test_what_an_orthanc_elsewhere_had_before_is_not_sent() -> None:
    """Its first worker, outside as well, is asked for nothing of before, whatever others have."""
    with begun(outside=True) as life:
        life.receive_a_series(at=0, study=1, count=2, then=4)
        life.wait(seconds=700, then=4)
        elsewhere = SimulatedOrthanc(Index(life.clock, life.chance), "elsewhere")
        life.orthancs.append(elsewhere)
        life.aside.append(None)
        elsewhere.start()
        life.receive_a_series(at=1, study=0, count=2, then=0)
        life.clock.time += 5
        worker = SimulatedWorker(life.town, elsewhere, "worker-1", life.rules, None)
        life.workers.append(worker)
        for _ in range(4):
            worker.work()
        assert worker.follower.source == "elsewhere/ORTHANC"
        assert {row.source for row in life.rows()} == {"hospital/ORTHANC"}
        elsewhere.index.delete(elsewhere.index.of_level("Patient")[0].identifier)


def test_one_of_two_orthancs_on_an_index_is_away() -> None:
    """Its worker, outside, has followed the index, and leaves that to the other's."""
    with begun(outside=True) as life:
        life.receive_a_series(at=0, study=1, count=2, then=4)
        (orthanc,), (worker,) = life.orthancs, life.workers
        other = SimulatedOrthanc(orthanc.index, "clinic")
        other.start()
        its_worker = SimulatedWorker(life.town, other, "worker-1", life.rules, None)
        orthanc.stop()
        for _ in range(3):
            life._receive(other.index, file_of(0, 0, 0, instance=len(life.received), version=0))
        for _ in range(3):
            for one in (worker, its_worker):
                one.follow()
                life.clock.time += REFUSE_AFTER
        for _ in range(4):
            its_worker.work()
        assert len(life.rows()) == 5
        its_worker.end()
        other.close()


def test_an_empty_orthanc_with_the_name_of_another() -> None:
    """It has been taken for that one, which comes back under another name."""
    with begun(two=True) as life:
        life.receive(at=0, patient=0, study=0, series=0, instance=0, version=0, then=4)
        for patient in range(2):
            life.receive(at=1, patient=patient, study=1, series=0, instance=0, version=0, then=4)
            life.delete(at=1, chosen=0, then=4)
        life.clear_changes(at=1, then=4)
        life.kill(at=0, passing=0, anew=False)
        life.rename(at=1, name="hospital")
        life.work(at=1, count=5)
        life.rename(at=0, name="practice")
        life.work(at=0, count=5)


@pytest.mark.parametrize("how", ["late", "cleared"])
def test_two_of_one_name_of_which_one_has_no_changes(how: str) -> None:
    """What the other has is not taken for one index with it while the first is away."""
    with begun(two=True, of_one_name=True) as life:
        if how == "late":
            life.another_writer_receives(at=0, instance=2, version=1)
        else:
            life.receive(at=0, patient=0, study=0, series=1, instance=2, version=1, then=0)
            life.clear_changes(at=0, then=0)
        life.receive(at=1, patient=0, study=0, series=0, instance=1, version=0, then=2)
        life.wait(seconds=1, then=4)
        life.stop_orthanc(at=0)
        life.clear_changes(at=0, then=2)
        life.empty_volume(at=1, then=1)


def test_that_one_index_is_wanted_says_nothing_of_another() -> None:
    with begun() as life:
        (worker,) = life.workers
        worker.ledger.indexes.want("one")
        asked = [worker.follower._recognition.is_wanted(source) for source in ("one", "two", "one")]
        assert asked == [True, False, True]


@contextmanager
def begun(
    *, two: bool = False, outside: bool = False, of_one_name: bool = False
) -> Iterator[OrthancLife]:
    """One Orthanc, or two, whose plugins have started a worker; in the end all must be well."""
    life = OrthancLife()
    try:
        life.begin(
            replaces=False,
            verify="Search",
            two=two,
            outside=outside,
            of_one_name=of_one_name,
            level="Instance",
        )
        yield life
    finally:
        life.teardown()


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all lives: each has a store of its own."""
    with Emulator(Options(tmp_path_factory.mktemp("emulator"))) as emulator:
        OrthancLife.emulator = emulator
        yield


# Half a minute where nothing else runs, and several where much does.
TestOrthancLife = pytest.mark.timeout(600)(OrthancLife.TestCase)
TestOrthancLife.settings = settings(
    max_examples=LIVES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
    print_blob=True,
)
