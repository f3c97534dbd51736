"""A site under blows: what is received, what is killed, and what must be true in the end."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import sqlalchemy as sql

from tests.support.orthanc import wait_until
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
