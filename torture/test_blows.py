"""Random kills and random failures for a long time; then every instance is there, once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_clock import faketime, shift
from tests.support.mishaps import FAULTS, Killer, OrthancBlows, Patients, nothing_false
from tests.support.postgres import Postgres
from tests.support.site import Site

AGREE_EVERY = 50


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    server = Postgres()
    yield server.url
    server.remove()


def rules_of_failing(chance: random.Random) -> list[dict[str, Any]]:
    """Up to three, of the requests that come next."""
    rules = []
    for fault in chance.sample(FAULTS, k=chance.randint(0, 3)):
        method = chance.choice(("POST", "GET"))
        if method == "GET" and fault.keys() & {"lose", "refuse", "storeThenFail", "tokenDies"}:
            method = "POST"
        often = {"probability": chance.choice((0.1, 0.5, 1.0)), "count": chance.randint(1, 6)}
        rules.append({"method": method, **often, **fault})
    return rules


def test_blows(tmp_path: Path, blows: int, seed: int, database: str) -> None:
    print(f"\n{blows} blows, seed {seed}, {database or 'SQLite'}", flush=True)
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    began = time.monotonic()
    with Site(tmp_path, section={"Database": database} if database else None) as site:
        patients, killer = Patients(site), Killer(site, chance)
        site.wait_for_following()
        for blow in range(1, blows + 1):
            patients.arrive(chance.randint(1, 20), size=chance.choice((16, 64, 300, 900)))
            site.emulator.switch(
                faults=rules_of_failing(chance),
                seed=blow,
                bandwidth=chance.choice((None, None, 1_000_000, 10_000_000)),
                searchLag=chance.choice((0, 0, 0.5, 3)),
                latency=chance.choice((0, 0, 0.05)),
            )
            time.sleep(chance.uniform(0, 1.2))
            struck = killer.strike() if chance.random() < 0.7 else "rules only"
            nothing_false(site)
            if blow % 10 == 0:
                spent = time.monotonic() - began
                print(f"{spent:6.0f} s  blow {blow}: {struck}; {site.states()}", flush=True)
            if blow % AGREE_EVERY == 0 or blow == blows:
                site.emulator.switch(faults=[], bandwidth=None, searchLag=0, latency=0)
                patients.all_confirmed(wait=300)
        print(f"{len(patients.files)} instances confirmed; killed: {killer.kills}", flush=True)


def test_blows_to_orthanc(tmp_path: Path, blows: int, seed: int, database: str) -> None:
    """Renamed, restored, emptied, cleared, overwritten; its worker stopped, and its clock set."""
    print(f"\n{blows} blows to Orthanc, seed {seed}, {database or 'SQLite'}", flush=True)
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    began, clock = time.monotonic(), tmp_path / "clock"
    shift(clock, "+0")
    section = {"Database": database} if database else None
    account, orthanc = {"OnConflict": "Replace"}, {"OverwriteInstances": True}
    with Site(tmp_path, section=section, account=account, orthanc=orthanc) as site:
        site.wait_for_following()
        site.stop_worker()
        site.start_worker(**faketime(clock))
        life = OrthancBlows(site, chance, clock, several=bool(database))
        for blow in range(1, blows + 1):
            life.receive(chance.randint(1, 8), size=chance.choice((16, 64, 300)))
            site.emulator.switch(faults=rules_of_failing(chance), seed=blow)
            time.sleep(chance.uniform(0, 1.2))
            struck = life.strike()
            nothing_false(site)
            if blow % 10 == 0:
                spent = time.monotonic() - began
                print(f"{spent:6.0f} s  blow {blow}: {struck}; {site.states()}", flush=True)
            if blow % AGREE_EVERY == 0 or blow == blows:
                site.emulator.switch(faults=[])
                life.all_is_well()
        print(f"{site.states()}; {life.made}", flush=True)
