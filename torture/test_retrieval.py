"""Retrievals under random kills and failures, and of what is larger than memory should be."""

# ruff: noqa: S101

from __future__ import annotations

import random
import time
from pathlib import Path

import psutil

from tests.retrieval.test_retriever import ended, in_orthanc, retrieve, rows_of, store, uids
from tests.support.mishaps import Killer
from tests.support.site import Site, make_instance, make_study

FAULTS = (
    {"status": 503},
    {"status": 429, "retryAfter": 1},
    {"status": 500, "html": True},
    {"cut": "reset"},
    {"cut": "truncate", "afterBytes": 1000},
    {"cut": "resetAnswer"},
    {"delay": 0.5},
)
"""Every way of failing that says nothing of an instance."""
MOST_BLOWS = 20
"""All has come back by then, however many are wanted."""


def test_whatever_is_killed_all_comes_back_and_nothing_is_sent(
    tmp_path: Path, blows: int, seed: int
) -> None:
    print(f"\n{blows} blows, seed {seed}", flush=True)
    chance = random.Random(seed)  # noqa: S311
    with Site(tmp_path, listen=True) as site:
        site.wait_for_api()
        site.wait_for_following()
        studies = [make_study(2, 10, size=chance.choice((16, 600))) for _ in range(6)]
        for study in studies:
            store(site, *study)
        numbers = retrieve(site, *(uids(study[0])[:1] for study in studies))
        killer = Killer(site, chance)
        for _ in range(min(blows, MOST_BLOWS)):
            rules = [
                {"method": "GET", "probability": 0.3, "count": 4, **fault}
                for fault in chance.sample(FAULTS, k=2)
            ]
            site.emulator.switch(faults=rules)
            time.sleep(chance.uniform(0.1, 1.5))
            killer.strike()
            site.wait_for_api()
        site.emulator.switch(faults=[])
        for number in numbers:
            found = ended(site, number, 180)
            assert (found["State"], found["Instances"]) == ("complete", 20), found
        files = [file for study in studies for file in study]
        assert sorted(in_orthanc(site, files)) == sorted(files)
        time.sleep(3)
        assert not [row for row in rows_of(site, files) if row.acknowledged_at or row.batch]
        assert {row.reason for row in rows_of(site, files)} == {"retrieved"}


def test_a_large_instance_is_never_in_memory(tmp_path: Path) -> None:
    with Site(tmp_path, rules=(), listen=True) as site:
        site.wait_for_api()
        site.wait_for_following()
        file = make_instance(size=32000)  # 1 GB
        store(site, file)
        study = uids(file[:5000] + file[-1:])[:1]
        (number,) = retrieve(site, study)
        most = 0
        process = psutil.Process(site.workers["worker"].pid)
        deadline = time.monotonic() + 170
        while time.monotonic() < deadline:
            most = max(most, process.memory_info().rss)
            status, answer = site.api("GET", f"/gcp/accounts/google/retrievals?id={number}")
            if status == 200 and answer["Retrievals"][0]["Ended"]:
                break
            time.sleep(0.2)
        assert answer["Retrievals"][0]["State"] == "complete", answer
        assert most < 250 << 20
