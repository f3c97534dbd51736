"""A site under blows: what is received, what is killed, and what must be true in the end."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sql

from orthanc_gcp.ledger import database
from tests.integration.test_clock import faketime, shift
from tests.support.orthanc import wait_until
from tests.support.sent import changed, dataset
from tests.support.site import Site, make_study

FAULTS = (
    {"status": 500},
    {"status": 500, "html": True},
    {"status": 502, "html": True},
    {"status": 503, "retryAfter": 1},
    {"status": 504, "readBody": False},
    {"status": 429},
    {"status": 429, "retryAfter": 1},
    {"status": 408},
    {"status": 401},
    {"status": 403},
    {"status": 404},
    {"cut": "reset"},
    {"cut": "reset", "readBody": False},
    {"cut": "resetRequest"},
    {"cut": "resetRequest", "afterBytes": 1000},
    {"cut": "truncate"},
    {"cut": "resetAnswer"},
    {"cut": "truncate", "afterBytes": 0},
    {"lose": "all"},
    {"lose": 0.5},
    {"refuse": "all"},
    {"refuse": 0.5},
    {"storeThenFail": True, "status": 500},
    {"storeThenFail": True, "cut": "reset"},
    {"tokenDies": True},
    {"delay": 0.5},
)
"""Every way of failing that ends by itself; to be given a ``count`` or a ``probability``."""


class Patients:
    """Instances that Orthanc has received, and the bytes that it must not lose."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.files: dict[str, bytes] = {}  # by Orthanc's identifier

    def arrive(self, instances: int, **more: int) -> list[str]:
        """Send a study of random pixels to Orthanc."""
        files = make_study(instances=instances, **more)
        new = {self._site.upload(file): file for file in files}
        self.files |= new
        return list(new)

    def all_confirmed(self, wait: float = 90) -> None:
        """Wait for the end, and see that store, Orthanc and ledger agree to the byte."""
        self._site.wait_for(wait, confirmed=len(self.files))
        stored = self._site.stored()  # each once
        assert sorted(stored.values()) == sorted(self.files.values())
        rows = self._site.rows()
        assert {row.orthanc_id for row in rows} == self.files.keys()
        assert {row.sop_instance_uid for row in rows} == stored.keys()
        assert all(sha256(stored[row.sop_instance_uid]) == row.sha256 for row in rows)


def sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def in_the_store(folder: Path) -> set[str]:
    """The SOP Instance UIDs that an emulator has, whatever it answers just now."""
    index = sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro", uri=True, timeout=10)
    try:
        return {uid for (uid,) in index.execute("SELECT uid FROM instances")}
    finally:
        index.close()


def confirmed(site: Site) -> set[str]:
    """The SOP Instance UIDs that the ledger calls confirmed."""
    try:
        return {row.sop_instance_uid for row in site.rows() if row.state == "confirmed"}
    except sql.exc.DBAPIError:
        return set()


def nothing_false(site: Site) -> None:
    """Whatever is called confirmed is in the store: the ledger is read first."""
    false = confirmed(site) - in_the_store(site.emulator.folder)
    assert not false, f"confirmed, and not in the store: {false}"


def wait_truly(site: Site, wait: float = 90, **states: int) -> None:
    """Until the ledger has these states, while nothing false is ever called confirmed."""

    def reached() -> bool:
        nothing_false(site)
        return site.states() == states

    wait_until(reached, wait, lambda: f"{site.states()} is not {states}:\n{site.log()[-6000:]}")


