"""A state machine over the life of Orthancs, with a plain model of what custody promises."""

from __future__ import annotations

import hashlib
import logging
import random
import shutil
import sys
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake.open_rows import OPEN
from orthanc_gcp.custody.intake.open_transfers import open_transfers
from orthanc_gcp.custody.intake.recognition import RECOGNIZE_EVERY
from orthanc_gcp.custody.verification import conflict
from orthanc_gcp.emulator.resource_names import StoreName
from orthanc_gcp.emulator.server import Emulator
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.schema import State, metadata, transfers
from orthanc_gcp.transport.authorization import Authorization
from tests.support.sent import changed
from tests.support.simulated_orthanc import Index, SimulatedOrthanc
from tests.support.simulated_worker import ACCOUNT, Killed, SimulatedWorker, Town
from tests.support.simulation import FakeClock
from tests.support.site import make_instance
from tests.support.stored import stored_digests

__all__ = ["OrthancLife", "file_of"]

Uids = tuple[str, str, str]
FINAL = {
    State.CONFIRMED,
    State.QUARANTINED,
    State.SUPERSEDED,
    State.WITHDRAWN,
    State.LOST,
}
STORE_FAULTS: tuple[dict[str, Any], ...] = (
    {"method": "POST", "status": 500},
    {"method": "POST", "status": 503, "retryAfter": 1},
    {"method": "POST", "status": 429},
    {"method": "POST", "status": 400},
    {"method": "POST", "status": 401},
    {"method": "POST", "cut": "reset", "readBody": False},
    {"method": "POST", "cut": "truncate"},
    {"method": "POST", "lose": 1.0},
    {"method": "POST", "lose": 0.5},
    {"method": "POST", "refuse": 0.5},
    {"method": "POST", "storeThenFail": True, "status": 500},
    {"method": "POST", "storeThenFail": True, "cut": "reset"},
    {"method": "GET", "status": 500},
    {"method": "GET", "status": 400},
    {"method": "GET", "status": 503},
    {"method": "GET", "cut": "truncate"},
)


@cache
def file_of(patient: int, study: int, series: int, instance: int, version: int) -> bytes:
    """An instance; one with other numbers has other bytes."""
    uids = f"1.2.{study}", f"1.2.{study}.{series}", f"1.2.9.{instance}"
    plain = make_instance(*uids, size=4)
    pixels = bytes([patient, study, series, instance, version] * 4)[:16]
    return changed(plain, PatientID=f"P{patient}", PixelData=pixels)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def uids_of(row: Any) -> Uids:
    return row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid


def brief(row: Any) -> str:
    """What a failure shows of a row."""
    names = ("source", "state", "reason", "detail", "attempts", "replace", "change_seq")
    values = ", ".join(f"{name}={getattr(row, name)}" for name in names)
    digest = (row.sha256 or "")[:8]
    return f"{row.id} {row.orthanc_id[:8]} {uids_of(row)} sha256={digest} {values}"


