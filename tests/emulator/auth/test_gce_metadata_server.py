"""The metadata server, asked by hand: its rules, and which tokens it hands out again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import google.auth.jwt
import pytest
import urllib3

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import STORE
from tests.emulator.conftest import Clock
from tests.emulator.processes import running

FLAVOR = {"Metadata-Flavor": "Google"}
ACCOUNT = "orthanc@osimis-test.iam.gserviceaccount.com"
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"


class Machine:
    """A workload that asks where it runs."""

    def __init__(self, host: str) -> None:
        self.pool = urllib3.PoolManager(retries=False, timeout=10)
        self.host = host

    def get(
        self, path: str, headers: dict[str, str] | None = None, **query: str
    ) -> urllib3.BaseHTTPResponse:
        asked = FLAVOR if headers is None else headers
        return self.pool.request("GET", f"http://{self.host}{path}", fields=query, headers=asked)

    def token(self, **query: str) -> tuple[str, int]:
        body = self.get(TOKEN, **query).json()
        assert set(body) == {"access_token", "expires_in", "token_type"}
        return body["access_token"], body["expires_in"]


@pytest.fixture
def machine(emulator: Emulator) -> Iterator[Machine]:
    machine = Machine(str(emulator.metadata_host))
    yield machine
    machine.pool.clear()


def test_who_is_there(machine: Machine) -> None:
    for path in ("/", "/computeMetadata/v1/project/project-id"):
        answer = machine.get(path)
        assert (answer.status, answer.headers["metadata-flavor"]) == (200, "Google")


@pytest.mark.parametrize("entry", ["", "email", "scopes", "aliases"])
@pytest.mark.parametrize("name", ["default", ACCOUNT])
def test_an_account_by_either_name(machine: Machine, name: str, entry: str) -> None:
    path = f"/computeMetadata/v1/instance/service-accounts/{name}/{entry}"
    answer = machine.get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/text")
    assert {"": "token", "email": ACCOUNT, "scopes": "cloud-platform", "aliases": "default"}[
        entry
    ] in answer.data.decode()


def test_an_account_as_a_whole(machine: Machine) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/"
    answer = machine.get(path, recursive="true")
    assert answer.headers["content-type"] == "application/json"
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    assert answer.json() == {"aliases": ["default"], "email": ACCOUNT, "scopes": scopes}


def listing(machine: Machine, path: str) -> list[str]:
    answer = machine.get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/text")
    return answer.data.decode().splitlines()


def test_directories(machine: Machine) -> None:
    root = "/computeMetadata/v1/"
    assert listing(machine, "/") == ["computeMetadata/"]
    assert listing(machine, "/computeMetadata/") == ["v1/"]
    assert listing(machine, root) == ["instance/", "project/", "universe/"]
    assert "service-accounts/" in listing(machine, f"{root}instance/")
    accounts = ["default/", f"{ACCOUNT}/"]
    assert listing(machine, f"{root}instance/service-accounts/") == accounts
    assert listing(machine, f"{root}project/attributes/") == []
    entries = ["aliases", "email", "identity", "scopes", "token"]
    assert listing(machine, f"{root}instance/service-accounts/default/") == entries


def test_a_directory_without_its_slash_is_found_by_who_follows(machine: Machine) -> None:
    """So gcp-metadata of npm finds out that it runs at Google."""
    path = "/computeMetadata/v1/instance"
    url = f"http://{machine.host}{path}"
    bare = machine.pool.request("GET", url, headers=FLAVOR, redirect=False)
    assert (bare.status, bare.headers["location"]) == (301, f"{path}/")
    assert bare.headers["metadata-flavor"] == "Google"
    answer = machine.pool.request("GET", url, headers=FLAVOR, redirect=True, retries=1)
    assert (answer.status, answer.headers["metadata-flavor"]) == (200, "Google")
    asked = f"{url}/service-accounts?recursive=true"
    answer = machine.pool.request("GET", asked, headers=FLAVOR, redirect=True, retries=1)
    assert answer.json()["default"]["email"] == ACCOUNT
    for path in ("//evil.example", "/computeMetadata//evil.example"):
        assert machine.get(path).status == 404


def test_everything_at_once(machine: Machine) -> None:
    """Without tokens; the client library of Java reads its account so."""
    whole = machine.get("/computeMetadata/v1/", recursive="true").json()
    account = {
        "aliases": ["default"],
        "email": ACCOUNT,
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }
    assert whole["instance"]["serviceAccounts"] == {"default": account, ACCOUNT: account}
    number = whole["project"]["numericProjectId"]
    assert isinstance(number, int)
    assert whole["project"]["projectId"] == "osimis-test"
    assert whole["instance"]["zone"] == f"projects/{number}/zones/europe-west2-a"
    assert machine.get("/computeMetadata/v1/project/numeric-project-id").data == b"%d" % number


def test_json_of_a_single_value(machine: Machine) -> None:
    path = "/computeMetadata/v1/universe/universe-domain"
    assert machine.get(path).data == b"googleapis.com"
    answer = machine.get(path, alt="json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == "googleapis.com"


@pytest.mark.parametrize(
    "path",
    [
        "/computeMetadata/v1/project/project-id/",
        "/computeMetadata/v1/project/project-id/more",
        "/computeMetadata/v1//project/project-id",
        "/computeMetadata/v1/instance/disks/",
        "/computeMetadata/v1/instance/service-accounts/other@example/token",
        "/computeMetadata/v1/instance/service-accounts/default/nothing",
        "/computeMetadata/v2/project/project-id",
    ],
)
def test_what_there_is_not(machine: Machine, path: str) -> None:
    assert machine.get(path).status == 404


def test_requests_that_are_not_meant_for_it(machine: Machine) -> None:
    assert machine.get(TOKEN, {}).status == 403
    assert machine.get(TOKEN, {"Metadata-Flavor": "Other"}).status == 403
    assert machine.get(TOKEN, {**FLAVOR, "X-Forwarded-For": "192.0.2.1"}).status == 403
    url = f"http://{machine.host}{TOKEN}"
    assert machine.pool.request("POST", url, headers=FLAVOR).status == 404
    assert b"Error 404 (Not Found)!!1" in machine.get("/x", {}).data


def test_the_same_token_until_shortly_before_its_end(machine: Machine, clock: Clock) -> None:
    first, expires_in = machine.token()
    assert expires_in == 3599
    clock.offset = 3290
    again, left = machine.token()
    assert again == first
    assert 305 <= left <= 310
    clock.offset = 3301
    other, left = machine.token()
    assert other != first
    assert left == 3599


def test_tokens_of_a_short_life_are_shared_for_most_of_it(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    clock = Clock()
    with Emulator(Options(tmp_path, token_lifetime=20), clock) as emulator:
        machine = Machine(str(emulator.metadata_host))
        first, _ = machine.token()
        clock.offset = 17
        assert machine.token()[0] == first
        clock.offset = 18.5
        assert machine.token()[0] != first
        machine.pool.clear()


def test_other_scopes_are_another_token(machine: Machine, emulator: Emulator) -> None:
    pubsub = "https://www.googleapis.com/auth/pubsub"
    token, _ = machine.token(scopes=f"{pubsub},openid")
    assert token == machine.token(scopes=f"{pubsub},openid")[0] != machine.token()[0]
    answer = machine.pool.request(
        "GET",
        f"{emulator.url}/v1/{STORE}/dicomWeb/studies",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status == 403


def test_an_identity_token(machine: Machine) -> None:
    path = TOKEN.replace("/token", "/identity")
    answer = machine.get(path, audience="https://example.org", format="full")
    claims = google.auth.jwt.decode(answer.data, verify=False)
    assert (claims["aud"], claims["email"]) == ("https://example.org", ACCOUNT)
    assert machine.get(path).status == 400


def test_a_machine_without_one(machine: Machine, emulator: Emulator) -> None:
    emulator.fault_settings.change(metadata=False)
    for path in ("/", TOKEN):
        answer = machine.get(path)
        assert answer.status == 404
        assert "metadata-flavor" not in answer.headers


def test_a_port_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path, "--tls", "--metadata-port", "0") as process:
        machine = Machine(process.metadata_host)
        token, _ = machine.token()
        assert machine.get("/v1/token").status == 404
        pool = urllib3.PoolManager(retries=False, ca_certs=str(tmp_path / "ca.pem"))
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{process.url}/v1/{STORE}/dicomWeb/studies"
        assert pool.request("GET", url, headers=headers).status == 204
        assert pool.request("GET", f"{process.url}{TOKEN}", headers=FLAVOR).status == 404
        machine.pool.clear()
        pool.clear()


def test_no_metadata_over_tls(tmp_path: Path, identities: Path) -> None:
    shutil.copy(identities, tmp_path)
    with Emulator(Options(tmp_path, tls=True)) as emulator:
        assert emulator.metadata_host is None
