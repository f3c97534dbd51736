"""A store that says it has stored a newer version, and keeps the one that it had."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake.on_demand import send_on_demand
from orthanc_gcp.custody.intake.open_transfers import hand_over
from orthanc_gcp.custody.intake.recognition import RECOGNIZE_EVERY
from orthanc_gcp.custody.outcomes import ABSENT_FOR
from orthanc_gcp.custody.reporting.operations import retry
from orthanc_gcp.custody.reporting.quarantine import dismiss
from orthanc_gcp.dicomweb import DicomStore
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import Emulator, Options
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.transport.authorization import Authorization
from tests.support.mishaps import copy_database, sha256
from tests.support.orthanc import wait_until
from tests.support.orthanc_life import file_of
from tests.support.sent import changed, dataset, rows
from tests.support.simulated_orthanc import Index, SimulatedOrthanc
from tests.support.simulated_worker import ACCOUNT, SimulatedWorker, Town
from tests.support.simulation import FakeClock
from tests.support.site import Site, make_instance
from tests.support.stored import stored_digests

OLD, NEW = file_of(0, 0, 0, 0, 0), file_of(0, 0, 0, 0, 1)
"""Two versions of one instance, of the same size."""
OF_ANOTHER_PATIENT = file_of(1, 0, 0, 0, 0)
"""Another one with its UIDs, which Orthanc has beside it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder, replaces = tmp_path_factory.mktemp("site"), {"OnConflict": "Replace"}
    with Site(folder, account=replaces, orthanc={"OverwriteInstances": True}) as site:
        site.wait_for_following()
        yield site


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_that_something_is_there_does_not_say_which_version_it_is(site, method):
    """What lies is the answer to the first request, or that to the upsert after its refusal."""
    old = changed(make_instance(), InstitutionName="old")
    resource = site.upload(old)
    reaches(site, resource, old)
    site.emulator.switch(faults=[{"method": method, "lose": "all", "count": 1}])
    new = changed(old, InstitutionName="new")
    assert site.upload(new) == resource
    reaches(site, resource, new)
    assert site.stored()[str(dataset(new).SOPInstanceUID)] == new


def reaches(site: Site, resource: str, content: bytes) -> None:
    """It is confirmed, with these bytes."""

    def confirmed() -> bool:
        said = {row.orthanc_id: (row.state, row.sha256) for row in site.rows()}
        return said.get(resource) == ("confirmed", sha256(content))

    wait_until(confirmed, 60, site.log)


# -- Whichever way an instance goes until it is sent again ----------------------------------------


class Life:
    """Orthancs and their workers, a step at a time, and a store that may lie."""

    _numbers = itertools.count()

    def __init__(self, url: str, emulator: Emulator) -> None:
        self.clock, self.emulator = FakeClock(), emulator
        self.name = StoreName("project", "location", "dataset", f"kept-{next(self._numbers)}")
        emulator.create_store(self.name)

        def token() -> Authorization:
            return Authorization(emulator.access_token())

        self._chance = random.Random(1)
        self.store = DicomStore(emulator.dicomweb_url(self.name), token)
        self.town = Town(url, self.clock, self.store.url, token, protects=False)
        self.orthancs: list[SimulatedOrthanc] = []
        self.workers: list[SimulatedWorker] = []

    @property
    def ledger(self) -> Ledger:
        return self.workers[-1].ledger

    def add_orthanc(self, name: str = "first") -> Index:
        """An Orthanc with a worker; its index."""
        orthanc = SimulatedOrthanc(Index(self.clock, self._chance), name)
        self.orthancs.append(orthanc)
        orthanc.start()
        self.start_worker(orthanc)
        return orthanc.index

    def start_worker(self, orthanc: SimulatedOrthanc) -> None:
        name = f"worker {len(self.workers)}"
        rules = [SendRule(to=ACCOUNT)]
        self.workers.append(SimulatedWorker(self.town, orthanc, name, rules, orthanc.since))

    def receive(self, index: Index, content: bytes) -> str:
        self.clock.time += 1
        return index.receive(content)

    def follow(self) -> None:
        """Let the last worker read all that its Orthanc has received."""
        for _ in range(5):
            self.clock.time += RECOGNIZE_EVERY
            self.workers[-1].follow()

    def run(self, seconds: float = 20.0) -> None:
        """Let the workers work for as long."""
        end = self.clock.time + seconds
        while self.clock.time < end:
            worked = [one.work() for one in self.workers if not one.ended]
            self.nothing_false()
            self.clock.time += 0.6 if any(worked) else 5

    def nothing_false(self) -> None:
        stored = stored_digests(self.emulator, self.name)
        for row in rows(self.ledger):
            if row.state == State.CONFIRMED:
                assert stored.get(_uids(row)) == row.sha256, f"confirmed, and not there: {row}"

    def stored(self, row: sql.Row) -> str | None:
        return stored_digests(self.emulator, self.name).get(_uids(row))

    def fault(self, **of_post: object) -> None:
        """What the store does wrong with what is sent, until it is well again."""
        rule = {"method": "POST", "path": self.name.store, **of_post}
        self.emulator.fault_settings.change(faults=[rule])

    def lie(self) -> None:
        """It says that it stores all, and stores nothing."""
        self.fault(lose=1.0)

    def be_well(self) -> None:
        self.emulator.fault_settings.reset()

    def states(self) -> dict[str, tuple[str, str | None]]:
        return {row.orthanc_id: (row.state, row.reason) for row in rows(self.ledger)}

    def close(self) -> None:
        self.be_well()
        for one in (*self.workers, *self.orthancs):
            one.end() if isinstance(one, SimulatedWorker) else one.close()
        self.store.close()


