"""What a store receives, under random kills and failures."""

# ruff: noqa: S101

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.integration.test_receive import (
    receiving_site,
    wait_for,
    wait_for_all_acknowledged,
)
from tests.retrieval.test_retriever import rows_of, store
from tests.support.mishaps import Killer
from tests.support.site import make_study
from torture.test_retrieval import FAULTS

MOST_BLOWS = 20


def test_whatever_is_killed_all_is_received_and_nothing_goes_round(
    tmp_path: Path, blows: int, seed: int
) -> None:
    print(f"\n{blows} blows, seed {seed}", flush=True)
    chance = random.Random(seed)  # noqa: S311
    theirs: list[bytes] = []
    own: list[bytes] = []
    with receiving_site(tmp_path) as site:
        site.wait_for_api()
        site.wait_for_following()
        killer = Killer(site, chance)
        for number in range(min(blows, MOST_BLOWS)):
            site.emulator.switch(faults=[])
            theirs += (new := make_study(1, 8, size=chance.choice((16, 400)), patient=f"P{number}"))
            store(site, *new)
            own += (mine := make_study(1, 3, size=16, patient=f"P-own-{number}"))
            for file in mine:
                site.upload(file)
            rules = [
                {"method": "GET", "probability": 0.3, "count": 4, **fault}
                for fault in chance.sample(FAULTS, k=2)
            ]
            site.emulator.switch(faults=rules)
            time.sleep(chance.uniform(0.1, 1.5))
            killer.strike()
            site.wait_for_api()
        site.emulator.switch(faults=[])
        wait_for(site, theirs, 180)
        # What was held by those who died is delivered again when its time is over.
        site.emulator.switch(clockOffset=300)
        wait_for_all_acknowledged(site, 120)
        wait_for(site, theirs)
        time.sleep(3)
        rows = rows_of(site, theirs)
        assert {row.reason for row in rows} == {"retrieved"}
        assert not [row for row in rows if row.acknowledged_at or row.batch]
        assert {row.state for row in rows_of(site, own)} == {"confirmed"}
        assert not [row for row in rows_of(site, own) if row.reason == "retrieved"]
