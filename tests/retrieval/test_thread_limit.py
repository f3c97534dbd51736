"""No thread can be started for a while, as at a limit of tasks: then all goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from orthanc_gcp.ledger.retrievals.rows import Resource
from tests.retrieval.simulation import Trial, uids_of
from tests.retrieval.test_prefetch import Fetching
from tests.support.orthanc import wait_until
from tests.support.site import make_study
from tests.support.threads import without_threads


@pytest.mark.parametrize("name", ["gcp-retrieve-account", "gcp-retrieve-look"])
def test_a_retrieval_waits(sqlite_ledger, clock, name):
    files = make_study(1, 20, size=16)
    trial = Trial(sqlite_ledger, clock, *files, pool=ThreadPoolExecutor)
    (number,) = trial.want(Resource(uids_of(files[0])[0]))
    with without_threads(name):
        refused = 0
        while refused < 5:
            try:
                trial.step()
            except RuntimeError:
                refused += 1
    assert trial.report(number).row.state == "waiting"
    wait_until(lambda: trial.step() or trial.report(number).row.ended_at)
    wait_until(lambda: not trial.step() and trial.report(number).row.ended_at)
    assert trial.report(number).counts == {"received": 20}
    assert trial.store.requests["retrieve"] == 1
    assert trial.retriever.rest(0)


def test_what_comes_together_is_given_all_the_same(sqlite_ledger, clock):
    files = make_study(1, 20, size=16)
    trial = Trial(sqlite_ledger, clock, *files, pool=ThreadPoolExecutor)
    (number,) = trial.want(Resource(uids_of(files[0])[0]))
    with without_threads("gcp-retrieve-upload"):
        wait_until(lambda: not trial.step() and trial.report(number).row.ended_at)
    assert trial.report(number).counts == {"received": 20}
    assert trial.store.requests["retrieve"] == 1


def test_priors_wait(sqlite_ledger, clock):
    fetching = Fetching(sqlite_ledger, clock, pool=ThreadPoolExecutor)
    fetching.store.add("1.2015", "20150101")
    with without_threads("gcp-prefetch"):
        for _ in range(3):
            with suppress(RuntimeError):
                fetching.receive()
    wait_until(lambda: fetching.prefetcher.step() or fetching.wanted())
    wait_until(lambda: fetching.wanted() == ["1.2015"])
