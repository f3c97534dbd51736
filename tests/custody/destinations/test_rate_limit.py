"""A rate limit holds for all workers together, by a clock that only waiting moves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from orthanc_gcp.custody.destinations.rate_limit import RateLimit


def test_workers_that_share_a_limit_from_its_first_use_on(ledger, clock):
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return True

    limits = [RateLimit(ledger, "n", 0.1, wait) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(limit.acquire, 1.0) for limit in limits]:
            done.result()
    # Each had its own ten seconds; only the first did not wait.
    assert ledger.key_values.get("rate_limit:n", float) == clock.now + 60
    assert len(waited) == 5