class Defects(logging.Handler):
    """Tracebacks that the product has logged: errors that nobody expected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or "was interrupted" in record.getMessage():
            self.found.append(self.format(record))


class OrthancLife(RuleBasedStateMachine):
    """Two Orthancs, each with an index and a worker, on one ledger and one store."""

    database_url = ""
    emulator: Emulator
    """One for all lives: each has a store of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._readers, conflict.READERS = conflict.READERS, 1  # for the same life again
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.clock = FakeClock()
        self.chance = random.Random(1)
        self.defects = Defects()
        logging.getLogger("orthanc_gcp").addHandler(self.defects)
        self.store_name = StoreName("osimis-test", "europe-west2", "test", self.folder.name)
        self.emulator.fault_settings.reset()
        self.emulator.create_store(self.store_name)
        self.orthancs: list[SimulatedOrthanc] = []
        self.workers: list[SimulatedWorker] = []
        self.backups: list[list[Index]] = []
        self.aside: list[Index | None] = []
        self.received: dict[Uids, set[str]] = {}  # SHA-256 of all versions
        self.starts, self.had_one_name = 0, False

    # -- Begin and end -----

    @initialize(
        replaces=st.booleans(),
        verify=st.sampled_from(["Search", "Bytes"]),
        two=st.booleans(),
        outside=st.booleans(),
        of_one_name=st.booleans(),
        level=st.sampled_from(["Instance", "Instance", "Instance", "Series", "Study"]),
    )
    def begin(
        self,
        replaces: bool,
        verify: str,
        two: bool,
        outside: bool,
        of_one_name: bool,
        level: str,
    ) -> None:
        url = database.url_of(self.database_url, self.folder)
        if self.database_url:
            engine = database.connect(url)
            metadata.drop_all(engine)
            engine.dispose()
        self.town = Town(
            url,
            self.clock,
            self.emulator.dicomweb_url(self.store_name),
            lambda: Authorization(self.emulator.access_token()),
            replaces=replaces,
            verify=verify,
        )
        self.outside = outside
        self.rules = [SendRule(to=ACCOUNT, level=level)]
        names = "hospital", "hospital" if of_one_name and not outside else "clinic"
        for number in range(1 + two):
            orthanc = SimulatedOrthanc(Index(self.clock, self.chance), names[number])
            orthanc.start()
            self.orthancs.append(orthanc)
            self.backups.append([])
            self.aside.append(None)
            self.workers.append(self._worker(number))
            if outside:  # nobody has written down since when it is to be followed
                self._first_seen(self.workers[number])
        self._note_names()

    def _first_seen(self, worker: SimulatedWorker) -> None:
        for _ in range(3):
            self.clock.time += RECOGNIZE_EVERY
            worker.follow()
        assert worker.follower.source

    def teardown(self) -> None:
        try:
            if self.workers and sys.exc_info()[0] is None:
                self._recover()
                self._all_is_well()
        finally:
            for worker in self.workers:
                worker.end()
            for orthanc in self.orthancs:
                orthanc.close()
            conflict.READERS = self._readers
            self.emulator.delete_store(self.store_name)
            logging.getLogger("orthanc_gcp").removeHandler(self.defects)
            shutil.rmtree(self.folder)

    def _worker(self, number: int, name: str = "") -> SimulatedWorker:
        """Started by Orthanc's plugin, or by hand, when no Orthanc says since when to follow."""
        orthanc = self.orthancs[number]
        name = name or f"worker-{number}"
        since = None if self.outside else orthanc.since
        return SimulatedWorker(self.town, orthanc, name, self.rules, since)

    # -- What Orthancs live through ---------------------------------------------------------------

    which = st.integers(0, 1)
    number = st.integers(0, 2)
    small = st.integers(0, 1)
    rounds = st.integers(0, 4)

    def _orthanc(self, number: int) -> SimulatedOrthanc:
        return self.orthancs[number % len(self.orthancs)]

    def _go_on(self, rounds: int) -> None:
        """What the workers do meanwhile."""
        for _ in range(rounds):
            self.clock.time += 0.6
            for worker in self.workers:
                if not worker.ended:
                    worker.work()

    def _receive(self, index: Index, content: bytes, *, hidden: bool = False) -> None:
        self.clock.time += 1
        mine = index.receive(content, hidden=hidden)
        self.received.setdefault(index.uids(mine), set()).add(sha256(content))

    @rule(
        then=rounds,
        at=which,
        patient=small,
        study=small,
        series=small,
        instance=number,
        version=small,
    )
    def receive(
        self,
        at: int,
        patient: int,
        study: int,
        series: int,
        instance: int,
        version: int,
        then: int,
    ) -> None:
        orthanc = self._orthanc(at)
        if orthanc.running:
            content = file_of(patient, study, series, instance, version)
            self._receive(orthanc.index, content)
        self._go_on(then)

    @rule(then=rounds, at=which, study=small, count=st.integers(2, 4))
    def receive_a_series(self, at: int, study: int, count: int, then: int) -> None:
        orthanc = self._orthanc(at)
        if orthanc.running:
            for instance in range(count):
                self._receive(orthanc.index, file_of(0, study, 0, instance, 0))
        self._go_on(then)

    @rule(at=which, instance=number, version=small)
    def another_writer_receives(self, at: int, instance: int, version: int) -> None:
        orthanc = self._orthanc(at)
        if orthanc.running:
            content = file_of(0, 0, 1, instance, version)
            self._receive(orthanc.index, content, hidden=True)

    @precondition(lambda self: any(one.index.hidden for one in self.orthancs))
    @rule(then=rounds, at=which)
    def another_writer_ends(self, at: int, then: int) -> None:
        self._orthanc(at).index.show_hidden()
        self._go_on(then)

    @precondition(lambda self: any(one.index.resources for one in self.orthancs))
    @rule(then=rounds, at=which, chosen=st.integers(0, 20))
    def delete(self, at: int, chosen: int, then: int) -> None:
        index = self._orthanc(at).index
        if self._orthanc(at).running and index.resources:
            names = list(index.resources)
            index.delete(names[chosen % len(names)])
        self._go_on(then)

    @precondition(lambda self: any(one.index.resources for one in self.orthancs))
    @rule(then=rounds, at=which)
    def recycle(self, at: int, then: int) -> None:
        index = self._orthanc(at).index
        oldest = index.oldest_patient()
        if self._orthanc(at).running and oldest is not None:
            index.delete(oldest)
        self._go_on(then)

    @precondition(lambda self: any(one.index.changes for one in self.orthancs))
    @rule(then=rounds, at=which)
    def clear_changes(self, at: int, then: int) -> None:
        self._orthanc(at).index.clear_changes()
        self._go_on(then)

    @rule(at=which, name=st.sampled_from(["hospital", "clinic", "practice"]))
    def rename(self, at: int, name: str) -> None:
        number = at % len(self.orthancs)
        taken = name in {one.name for one in self.orthancs}
        if not (self.outside and taken):
            self.orthancs[number].name = name
            self._note_names()
            self._restart(number)

    def _note_names(self) -> None:
        self.had_one_name |= len({one.name for one in self.orthancs}) < len(self.orthancs)

    @rule(at=which)
    def back_up(self, at: int) -> None:
        number = at % len(self.orthancs)
        if self.aside[number] is None:
            self.backups[number].append(self.orthancs[number].index.copy())

    @precondition(lambda self: any(self.backups))
    @rule(then=rounds, at=which, chosen=number)
    def restore(self, at: int, chosen: int, then: int) -> None:
        number = at % len(self.orthancs)
        backups = self.backups[number]
        if backups and self.aside[number] is None:
            self._restart(number, backups[chosen % len(backups)].copy())
        self._go_on(then)

    @rule(at=which)
    def restart(self, at: int) -> None:
        self._restart(at % len(self.orthancs))

    @rule(then=rounds, at=which)
    def empty_volume(self, at: int, then: int) -> None:
        number = at % len(self.orthancs)
        if self.aside[number] is None:
            self.aside[number] = self.orthancs[number].index
            self._restart(number, Index(self.clock, self.chance))
        self._go_on(then)

    @precondition(lambda self: any(self.aside))
    @rule(then=rounds, at=which)
    def volume_is_back(self, at: int, then: int) -> None:
        number = at % len(self.orthancs)
        index, self.aside[number] = self.aside[number], None
        if index is not None:
            self._restart(number, index)
        self._go_on(then)

    @rule(at=which)
    def stop_orthanc(self, at: int) -> None:
        number = at % len(self.orthancs)
        self.orthancs[number].stop()
        if not self.outside:
            self.workers[number].end()

    @rule(then=rounds, at=which, count=st.integers(1, 5))
    def orthanc_fails(self, at: int, count: int, then: int) -> None:
        self._orthanc(at).failures = count
        self._go_on(then)

    def _restart(self, number: int, index: Index | None = None) -> None:
        orthanc = self.orthancs[number]
        orthanc.stop()
        if not self.outside:
            self.workers[number].end()
        orthanc.start(index)
        if not self.outside:
            self.workers[number] = self._worker(number)

    # -- What workers do, and what is done to them ------------------------------------------------

    @rule(at=which, count=st.integers(1, 8))
    def follow(self, at: int, count: int) -> None:
        worker = self.workers[at % len(self.workers)]
        if not worker.ended:
            for _ in range(count):
                worker.follow()

    @rule(at=which)
    def dispatch(self, at: int) -> None:
        worker = self.workers[at % len(self.workers)]
        if not worker.ended:
            self.clock.time += 0.6
            worker.dispatch()

    @precondition(lambda self: any(one.tasks for one in self.workers))
    @rule(at=which, number=number)
    def run_task(self, at: int, number: int) -> None:
        worker = self.workers[at % len(self.workers)]
        if not worker.ended:
            worker.run_task(number)

    @rule(at=which, count=st.integers(1, 5))
    def work(self, at: int, count: int) -> None:
        worker = self.workers[at % len(self.workers)]
        if not worker.ended:
            for _ in range(count):
                self.clock.time += 0.6
                worker.work()

    @rule(at=which, passing=st.integers(0, 60), anew=st.booleans())
    def kill(self, at: int, passing: int, anew: bool) -> None:
        number = at % len(self.workers)
        worker = self.workers[number]
        if worker.ended:
            return
        worker.points.arm(passing)
        try:
            for _ in range(5):
                self.clock.time += 0.6
                worker.work()
        except Killed:
            pass
        worker.end()
        if anew:
            self.start_worker(at, another_name=False)

    @precondition(lambda self: any(one.ended for one in self.workers))
    @rule(at=which, another_name=st.booleans())
    def start_worker(self, at: int, another_name: bool) -> None:
        number = at % len(self.workers)
        if self.workers[number].ended and (self.outside or self.orthancs[number].running):
            self.starts += another_name
            name = f"container-{self.starts}" if another_name else ""
            self.workers[number] = self._worker(number, name)

    # -- What happens to the store, and to the time -----------------------------------------------

    @rule(then=rounds, fault=st.sampled_from(STORE_FAULTS), count=st.integers(1, 4))
    def store_fails(self, fault: dict[str, Any], count: int, then: int) -> None:
        rules = [{**fault, "count": count, "path": self.store_name.store}]
        self.emulator.fault_settings.change(faults=rules)
        self._go_on(then)

    @rule(then=rounds, seconds=st.sampled_from([1, 20, 130, 700]))
    def wait(self, seconds: int, then: int) -> None:
        self.clock.time += seconds
        self._tick()
        self._go_on(then)

    def _tick(self) -> None:
        """What is stable by now: as time leaps here, all Orthancs would see it in one second."""
        for orthanc in self.orthancs:
            if orthanc.index.tick():
                self.clock.time += 1

    @rule(then=rounds, seconds=st.sampled_from([-600, 600]))
    def set_clock(self, seconds: int, then: int) -> None:
        """Not back to before following began: what is received then counts as older than that."""
        begun = [one.since for one in self.orthancs]
        begun += [index.noted for index in self._indexes() if index.noted is not None]
        if self.town.now() + seconds > max(begun):
            self.clock.wall += timedelta(seconds=seconds)
        self._go_on(then)

    def _indexes(self) -> list[Index]:
        mounted = [orthanc.index for orthanc in self.orthancs]
        return mounted + [one for one in self.aside if one is not None]

    # -- What must be so at every moment ----------------------------------------------------------

    def rows(self) -> list[Any]:
        engine = database.connect(self.town.database_url)
        try:
            with engine.connect() as connection:
                return list(connection.execute(sql.select(transfers).order_by(transfers.c.id)))
        finally:
            engine.dispose()

    def stored(self) -> dict[Uids, str]:
        """The SHA-256 of what the store has."""
        return stored_digests(self.emulator, self.store_name)

    @precondition(lambda self: bool(self.orthancs))
    @invariant()
    def nothing_false(self) -> None:
        assert not self.defects.found, self.defects.found
        assert not any(one.unknown for one in self.orthancs), [one.unknown for one in self.orthancs]
        rows, stored = self.rows(), self.stored()
        for row in rows:
            if row.state == State.CONFIRMED:
                self._is_there(row, rows, stored)
        claimed = [uids_of(row) for row in rows if row.state == State.SENDING]
        assert len(claimed) == len(set(claimed)), "one instance is sent twice at once"

    def _is_there(self, row: Any, rows: list[Any], stored: dict[Uids, str]) -> None:
        there = stored.get(uids_of(row))
        if there == row.sha256:
            return
        replaced = any(
            other.replace and uids_of(other) == uids_of(row) and other.id != row.id
            for other in rows
        )
        assert replaced, f"confirmed, and the store has {there}: {brief(row)}"

    # -- What must be so in the end ---------------------------------------------------------------

    def _recover(self) -> None:
        """All is well again: run until nothing happens any more."""
        self.emulator.fault_settings.reset()
        for number, orthanc in enumerate(self.orthancs):
            orthanc.index.show_hidden()
            index, self.aside[number] = self.aside[number], None
            if index is not None or not orthanc.running:
                self._restart(number, index)
            orthanc.failures = 0
            self.start_worker(number, another_name=False)
        for _ in range(3):
            self._run_until_quiet()
            self.clock.time += 90_000

    def _run_until_quiet(self) -> None:
        quiet = 0
        for _ in range(400):
            self.clock.time += 1 if quiet == 0 else 40
            self._tick()
            worked = [worker.work() for worker in self.workers]
            quiet = 0 if any(worked) else quiet + 1
            if quiet > 20 and self._nothing_is_open():
                return
        rows = "\n".join(map(brief, self.rows()))
        problems = [(one.follower.source, one.problem) for one in self.workers]
        raise AssertionError(f"it never ends; {problems}:\n{rows}")

    def _nothing_is_open(self) -> bool:
        """But for what no Orthanc has any more."""
        present = {worker.follower.source for worker in self.workers}
        return all(row.state in FINAL for row in self.rows() if row.source in present)

    def _all_is_well(self) -> None:
        self.nothing_false()
        rows, stored = self.rows(), self.stored()
        if currently_in_test_context():
            note("\n".join(map(brief, rows)))
        for number, orthanc in enumerate(self.orthancs):
            source = self.workers[number].follower.source
            if not source and orthanc.index.resources:
                self._is_refused(self.workers[number])
                continue
            for one in orthanc.index.of_level("Instance"):
                self._is_accounted_for(orthanc.index, one.identifier, source, rows, stored)
        for one in open_transfers(self.workers[0].ledger):
            assert one.reason or not one.instances, f"it waits and nothing is said: {one}"
        for row in rows:
            if row.state in FINAL - {State.CONFIRMED}:
                assert row.reason, brief(row)

    def _is_refused(self, worker: SimulatedWorker) -> None:
        """An index that has nothing of what was read may be taken for another one of its name."""
        assert "a copy, or an earlier state" in worker.problem, f"nothing is said: {worker.problem}"
        assert self.had_one_name

    def _is_open_of_gone(self, mine: str, rows: list[Any]) -> bool:
        """Whether it is shown as open of an index that no Orthanc has, for a person to hand over.

        So it is where an index is restored from so long ago that nothing says which one it is.
        """
        present = {worker.follower.source for worker in self.workers}
        return any(
            row.orthanc_id == mine and row.state in OPEN and row.source not in present
            for row in rows
        )

    def _is_accounted_for(
        self, index: Index, mine: str, source: str, rows: list[Any], stored: dict[Uids, str]
    ) -> None:
        uids, digest = index.uids(mine), sha256(index.content(mine))
        own = [row for row in rows if (row.source, row.orthanc_id) == (source, mine)]
        if not own and self._is_open_of_gone(mine, rows):
            return
        assert len(own) == 1, f"instance {mine} of {source} is not in the ledger: {uids}"
        (row,) = own
        if stored.get(uids) == digest:
            assert row.state in (State.CONFIRMED, State.SUPERSEDED), brief(row)
            return
        assert stored.get(uids) in self.received[uids], f"not in the store: {brief(row)}"
        if row.state == State.CONFIRMED:  # out of a backup, and the newer one is nowhere else
            file = index.resources[mine].file
            assert (row.sha256, row.attachment_uuid != file) == (stored.get(uids), True), brief(row)
            return
        if row.state == State.SUPERSEDED:
            others = [one for one in rows if uids_of(one) == uids and one.id != row.id]
            # The newest itself may be one that the store has other bytes in place of.
            newer = [one for one in others if one.received_at > row.received_at]
            gone = self._is_open_of_gone
            awaits_person = any(
                one.reason == "conflict" or gone(one.orthanc_id, [one]) for one in newer
            )
            confirmed = any(one.state == State.CONFIRMED for one in others)
            assert confirmed or awaits_person, brief(row)
            return
        assert row.state == State.QUARANTINED, brief(row)
        assert row.reason == "conflict", brief(row)
        assert not self.town.replaces, brief(row)
