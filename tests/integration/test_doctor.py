"""Each fault of docs/troubleshooting.md is made, and ``orthanc-gcp check`` must name it.

The table in the document is what is tested: the failed check, its cause and its remedy.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import orthanc_gcp
from orthanc_gcp.cli import app
from orthanc_gcp.plugin import script
from tests.support import token_server as answers
from tests.support.account_faults import MAKERS, Case, external
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.keys import STORE, write
from tests.support.orthanc import DICOMWEB, PYTHON
from tests.support.raw_server import answer, says
from tests.support.token_server import TokenServer

LOGIN = "gcloud auth application-default login"
DOCUMENT = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
ROW = r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \| `([^`]+)` \| `([^`]+)` \|$"
FAULTS = {row[0]: row[2:] for row in re.findall(ROW, DOCUMENT.read_text(), re.MULTILINE)}


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
        each.__exit__(None, None, None)
    google.switch(**healthy)
    bindings = {"bindings": policy.get("bindings", [])}
    google.call("POST", f"{STORE_PATH}:setIamPolicy", {"policy": bindings})


def check(case: Case, *arguments: str) -> tuple[int, dict[str, Any]]:
    """What the command says; in this process, for there are many faults."""
    section = {**case.section, "Accounts": {"my-google": case.account}}
    file = case.folder / "orthanc.json"
    write(file, {**case.whole, "GoogleCloudPlatform": section})
    case.monkeypatch.setenv("HOME", str(case.folder))
    with case.acting():
        done = CliRunner().invoke(app, ["check", "--json", *arguments, str(file)])
    assert done.stderr == ""
    return done.exit_code, json.loads(done.stdout)


def test_every_documented_fault_is_made_and_no_other():
    assert list(FAULTS) == list(MAKERS)
    assert len(FAULTS) >= 25


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_named_with_its_remedy(case, fault):
    failing, cause, remedy = FAULTS[fault]
    MAKERS[fault](case)
    code, report = check(case)
    assert code == 1
    assert report["Passed"] is False
    checks = report["Accounts"]["my-google"]
    failed = [each for each in checks if each["Result"] == "failed"]
    assert failed, checks
    first = failed[0]
    assert first["Check"] == failing.strip(), failed
    assert cause in first["Cause"]
    assert remedy in first["Remedy"]
    for each in checks:
        assert "ya29" not in str(each)
        assert "PRIVATE KEY" not in each["Cause"]


def test_a_healthy_account(case):
    code, report = check(case)
    assert code == 0, report
    results = {each["Check"]: each["Result"] for each in report["Accounts"]["my-google"]}
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
    code, report = check(case, "--write")
    assert code == 0, report
    last = report["Accounts"]["my-google"][-1]
    assert last["Result"] == "passed"
    assert "sent, found, fetched (the same bytes) and deleted" in last["Cause"]
    _, report = check(case)
    search = next(e for e in report["Accounts"]["my-google"] if e["Check"] == "search")
    assert search["Cause"] == "the store is empty"


def as_service_account(case: Case, answer: answers.Answer) -> None:
    case.token_endpoint(answer)


def as_user(case: Case, answer: answers.Answer) -> None:
    case.of_user()
    case.token_endpoint(answer)


def as_federated(case: Case, answer: answers.Answer) -> None:
    (case.folder / "subject").write_text("a.b.c")
    server = TokenServer(answer)
    case.closing.append(server)
    external(case, token_url=server.url, credential_source={"file": str(case.folder / "subject")})


def as_impersonator(case: Case, answer: answers.Answer) -> None:
    server = TokenServer(answer)
    case.closing.append(server)
    case.account["ImpersonateServiceAccount"] = "target@b.iam.gserviceaccount.com"
    case.account["IamCredentialsUri"] = f"http://127.0.0.1:{server.port}"


def refused(status: int, code: str, message: str) -> answers.Answer:
    return answers.fields({"error": {"code": status, "status": code, "message": message}}, status)


@pytest.mark.parametrize(
    ("who", "answer", "remedy"),
    [
        (as_user, answers.error("invalid_grant", "Bad Request"), f"log in again: {LOGIN}"),
        (as_user, answers.error("invalid_grant", "reauth related error (invalid_rapt)"), LOGIN),
        (as_user, answers.error("deleted_client", "Gone", 401), LOGIN),
        (
            as_service_account,
            answers.error("invalid_grant", "Invalid JWT: Failed audience check."),
            "leave TokenUri out",
        ),
        (
            as_service_account,
            answers.error("invalid_grant", "Not a valid email or user ID."),
            "keys list --iam-account=orthanc@osimis-test.iam.gserviceaccount.com",
        ),
        (
            as_federated,
            answers.error("invalid_grant", "ID Token issued at 1 is stale to sign-in."),
            "have the subject token renewed",
        ),
        (
            as_federated,
            answers.error("invalid_grant", "Error connecting to the given credential's issuer."),
            "see that Google can reach the issuer",
        ),
        (
            as_federated,
            answers.error(
                "unauthorized_client",
                "The given credential is rejected by the attribute condition.",
            ),
            "let the attribute condition of the provider admit this identity",
        ),
        (
            as_federated,
            answers.error("invalid_grant", "The subject token is odd."),
            "see who vouches for this identity",
        ),
        (
            as_impersonator,
            refused(403, "PERMISSION_DENIED", "IAM API has not been used or it is disabled."),
            "gcloud services enable iamcredentials.googleapis.com",
        ),
        (
            as_impersonator,
            refused(403, "PERMISSION_DENIED", "Permission denied on resource."),
            "target@b.iam.gserviceaccount.com --member=serviceAccount:orthanc@osimis-test.",
        ),
        (
            as_impersonator,
            refused(404, "NOT_FOUND", "Not found; Gaia id not found for email x"),
            "there is no service account target@b.iam.gserviceaccount.com",
        ),
    ],
)
def test_the_remedy_is_that_of_who_asks(case, who, answer, remedy):
    who(case, answer)
    _, report = check(case)
    line = next(e for e in report["Accounts"]["my-google"] if e["Result"] == "failed")
    assert line["Check"] == "token"
    assert remedy in line["Remedy"]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "roles/iam.workloadIdentityUser"), (404, "give the machine a service account")],
)
def test_a_metadata_server_that_refuses(case, status, remedy):
    """In a process of its own: google-auth looks for the server when it is imported."""
    said = answer(b"IAM returned", f"{status} No", kind="text/plain", Metadata_Flavor="Google")
    port = case.server(says(said))
    case.account.pop("ServiceAccountFile")
    case.account["Credentials"] = "ApplicationDefault"
    section = {**case.section, "Accounts": {"my-google": case.account}}
    file = write(case.folder / "orthanc.json", {"GoogleCloudPlatform": section})
    own = f"127.0.0.1:{port}"
    done = subprocess.run(
        [sys.executable, "-m", "orthanc_gcp", "check", "--json", file],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "HOME": str(case.folder),
            "GCE_METADATA_HOST": own,
            "GCE_METADATA_IP": own,
        },
    )
    checks = json.loads(done.stdout)["Accounts"]["my-google"]
    line = next(each for each in checks if each["Result"] == "failed")
    assert line["Check"] == "token"
    assert remedy in line["Remedy"]


@pytest.mark.parametrize("more", [r"\n", r"\\n", r"\r\n"])
def test_the_remedy_of_a_key_that_was_escaped_twice(case, more):
    """It is run, and repairs the file."""
    pem = case.key()["private_key"]
    case.credential("my key.json", case.key(private_key=pem.replace("\n", more)))
    _, report = check(case)
    remedy = report["Accounts"]["my-google"][1]["Remedy"]
    command = remedy.removeprefix("undo it: ").partition("; or ")[0]
    subprocess.run(command, shell=True, check=True)
    code, report = check(case)
    assert code == 0, report


def test_what_the_round_trip_leaves_is_named(case):
    rule = {"method": "DELETE", "status": 503}
    case.google.switch(faults=[rule])
    code, report = check(case, "--write")
    last = report["Accounts"]["my-google"][-1]
    assert (code, last["Check"], last["Result"]) == (1, "round trip", "failed")
    found = re.search(r"the tiny instance of study (2\.25\.\d+) may still be there", last["Cause"])
    assert found
    case.google.switch(faults=[])
    case.google.call("DELETE", f"{STORE_PATH}/dicomWeb/studies/{found[1]}")


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
    code, report = check(case, "--write")
    last = report["Accounts"]["my-google"][-1]
    assert (code, last["Check"], last["Result"]) == (1, "round trip", "failed")
    assert "a search does not find it" in last["Cause"]
    assert "see what changes requests or answers on the way" in last["Remedy"]


@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_store_passes(case, status):
    case.google.switch(emptyQido=status)
    code, report = check(case)
    assert code == 0, report
    search = next(e for e in report["Accounts"]["my-google"] if e["Check"] == "search")
    assert search["Cause"] == "the store is empty"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_the_user_that_may_not_read_is_named(case):
    file = case.key_for_nobody()
    file.chmod(0o600)
    _, report = check(case)
    line = report["Accounts"]["my-google"][1]
    assert line["Cause"].endswith(f"{file}: the file cannot be read: the user nobody may not")
    assert f"chown nobody {file} && chmod 600 {file}" in line["Remedy"]
    file.parent.chmod(0o700)
    _, report = check(case)
    line = report["Accounts"]["my-google"][1]
    assert line["Cause"].endswith(f"the user nobody may not enter the folder {file.parent}")
    assert f"setfacl -m u:nobody:x {file.parent};" in line["Remedy"]


def test_no_secret_of_a_proxy_is_shown(case):
    case.https()
    for port in (1, case.server(says(answer(b"", "407 Proxy Authentication Required")))):
        case.whole["HttpProxy"] = f"http://my-user:my-password@127.0.0.1:{port}"
        _, report = check(case)
        assert "my-user" not in str(report)
        assert "my-password" not in str(report)


def test_every_remedy_stands_alone():
    """The repository's documents are not on the machine where a remedy is read."""
    for file in (Path(orthanc_gcp.__file__).parent).rglob("*.py"):
        assert not re.search(r"[\"' (]docs/\w+\.md", file.read_text()), file


def test_nothing_is_said_of_scopes_that_google_did_not_judge(case, lying_store):
    lying_store.store_status = 503
    _, report = check(case)
    results = {each["Check"]: each["Result"] for each in report["Accounts"]["my-google"]}
    assert results["scopes"] == results["API"] == "unknown"
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
    assert "remedy: correct Project, Location, Dataset and DicomStore" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON at line 1"),
        ("{}", "No Google Cloud Platform account is configured"),
    ],
)
def test_no_configuration_to_check(tmp_path, text, message):
    write(tmp_path / "orthanc.json", text)
    done = subprocess.run(
        [sys.executable, "-m", "orthanc_gcp", "check", str(tmp_path / "orthanc.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert message in done.stderr
