"""kill -9 of worker, Orthanc and store at random moments: nothing is lost, nothing is doubled."""

from __future__ import annotations

import random
import time

import pytest

from tests.support.mishaps import Killer, Patients, nothing_false
from tests.support.site import Site

KILLS = 12


@pytest.mark.long
def test_kills_at_random_moments(tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Site(tmp_path) as site:
        patients, killer = Patients(site), Killer(site, chance)
        site.wait_for_following()
        for _ in range(KILLS):
            # Requests that last are the ones to be hit in the middle.
            site.emulator.switch(bandwidth=chance.choice((None, 2_000_000, 10_000_000)))
            patients.arrive(chance.randint(1, 25), size=chance.choice((64, 300, 900)))
            time.sleep(chance.uniform(0, 0.8))
            killer.strike()
            nothing_false(site)
        site.emulator.switch(bandwidth=None)
        assert sum(killer.kills.values()) >= KILLS
        patients.all_confirmed()
