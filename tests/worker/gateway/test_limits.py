"""What the gateway reads counts as what the workers send."""

from __future__ import annotations

import pytest

from orthanc_gcp.configuration import read
from orthanc_gcp.custody.destinations.rate_limit import byte_limit
from orthanc_gcp.gateway.retrieve.limits import Bookings, Limits
from orthanc_gcp.worker.gateway.limits import limits_of
from tests.support.keys import STORE


def settings(**caps):
    accounts = {"capped": {**STORE, "ServiceAccountFile": "k.json", **caps}}
    return read({"GoogleCloudPlatform": {"Accounts": accounts}})


def test_without_caps():
    assert limits_of(settings(), Bookings(None))("capped", lambda _: False) == Limits()


@pytest.mark.parametrize("shared", [True, False])
def test_the_gateway_and_the_workers_share_a_cap(ledger, shared):
    found = settings(MaxBytesPerSecond=1000, MaxRequestsPerMinute=60)
    waited = []

    def wait(seconds):
        waited.append(seconds)
        return True

    of = limits_of(found, Bookings(ledger if shared else None))
    first, second = of("capped", wait), of("capped", wait)
    first.requests.acquire()
    first.bytes.for_one_request()(5000)
    assert waited == []
    second.bytes.for_one_request()(10)
    second.requests.acquire()
    assert waited == pytest.approx([1.0, 1.0], abs=0.2)
    (account,) = found.accounts
    worker = byte_limit(account, ledger, wait)
    worker.acquire(1)
    assert len(waited) == (3 if shared else 2)