def _uids(row: sql.Row) -> tuple[str, str, str]:
    return row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(Options(tmp_path_factory.mktemp("emulator"))) as made:
        yield made


@pytest.fixture
def life(engine: sql.Engine, emulator: Emulator) -> Iterator[Life]:
    made = Life(engine.url.render_as_string(hide_password=False), emulator)
    yield made
    made.close()


ONE = pytest.mark.parametrize("engine", ["SQLite"], indirect=True)


def is_seen_to_be_another(life: Life, mine: str) -> None:
    """The store has acknowledged it each time, and what it gives back was read."""
    state, reason = life.states()[mine]
    assert (state in ("delayed", "quarantined"), reason) == (True, "different")


def retried(life: Life) -> None:
    assert len(retry(life.ledger)) == 1


def dismissed(life: Life) -> None:
    assert dismiss(life.ledger, Selection(), by="jane", why="so") == 1
    assert len(retry(life.ledger, dismissed=True)) == 1


def demanded(life: Life) -> None:
    orthanc = life.orthancs[0]
    source = OrthancSource(OrthancRest(orthanc.url), orthanc.storage)
    (resource,) = (one.identifier for one in orthanc.index.of_level("Instance"))
    send_on_demand(life.ledger, source, ACCOUNT, [resource])


def retried_before_a_restart(life: Life) -> None:
    retried(life)
    life.workers[-1].end()
    life.start_worker(life.orthancs[0])


@pytest.mark.parametrize("again", [retried, dismissed, demanded, retried_before_a_restart])
def test_what_was_in_quarantine_is_not_confirmed_by_a_search(life, again: Callable[[Life], None]):
    index = life.add_orthanc()
    mine = life.receive(index, OLD)
    life.run()
    life.receive(index, NEW)
    life.run()
    assert life.states() == {mine: ("quarantined", "conflict")}
    life.lie()
    again(life)
    life.run()
    is_seen_to_be_another(life, mine)


@ONE
def test_what_a_dead_worker_may_have_sent_is_not_taken_for_the_version_after_it(life):
    """Nothing says that it was sent, but that it was claimed."""
    index = life.add_orthanc()
    mine = life.receive(index, OLD)
    (dead,) = life.workers
    while not dead.tasks:
        dead.follow()
        dead.dispatch()
        life.clock.time += 1
    dead.run_task()
    with life.ledger.writing() as connection:  # it has ended before it could write that down
        connection.execute(
            transfers.update().values(
                state=State.SENDING, batch="b", sha256=None, attempts=0, acknowledged_at=None
            )
        )
    dead.end()
    life.start_worker(life.orthancs[0])
    life.workers[-1].take_over()
    life.receive(index, NEW)
    life.follow()
    life.lie()
    life.run()
    is_seen_to_be_another(life, mine)


