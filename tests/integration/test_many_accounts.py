"""A thousand accounts: few threads, and nobody waits for a host that hangs."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.support import token_server as answers
from tests.support.keys import STORE, service_account, user_account, write
from tests.support.token_server import token


def threads(instance) -> int:
    return len(list(Path(f"/proc/{instance.pid}/task").iterdir()))


def start(orthanc, accounts):
    return orthanc({"GoogleCloudPlatform": {"Accounts": accounts}}, start=False)


@pytest.mark.timeout(240)
def test_a_thousand_accounts(orthanc, token_server, tmp_path):
    """All published within 30 s of the start, with an endpoint that takes 100 ms."""
    token_server.answer = answers.slow(0.1, token())
    file = write(tmp_path / "key.json", service_account(token_server.url))
    account = {**STORE, "ServiceAccountFile": file}
    one = start(orthanc, {"only": account})
    one.start()
    one.wait_for_servers("only")
    few = threads(one)
    one.stop()

    instance = start(orthanc, {f"account-{i:04}": account for i in range(1000)})
    instance.start()
    began = time.monotonic()
    most = 0
    while len(instance.json("GET", "/dicom-web/servers")) < 1000:
        assert time.monotonic() - began < 30
        most = max(most, threads(instance))
        time.sleep(0.05)
    assert most <= few + 20
    time.sleep(7)  # idle threads leave
    assert threads(instance) <= few + 20
    process = psutil.Process(instance.pid)
    before = process.cpu_times()
    time.sleep(10)
    after = process.cpu_times()
    assert (after.user + after.system - before.user - before.system) / 10 < 0.02


def test_hanging_hosts_change_nothing_for_the_others(orthanc, token_server):
    """More of them than there are workers, and first in the file."""
    base = token_server.url.removesuffix("/token")
    token_server.answers["/hanging"] = answers.hanging
    token_server.answer = token(lifetime=6)
    hanging = {f"a-hanging-{i}": user_account(f"{base}/hanging") for i in range(25)}
    healthy = {f"healthy-{i}": user_account(token_server.url) for i in range(20)}
    instance = start(orthanc, {**hanging, **healthy})
    instance.start()
    instance.wait_for_servers(*healthy, wait=15)
    time.sleep(10)
    asked = [moment for moment, path, _ in token_server.requests if path == "/token"]
    assert len(asked) >= 3 * len(healthy), "healthy accounts go on being renewed"
    assert set(instance.json("GET", "/dicom-web/servers")) == set(healthy)
