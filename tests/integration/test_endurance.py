"""Tokens over time: Orthanc asks the store five times a second and is never refused."""

from __future__ import annotations

import threading
import time

import pytest

from tests.integration.conftest import SERVER, to_store
from tests.support import token_server as answers
from tests.support.emulator import Emulator
from tests.support.orthanc import wait_until
from tests.support.token_server import TokenServer


class Asking:
    """A query every 200 ms, and when each one failed."""

    def __init__(self, orthanc) -> None:
        self.orthanc = orthanc
        self.count = 0
        self.failed: list[float] = []
        self.succeeded: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.2):
            answer = self.orthanc.request("POST", f"{SERVER}/get", {"Uri": "/studies"})
            self.count += 1
            (self.succeeded if answer.status == 200 else self.failed).append(time.monotonic())


@pytest.fixture
def short_lived(tmp_path):
    emulator = Emulator(tmp_path / "emulator", "--token-lifetime", "5")
    yield emulator
    emulator.stop()


@pytest.fixture
def asked(orthanc, short_lived, tmp_path):
    """Orthanc, and between it and the emulator's token endpoint one that can be out."""
    with TokenServer(answers.forward(short_lived.token_uri)) as endpoint:
        account = {
            "Project": "osimis-test",
            "Location": "europe-west2",
            "Dataset": "test",
            "DicomStore": "dicom",
            "ServiceAccountFile": str(short_lived.credentials / "service-account.json"),
            "TokenUri": endpoint.url,
        }
        configuration = to_store(account, short_lived, section={"Timeout": 2})
        del configuration["HttpsCACertificates"]
        instance = orthanc(configuration)
        instance.wait_for_servers("my-google")
        yield instance, endpoint


def wait_for_renewal(endpoint: TokenServer, seconds: float = 10) -> None:
    """Until the endpoint was asked once more."""
    before = len(endpoint.requests)
    until = time.monotonic() + seconds
    while len(endpoint.requests) == before:
        assert time.monotonic() < until, "no token was asked for"
        time.sleep(0.02)


def test_tokens_of_five_seconds(asked):
    """As in ``torture/test_long.py``, which goes on for minutes."""
    go_on(asked, 20)


def go_on(asked, seconds: float) -> None:
    """Ask for so long, and see a token renewed every one to four seconds."""
    instance, endpoint = asked
    with Asking(instance) as asking:
        time.sleep(seconds)
    assert asking.count > seconds * 3.3
    assert asking.failed == []
    assert seconds / 4 <= len(endpoint.requests) <= seconds


@pytest.mark.parametrize("fault", [answers.reset, answers.raw(b"", 503)])
def test_an_outage_shorter_than_the_lead(asked, fault):
    """The lead of a token of five seconds is 2.5 s, four fifths of it are certain."""
    instance, endpoint = asked
    working = endpoint.answer
    with Asking(instance) as asking:
        for _ in range(3):
            time.sleep(2)
            wait_for_renewal(endpoint)
            time.sleep(1)  # the next renewal falls into the outage, whenever this one came
            endpoint.answer = fault
            time.sleep(1.8)
            endpoint.answer = working
        time.sleep(5)
    assert asking.failed == []
    assert "no new token" in instance.log


@pytest.mark.parametrize("fault", [answers.reset, answers.hanging])
def test_recovery_after_a_longer_outage(asked, fault):
    instance, endpoint = asked
    working = endpoint.answer
    with Asking(instance) as asking:
        endpoint.answer = fault
        time.sleep(12)
        endpoint.answer = working
        back = time.monotonic()
        endpoint.closing.set()  # lets go of the requests that hang
        wait_until(lambda: any(moment > back for moment in list(asking.succeeded)), 15)
        time.sleep(6)  # longer than a token lives
    assert asking.failed, "the outage was longer than the token's life"
    first = min(moment for moment in asking.succeeded if moment > back)
    pauses = 8 if fault is answers.reset else 10
    assert first - back < 2 + pauses
    assert not [moment for moment in asking.failed if moment > first]
    assert "recovered after" in instance.log


def test_the_endpoint_comes_up_after_orthanc(orthanc, short_lived):
    """No 59 s without a server because the network was not up when Orthanc started."""
    user = short_lived.user
    with TokenServer(answers.raw(b"", 503)) as endpoint:
        account = {
            "Project": "osimis-test",
            "Location": "europe-west2",
            "Dataset": "test",
            "DicomStore": "dicom",
            "AuthorizedUserClientId": user["client_id"],
            "AuthorizedUserClientSecret": user["client_secret"],
            "AuthorizedUserRefreshToken": user["refresh_token"],
            "TokenUri": endpoint.url,
        }
        configuration = to_store(account, short_lived)
        del configuration["HttpsCACertificates"]
        instance = orthanc(configuration)
        time.sleep(2)
        endpoint.answer = answers.forward(short_lived.token_uri)
        instance.wait_for_servers("my-google", wait=6)