@ONE
def test_what_was_retried_is_not_taken_for_the_version_after_it(life):
    index = life.add_orthanc()
    mine = life.receive(index, OLD)
    life.fault(storeThenFail=True, status=500)
    life.run(10)
    with life.ledger.writing() as connection:
        connection.execute(transfers.update().values(state=State.QUARANTINED, reason="gave_up"))
    assert len(retry(life.ledger)) == 1
    life.receive(index, NEW)
    life.follow()
    life.lie()
    life.run()
    is_seen_to_be_another(life, mine)


def test_what_was_sent_is_not_taken_for_what_has_overwritten_it_before_anybody_has_read_that(life):
    index = life.add_orthanc()
    (worker,) = life.workers
    mine = life.receive(index, OLD)
    life.fault(storeThenFail=True, status=500)
    life.run(10)
    assert life.states()[mine][0] == "delayed"
    life.receive(index, NEW)
    life.lie()
    for _ in range(30):  # it sends, and reads no change meanwhile
        life.clock.time += 5
        worker.dispatch()
        while worker.run_task():
            life.nothing_false()
    is_seen_to_be_another(life, mine)


@ONE
def test_what_is_sent_again_as_it_was_is_confirmed_by_a_search(life, monkeypatch):
    """Its bytes are not read in the store."""
    monkeypatch.setattr("tests.support.simulated_worker._Store.open", None)
    index = life.add_orthanc()
    mine = life.receive(index, OLD)
    life.fault(status=503, count=2)
    life.run(60)
    assert life.states()[mine][0] == "confirmed"


@ONE
def test_what_came_from_another_patient_is_not_taken_for_it(life):
    index = life.add_orthanc()
    life.receive(index, OLD)
    life.run()
    life.lie()
    mine = life.receive(index, OF_ANOTHER_PATIENT)
    life.run()
    is_seen_to_be_another(life, mine)


@ONE
def test_what_is_the_newest_again_is_not_taken_for_what_came_between(life):
    index = life.add_orthanc()
    mine = life.receive(index, OLD)
    other = life.receive(index, OF_ANOTHER_PATIENT)
    life.fault(storeThenFail=True, status=500)
    life.run(10)
    assert life.states()[other][0] == "delayed"
    index.delete(other)
    life.lie()
    life.run(3 * ABSENT_FOR)
    assert life.states()[other][0] == "lost", "nothing has protected it from recycling"
    is_seen_to_be_another(life, mine)


@ONE
def test_what_another_orthanc_has_sent_is_not_taken_for_what_this_one_has(life):
    first = life.add_orthanc()
    mine = life.receive(first, OLD)
    life.fault(storeThenFail=True, status=500)
    life.run(10)
    life.workers[0].end()
    second = life.add_orthanc("second")
    life.receive(second, NEW)
    life.run(5)
    with life.ledger.writing() as connection:  # what has come by itself there is not handed over
        connection.execute(transfers.delete().where(transfers.c.source == "second/ORTHANC"))
    source = OrthancSource(OrthancRest(life.orthancs[1].url), life.orthancs[1].storage)
    assert hand_over(life.ledger, source, "first/ORTHANC", "second/ORTHANC") == 1
    life.lie()
    life.run()
    is_seen_to_be_another(life, mine)


# -- A ledger that has lost its last transactions --------------------------------------------------


@ONE
def test_what_a_power_cut_takes_from_the_ledger_is_read_and_compared_again(life, tmp_path):
    index = life.add_orthanc()
    mine = life.receive(index, OLD)
    gone = life.receive(index, file_of(0, 0, 1, 0, 0))
    life.run()
    former = tmp_path / "former.sqlite"
    ledger_file = Path(life.ledger.engine.url.database)
    copy_database(ledger_file, former)
    life.receive(index, NEW)
    later = life.receive(index, file_of(0, 1, 0, 0, 0))
    index.delete(gone)
    life.run()
    assert life.states()[later][0] == "confirmed"
    life.workers[-1].end()
    copy_database(former, ledger_file)
    life.start_worker(life.orthancs[0])
    life.run(60)
    assert life.states() == {
        mine: ("quarantined", "conflict"),
        gone: ("confirmed", None),
        later: ("confirmed", None),
    }