def copy_database(of: Path, to: Path) -> None:
    """The same pages, whatever was there; while nobody uses the other."""
    with closing(sqlite3.connect(of)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


class Killer:
    """Ends processes with ``kill -9`` and starts them again, by chance."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site, self._chance = site, chance
        self.kills: dict[str, int] = dict.fromkeys(("worker", "orthanc", "emulator"), 0)

    def strike(self) -> str:
        """Kill one, or two at once."""
        victims = self._chance.sample(sorted(self.kills), k=self._chance.choice((1, 1, 1, 2)))
        for victim in victims:
            self.kills[victim] += 1
            getattr(self, f"_kill_{victim}")()
        for victim in victims:
            getattr(self, f"_start_{victim}")()
        return "+".join(victims)

    def _kill_worker(self) -> None:
        self._site.kill_worker()

    def _start_worker(self) -> None:
        self._site.start_worker()

    def _kill_orthanc(self) -> None:
        self._site.orthanc.kill()

    def _start_orthanc(self) -> None:
        self._site.orthanc.start()

    def _kill_emulator(self) -> None:
        self._site.emulator.kill()

    def _start_emulator(self) -> None:
        self._site.emulator.start()


FINAL = {"confirmed", "superseded", "withdrawn", "lost", "dismissed"}


class OrthancBlows:
    """What happens to an Orthanc, to its index and to the worker beside it, by chance.

    Parameters
    ----------
    clock
        The file that says by how much the worker's clock is off.
    several
        Whether the ledger is for several workers.
    """

    def __init__(self, site: Site, chance: random.Random, clock: Path, *, several: bool) -> None:
        self._site, self._chance, self._clock, self._several = site, chance, clock, several
        self._received: list[tuple[str, bytes]] = []
        self._backup: Path | None = None
        self._former_ledger = site.folder / "former.sqlite"
        self._blows: list[Callable[[], None]] = [
            self.rename,
            self.back_up,
            self.restore,
            self.clear_changes,
            self.delete_a_patient,
            self.overwrite_unseen,
            self.empty_volume_for_a_while,
            self.worker_stands_still,
            self.set_clock,
        ]
        if several:
            self._blows += [self.second_worker, self.second_worker]
        else:
            self._blows.append(self.power_cut)
            self._copy_ledger()
        self.made: dict[str, int] = {}

    def receive(self, instances: int, **more: int) -> None:
        """Send a study of a patient of its own to Orthanc."""
        patient = f"P{len(self._received)}"
        for file in make_study(instances=instances, **more):
            content = changed(file, PatientID=patient)
            self._received.append((self._site.upload(content), content))

    def strike(self) -> str:
        """Let one of them happen."""
        blow = self._chance.choice(self._blows)
        blow()
        if not self._several:
            self._copy_ledger()
        self.made[blow.__name__] = self.made.get(blow.__name__, 0) + 1
        return blow.__name__

    def rename(self) -> None:
        self._site.orthanc.stop()
        file = self._site.orthanc.configuration_file
        name = f"hospital-{self._chance.randrange(1000)}"
        file.write_text(json.dumps({**json.loads(file.read_text()), "Name": name}))
        self._site.orthanc.start()

    def back_up(self) -> None:
        self._backup = self._site.folder / "backup"
        shutil.rmtree(self._backup, ignore_errors=True)
        self._backup.mkdir()
        self._site.orthanc.stop()
        for place in self._own():
            copy = shutil.copytree if place.is_dir() else shutil.copy2
            copy(place, self._backup / place.name)
        self._site.orthanc.start()

    def restore(self) -> None:
        """What was received since is gone."""
        if self._backup is None:
            return
        self._site.orthanc.stop()
        for place in self._own():
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        for place in self._backup.iterdir():
            copy = shutil.copytree if place.is_dir() else shutil.copy2
            copy(place, self._storage / place.name)
        self._site.orthanc.start()

    def clear_changes(self) -> None:
        self._site.orthanc.request("DELETE", "/changes")

    def delete_a_patient(self) -> None:
        patients = self._site.orthanc.json("GET", "/patients")
        if patients:
            self._site.orthanc.request("DELETE", f"/patients/{self._chance.choice(patients)}")

    def overwrite_unseen(self) -> None:
        """While no worker is there; only the pixels are others."""
        for name in list(self._site.workers):
            self._site.kill_worker(name)
        there = set(self._site.orthanc.json("GET", "/instances"))
        old = [content for name, content in self._received if name in there]
        for content in self._chance.sample(old, k=min(3, len(old))):
            new = bytearray(content)
            new[-1 - self._chance.randrange(16)] ^= 1 + self._chance.randrange(255)
            self._received.append((self._site.upload(bytes(new)), bytes(new)))
        self._site.start_worker(**faketime(self._clock))

    def empty_volume_for_a_while(self) -> None:
        aside = self._site.folder / "aside"
        aside.mkdir()
        self._site.orthanc.stop()
        own = self._own()
        for place in own:
            place.rename(aside / place.name)
        self._site.orthanc.start()
        time.sleep(self._chance.choice((1, 4, 15)))
        self._site.orthanc.stop()
        for place in self._own():
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        for place in list(aside.iterdir()):
            place.rename(self._storage / place.name)
        aside.rmdir()
        self._site.orthanc.start()

    def worker_stands_still(self) -> None:
        for process in self._site.workers.values():
            process.send_signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(0, 4))
        for process in self._site.workers.values():
            process.send_signal(signal.SIGCONT)

    def power_cut(self) -> None:
        """The ledger's last transactions are lost, and nothing of Orthanc and the store."""
        for name in list(self._site.workers):
            self._site.kill_worker(name)
        copy_database(self._former_ledger, self._ledger_file)
        self._site.start_worker(**faketime(self._clock))

    def _copy_ledger(self) -> None:
        copy_database(self._ledger_file, self._former_ledger)

    def set_clock(self) -> None:
        """By less than what a token endpoint minds."""
        shift(self._clock, self._chance.choice(("+0", "+2m", "-2m")))

    def second_worker(self) -> None:
        if "other" in self._site.workers:
            self._site.kill_worker("other")
        else:
            self._site.start_worker("other", **faketime(self._clock))

    @property
    def _ledger_file(self) -> Path:
        return self._storage / database.FILE_NAME

    @property
    def _storage(self) -> Path:
        return self._site.orthanc.folder / "storage"

    def _own(self) -> list[Path]:
        """What is Orthanc's in its storage folder, and not the ledger."""
        return [one for one in self._storage.iterdir() if not one.name.startswith("orthanc-gcp")]

    def all_is_well(self, wait: float = 420) -> None:
        """Wait for the end: what Orthanc has is confirmed to the byte, and nothing is open."""
        site = self._site
        if "worker" not in site.workers:
            site.start_worker(**faketime(self._clock))
        there = {
            name: site.orthanc.request("GET", f"/instances/{name}/file").data
            for name in site.orthanc.json("GET", "/instances")
        }

        def open_rows() -> list[str]:
            rows = {row.orthanc_id: row for row in site.rows()}
            wrong = [
                f"{name} {row and (row.state, row.reason, row.detail)}"
                for name, content in there.items()
                for row in [rows.get(name)]
                if row is None or row.state != "confirmed" or row.sha256 != sha256(content)
            ]
            gone = [row for name, row in rows.items() if name not in there]
            return wrong + [
                f"gone: {row.orthanc_id} {row.state} {row.reason} {row.detail}"
                for row in gone
                if row.state not in FINAL and row.reason not in ("lost", "damaged_file")
            ]

        wait_until(lambda: not open_rows(), wait, lambda: f"{open_rows()}\n{site.log()[-6000:]}")
        nothing_false(site)
        stored = site.stored()
        for name, content in there.items():
            uid = str(dataset(content).SOPInstanceUID)
            assert stored[uid] == content, f"the store has other bytes of {name}"
