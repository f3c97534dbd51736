"""Each fault of docs/troubleshooting.md is made, and ``orthanc-gcp check`` must name it.

The table in the document is what is tested: the failed check, its cause and its remedy.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orthanc_gcp.plugin import script
from tests.support import keys
from tests.support import token_server as answers
from tests.support.certificates import Authority
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.keys import STORE, write
from tests.support.orthanc import DICOMWEB, PYTHON, free_port
from tests.support.proxy import Proxy
from tests.support.token_server import TokenServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
ROW = r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \| `([^`]+)` \| `([^`]+)` \|$"
FAULTS = {row[0]: row[2:] for row in re.findall(ROW, DOCUMENT.read_text(), re.MULTILINE)}


@dataclass
class Case:
    """A fault in the making: what to change, and what to undo."""

    google: Emulator
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    account: dict[str, Any]
    section: dict[str, Any]
    whole: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    closing: list[Any] = field(default_factory=list)

    def key(self, **changes: Any) -> dict[str, Any]:
        key = json.loads((self.google.credentials / "service-account.json").read_text())
        return {**key, **changes}

    def credential(self, name: str, content: Any, option: str = "ServiceAccountFile") -> None:
        path = self.folder / name
        write(path, content)
        path.chmod(0o600)
        self.account.pop("ServiceAccountFile", None)
        self.account[option] = str(path)

    def user(self) -> None:
        self.account.pop("ServiceAccountFile")
        self.account["AuthorizedUserFile"] = str(self.google.credentials / "authorized-user.json")
        self.account["TokenUri"] = self.google.token_uri

    def token_endpoint(self, answer: answers.Answer) -> None:
        server = TokenServer(answer)
        self.closing.append(server)
        self.account["TokenUri"] = server.url

    def tls_server(self, days: int = 1) -> Authority:
        """Something on the way that speaks TLS in the place of Google."""
        authority = Authority(self.folder)
        server = TokenServer()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("127.0.0.1", days))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.closing.append(server)
        self.section["BaseUrl"] = f"https://127.0.0.1:{server.port}/v1"
        return authority

    def https(self) -> None:
        self.section["BaseUrl"] = "https://localhost:1/v1"


def account_deleted(case: Case) -> None:
    case.credential("key.json", case.key(client_email="gone@osimis-test.iam.gserviceaccount.com"))


def authority_unknown(case: Case) -> None:
    case.tls_server()


def certificate_expired(case: Case) -> None:
    case.whole["HttpsCACertificates"] = str(case.tls_server(days=-3).file)


def proxy_refuses(case: Case) -> None:
    proxy = Proxy(credentials="user:right")
    case.closing.append(proxy)
    case.https()
    case.whole["HttpProxy"] = f"http://user:wrong@127.0.0.1:{proxy.port}"


def proxy_absent(case: Case) -> None:
    case.https()
    case.whole["HttpProxy"] = f"127.0.0.1:{free_port()}"


def authorities_missing(case: Case) -> None:
    case.tls_server()
    case.whole["HttpsCACertificates"] = "nowhere.pem"


def key_old(case: Case) -> None:
    case.credential("key.json", case.key())
    long_ago = time.time() - 91 * 86400
    os.utime(case.account["ServiceAccountFile"], (long_ago, long_ago))


def file_open_to_all(case: Case) -> None:
    case.credential("key.json", case.key())
    Path(case.account["ServiceAccountFile"]).chmod(0o644)


def file_of_another_type(case: Case) -> None:
    case.credential("user.json", {"type": "authorized_user", **keys.USER})


def key_of_another_project(case: Case) -> None:
    """A stranger: only somebody else has a role on the store."""
    policy = {"bindings": [{"role": "roles/healthcare.dicomEditor", "members": ["user:other@x.y"]}]}
    case.google.call("POST", f"{STORE_PATH}:setIamPolicy", {"policy": policy})


def external(case: Case, **changes: Any) -> None:
    document = json.loads((case.google.credentials / "external-account-file.json").read_text())
    case.credential("external.json", {**document, **changes}, "CredentialsFile")


def impersonation_denied(case: Case) -> None:
    case.google.switch(deniedImpersonation=True)
    case.account["ImpersonateServiceAccount"] = "healthcare@osimis-test.iam.gserviceaccount.com"
    case.account["IamCredentialsUri"] = case.google.url


def metadata_server_absent(case: Case) -> None:
    case.account.pop("ServiceAccountFile")
    case.account["Credentials"] = "ApplicationDefault"


MAKERS: dict[str, Callable[[Case], Any]] = {
    "option-missing": lambda case: case.account.pop("Dataset"),
    "option-wrong": lambda case: case.account.update(Server={"Timeout": "5"}),
    "two-credentials": lambda case: case.account.update(Credentials="ApplicationDefault"),
    "file-missing": lambda case: case.account.update(ServiceAccountFile="/nowhere/key.json"),
    "file-unreadable": lambda case: case.account.update(ServiceAccountFile=str(case.folder)),
    "file-open-to-all": file_open_to_all,
    "file-not-json": lambda case: case.credential("key.json", "-----BEGIN PRIVATE KEY-----"),
    "file-of-another-type": file_of_another_type,
    "file-with-a-bare-token": lambda case: case.credential(
        "user.json", {"token": "ya29.x"}, "AuthorizedUserFile"
    ),
    "key-unusable": lambda case: case.credential("key.json", case.key(private_key="-----BEGIN")),
    "key-old": key_old,
    "dns-failure": lambda case: case.section.update(BaseUrl="https://no-such-host.invalid/v1"),
    "proxy-absent": proxy_absent,
    "proxy-refuses": proxy_refuses,
    "google-refused": lambda case: case.section.update(
        BaseUrl=f"http://127.0.0.1:{free_port()}/v1"
    ),
    "authority-unknown": authority_unknown,
    "certificate-expired": certificate_expired,
    "authorities-missing": authorities_missing,
    "clock-ahead": lambda case: case.google.switch(dateOffset=-600),
    "clock-behind": lambda case: case.google.switch(dateOffset=600),
    "key-deleted": lambda case: case.google.switch(deletedKeys=[case.key()["private_key_id"]]),
    "account-deleted": account_deleted,
    "refresh-token-revoked": lambda case: (
        case.user(),
        case.google.switch(revokedRefreshTokens=[case.google.user["refresh_token"]]),
    ),
    "client-unknown": lambda case: case.token_endpoint(
        answers.error("invalid_client", "The OAuth client was not found.", 401)
    ),
    "token-bad-request": lambda case: case.token_endpoint(answers.error("invalid_scope", "Bad")),
    "token-forbidden": lambda case: case.token_endpoint(answers.raw(b"", 403)),
    "token-quota": lambda case: case.token_endpoint(answers.raw(b"", 429)),
    "token-server-error": lambda case: case.token_endpoint(answers.raw(b"", 500)),
    "token-web-page": lambda case: case.token_endpoint(answers.raw(b"<html>Log in</html>")),
    "token-garbage": lambda case: case.token_endpoint(answers.raw(b"\x00\x01", kind="x/y")),
    "token-truncated": lambda case: case.token_endpoint(answers.raw(b'{"a', length=99)),
    "token-slow": lambda case: (
        case.token_endpoint(answers.hanging),
        case.section.update(Timeout=1),
    ),
    "token-refused": lambda case: case.account.update(
        TokenUri=f"http://127.0.0.1:{free_port()}/token"
    ),
    "audience-wrong": lambda case: external(
        case, audience="//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/x"
    ),
    "subject-token-missing": lambda case: external(
        case, credential_source={"file": str(case.folder / "no-subject-token.jwt")}
    ),
    "impersonation-denied": impersonation_denied,
    "metadata-server-absent": metadata_server_absent,
    "scope-missing": lambda case: case.google.switch(
        grantedScopes=["https://www.googleapis.com/auth/devstorage.read_only"]
    ),
    "api-disabled": lambda case: case.google.switch(disabledApi=True),
    "store-missing": lambda case: case.account.update(DicomStore="no-such-store"),
    "no-read": lambda case: case.google.switch(
        deniedPermissions=["healthcare.dicomStores.dicomWebRead"]
    ),
    "no-write": lambda case: case.google.switch(
        deniedPermissions=["healthcare.dicomStores.dicomWebWrite"]
    ),
    "no-delete": lambda case: case.google.switch(
        deniedPermissions=["healthcare.dicomStores.dicomWebDelete"]
    ),
    "key-of-another-project": key_of_another_project,
}


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("google"), "--admin")
    yield emulator
    emulator.stop()


@pytest.fixture
def case(google, tmp_path, monkeypatch):
    account = {**STORE, "ServiceAccountFile": str(google.credentials / "service-account.json")}
    section = {"BaseUrl": f"{google.url}/v1beta1/"}
    policy = google.call("GET", f"{STORE_PATH}:getIamPolicy")
    healthy = google.switches()
    script_file = tmp_path / "gcp.py"
    script_file.write_text(script.text())
    whole = {"Plugins": [str(DICOMWEB), str(PYTHON)], "PythonScript": str(script_file)}
    made = Case(google, tmp_path, monkeypatch, account, section, whole)
    yield made
    for each in made.closing:
        each.__exit__()
    google.switch(**healthy)
    bindings = {"bindings": policy.get("bindings", [])}
    google.call("POST", f"{STORE_PATH}:setIamPolicy", {"policy": bindings})


def check(case: Case, *arguments: str) -> tuple[int, dict[str, Any]]:
    section = {**case.section, "Accounts": {"my-google": case.account}}
    file = case.folder / "orthanc.json"
    write(file, {**case.whole, "GoogleCloudPlatform": section})
    environment = {**os.environ, "HOME": str(case.folder), **case.environment}
    done = subprocess.run(
        [sys.executable, "-m", "orthanc_gcp", "check", "--json", *arguments, str(file)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_every_documented_fault_is_made_and_no_other():
    assert list(FAULTS) == list(MAKERS)
    assert len(FAULTS) >= 25


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_named_with_its_remedy(case, fault):
    failing, cause, remedy = FAULTS[fault]
    MAKERS[fault](case)
    code, told = check(case)
    assert code == 1
    assert told["Passed"] is False
    checks = told["Accounts"]["my-google"]
    failed = [each for each in checks if each["Result"] == "failed"]
    assert failed, checks
    first = failed[0]
    assert first["Check"] == failing.strip(), failed
    assert cause in first["Cause"]
    assert remedy in first["Mend"]
    for each in checks:
        assert "ya29" not in str(each)
        assert "PRIVATE KEY" not in each["Cause"]


def test_a_healthy_account(case):
    code, told = check(case)
    assert code == 0, told
    results = {each["Check"]: each["Result"] for each in told["Accounts"]["my-google"]}
    assert results == {
        "configuration": "passed",
        "credential": "passed",
        "DNS": "passed",
        "proxy": "skipped",
        "connection": "passed",
        "TLS": "skipped",
        "clock": "passed",
        "token": "passed",
        "scopes": "passed",
        "API": "passed",
        "store": "passed",
        "permissions": "passed",
        "search": "passed",
        "search through Orthanc": "skipped",
        "least privilege": "warning",
        "round trip": "skipped",
    }


def test_the_round_trip_leaves_nothing(case):
    code, told = check(case, "--write")
    assert code == 0, told
    last = told["Accounts"]["my-google"][-1]
    assert last["Result"] == "passed"
    assert "sent, found, fetched (the same bytes) and deleted" in last["Cause"]
    _, told = check(case)
    search = next(e for e in told["Accounts"]["my-google"] if e["Check"] == "search")
    assert search["Cause"] == "the store is empty"


@pytest.fixture
def lying_store(case):
    """A store that grants everything, answers 200 to an upload and stores nothing."""
    server = TokenServer()
    case.closing.append(server)
    names = [f"healthcare.dicomStores.dicomWeb{verb}" for verb in ("Read", "Write", "Delete")]
    path = f"/v1/{STORE_PATH}:testIamPermissions"
    server.answers[path] = answers.fields({"permissions": names})
    case.section["BaseUrl"] = f"http://127.0.0.1:{server.port}/v1"
    return server


def test_an_upload_that_is_not_stored_is_no_round_trip(case, lying_store):
    code, told = check(case, "--write")
    last = told["Accounts"]["my-google"][-1]
    assert (code, last["Check"], last["Result"]) == (1, "round trip", "failed")
    assert "a search does not find it" in last["Cause"]
    assert "see what changes requests or answers on the way" in last["Mend"]


def test_nothing_is_said_of_scopes_that_google_did_not_judge(case, lying_store):
    lying_store.store_status = 503
    _, told = check(case)
    results = {each["Check"]: each["Result"] for each in told["Accounts"]["my-google"]}
    assert results["scopes"] == results["API"] == "skipped"
    assert results["store"] == "failed"


def test_the_table_for_people(case):
    case.account["DicomStore"] = "no-such-store"
    section = {**case.section, "Accounts": {"my-google": case.account}}
    write(case.folder / "orthanc.json", {"GoogleCloudPlatform": section})
    done = subprocess.run(
        [sys.executable, "-m", "orthanc_gcp", "check", str(case.folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 1
    assert "account my-google" in done.stdout
    assert "there is no DICOM store no-such-store in dataset test" in done.stdout
    assert "mend: correct Project, Location, Dataset and DicomStore" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON at line 1"),
        ("{}", "No Google Cloud Platform account is configured"),
    ],
)
def test_no_configuration_to_examine(tmp_path, text, message):
    write(tmp_path / "orthanc.json", text)
    done = subprocess.run(
        [sys.executable, "-m", "orthanc_gcp", "check", str(tmp_path / "orthanc.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert message in done.stderr
