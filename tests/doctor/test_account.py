"""Each fault of docs/troubleshooting.md is made, and ``orthanc-gcp check`` must name it.

The table in the document is what is tested: the failed check, its cause and its remedy.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.account_faults import MAKERS
from tests.support.checking import check
from tests.support.keys import write
from tests.support.listing import assert_same
from tests.support.raw_server import answer, says

DOCUMENT = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
ROW = r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \| `([^`]+)` \| `([^`]+)` \|$"
FAULTS = {row[0]: row[2:] for row in re.findall(ROW, DOCUMENT.read_text(), re.MULTILINE)}


def test_every_documented_fault_is_made_and_no_other():
    assert_same(
        FAULTS,
        MAKERS,
        page="docs/troubleshooting.md",
        place="the table of faults of an account",
        source="MAKERS in tests/support/account_faults.py",
    )
    assert list(FAULTS) == list(MAKERS), "bring both into the same order"
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


@pytest.mark.parametrize(
    "refusal",
    ["quota-dicom-store-lro-ops", "org-policy-resource-locations", "quota-project-missing"],
)
def test_a_refusal_that_is_not_for_its_requests(case, refusal):
    """No operation is begun and no dataset is made; the key of an account has a project."""
    case.google.switch(refusal=refusal)
    code, report = check(case, "--write")
    assert code == 0, report


@pytest.mark.parametrize("refusal", ["quota-project-missing", "quota-project-missing-gcloud"])
def test_a_quota_project_is_the_remedy(case, refusal):
    case.of_user()
    case.google.switch(refusal=refusal)
    case.account["QuotaProject"] = "osimis-test"
    code, report = check(case)
    assert code == 0, report


def test_vpc_service_controls_say_nothing_of_scopes_and_permissions(case):
    case.google.switch(refusal="vpc-service-controls")
    _, report = check(case)
    lines = {each["Check"]: each for each in report["Accounts"]["my-google"]}
    assert {name: lines[name]["Result"] for name in ("scopes", "API", "store", "permissions")} == {
        "scopes": "unknown",
        "API": "unknown",
        "store": "failed",
        "permissions": "skipped",
    }
    identifier = lines["store"]["Cause"].rpartition(": ")[2]
    assert f"unique identifier {identifier}" in lines["store"]["Remedy"]
    assert "orthanc@osimis-test.iam.gserviceaccount.com" in lines["store"]["Remedy"]
    assert "roles/" not in lines["store"]["Remedy"]


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
        "subscriptions": "skipped",
        "least privilege": "warning",
        "round trip": "skipped",
    }


def subscriptions_line(case):
    _, report = check(case)
    lines = {one["Check"]: one for one in report["Accounts"]["my-google"]}
    return lines["subscriptions"]


def test_whether_a_subscription_may_be_pulled(case):
    topic, name = "projects/osimis-test/topics/t-1", "projects/osimis-test/subscriptions/orthanc"
    case.google.call("PUT", topic, {})
    case.google.call("PUT", name, {"topic": topic})
    case.section["Receive"] = [{"Account": "my-google", "Subscription": "orthanc"}]
    scope = "https://www.googleapis.com/auth/pubsub"
    found = subscriptions_line(case)
    assert (found["Result"], scope in found["Remedy"]) == ("failed", True), found
    case.account["Scopes"] = ["https://www.googleapis.com/auth/cloud-platform"]
    found = subscriptions_line(case)
    assert (found["Result"], name in found["Cause"]) == ("passed", True), found
    case.google.switch(deniedPermissions=["pubsub.subscriptions.consume"])
    found = subscriptions_line(case)
    assert found["Result"] == "failed"
    assert "may not pull" in found["Cause"]
    assert "add-iam-policy-binding orthanc --project=osimis-test" in found["Remedy"]
    assert "--role=roles/pubsub.subscriber" in found["Remedy"]


@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_store_passes(case, status):
    case.google.switch(emptyQido=status)
    code, report = check(case)
    assert code == 0, report
    search = next(e for e in report["Accounts"]["my-google"] if e["Check"] == "search")
    assert search["Cause"] == "the store is empty"


def test_no_secret_of_a_proxy_is_shown(case):
    case.https()
    for port in (1, case.server(says(answer(b"", "407 Proxy Authentication Required")))):
        case.whole["HttpProxy"] = f"http://my-user:my-password@127.0.0.1:{port}"
        _, report = check(case)
        assert "my-user" not in str(report)
        assert "my-password" not in str(report)


def test_nothing_is_said_of_scopes_that_google_did_not_judge(case, lying_store):
    lying_store.store_status = 503
    _, report = check(case)
    results = {each["Check"]: each["Result"] for each in report["Accounts"]["my-google"]}
    assert results["scopes"] == results["API"] == "unknown"
    assert results["store"] == "failed"


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
