"""The metadata service of EC2, asked by hand as google-auth asks it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import urllib3

from orthanc_gcp.emulator.server import Emulator

CREDENTIALS = "/latest/meta-data/iam/security-credentials"


class Machine:
    """A virtual machine that asks about itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = urllib3.PoolManager(retries=False, timeout=10)
        self.session = self.ask("/latest/api/token", "PUT", "").data.decode()

    def ask(
        self, path: str, verb: str = "GET", session: str | None = None
    ) -> urllib3.BaseHTTPResponse:
        token = self.session if session is None else session
        headers = {"X-aws-ec2-metadata-token": token} if token else {}
        return self.pool.request(verb, self.url + path, headers=headers)


@pytest.fixture
def machine(shared_emulator: Emulator) -> Iterator[Machine]:
    machine = Machine(shared_emulator.url)
    yield machine
    machine.pool.clear()


def test_where_the_machine_is(machine: Machine) -> None:
    answer = machine.ask("/latest/meta-data/placement/availability-zone")
    assert (answer.status, answer.data) == (200, b"eu-west-2a")


def test_credentials_of_its_role(machine: Machine) -> None:
    role = machine.ask(CREDENTIALS).data.decode()
    assert machine.ask(f"{CREDENTIALS}/").data.decode() == role
    given = machine.ask(f"{CREDENTIALS}/{role}").json()
    assert (given["Code"], given["Type"]) == ("Success", "AWS-HMAC")
    assert given["AccessKeyId"].startswith("ASIA")
    assert given["SecretAccessKey"]
    assert given["Token"]
    assert datetime.fromisoformat(given["Expiration"]) > datetime.now(UTC)


@pytest.mark.parametrize("session", ["wrong", "é", ""])
def test_a_request_without_the_sessions_token(machine: Machine, session: str) -> None:
    answer = machine.ask(CREDENTIALS, session=session.encode().decode("latin-1"))
    assert (answer.status, answer.data) == (401, b"Unauthorized")


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/latest/meta-data/hostname"),
        ("GET", f"{CREDENTIALS}/other"),
        ("POST", CREDENTIALS),
        ("PUT", CREDENTIALS),
    ],
)
def test_what_there_is_not(machine: Machine, verb: str, path: str) -> None:
    assert machine.ask(path, verb).status == 404
