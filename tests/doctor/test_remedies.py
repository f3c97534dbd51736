"""The remedy of an error: whose it is, and which command it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import orthanc_gcp
from orthanc_gcp.doctor.remedies import remedy_for
from orthanc_gcp.errors import GcpError, StoreError, TokenError
from orthanc_gcp.reasons import ApiReason, RpcCode, TokenReason
from tests.support import token_server as answers
from tests.support.account_faults import Case, external
from tests.support.checking import check
from tests.support.keys import write
from tests.support.raw_server import answer, says
from tests.support.token_server import TokenServer

LOGIN = "gcloud auth application-default login"


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


def refused(
    status: int, code: str, message: str, reason: str = "", metadata: dict[str, str] | None = None
) -> answers.Answer:
    error: dict[str, object] = {"code": status, "status": code, "message": message}
    if reason:
        error["details"] = [{"reason": reason, "metadata": metadata}]
    return answers.fields({"error": error}, status)


IAM_CREDENTIALS = {"service": "iamcredentials.googleapis.com", "consumer": "projects/osimis-test"}


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
            refused(403, "PERMISSION_DENIED", "No.", "SERVICE_DISABLED", IAM_CREDENTIALS),
            "gcloud services enable iamcredentials.googleapis.com --project=osimis-test",
        ),
        (
            as_impersonator,
            refused(403, "PERMISSION_DENIED", "No.", "IAM_PERMISSION_DENIED", {}),
            "--role=roles/iam.serviceAccountTokenCreator",
        ),
        (
            as_impersonator,
            refused(
                403, "PERMISSION_DENIED", "No.", "SECURITY_POLICY_VIOLATED", {"uid": "abc" * 18}
            ),
            f"unique identifier {'abc' * 18}",
        ),
        (
            as_impersonator,
            refused(403, "PERMISSION_DENIED", "No.", "SOMETHING_NEW", {}),
            "--role=roles/iam.serviceAccountTokenCreator",
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


def test_every_remedy_stands_alone():
    """The repository's documents are not on the machine where a remedy is read."""
    for file in (Path(orthanc_gcp.__file__).parent).rglob("*.py"):
        assert not re.search(r"[\"' (]docs/\w+\.md", file.read_text()), file


# -- Without a server -----------------------------------------------------------------------------


def remedy(examination, error, **options) -> str:
    return remedy_for(error, examination(**options))


@pytest.mark.parametrize("reason", [*TokenReason, *RpcCode, "other:word", "http_599"])
def test_every_reason_of_a_token_endpoint_has_a_remedy(examination, reason):
    error = TokenError("x", reason=reason, url="https://oauth2.googleapis.com/token")
    text = remedy(examination, error)
    assert text
    assert "{" not in text, "every name is filled in"


@pytest.mark.parametrize("reason", [*ApiReason, *RpcCode, "other:word", "http_599"])
def test_every_reason_of_a_store_has_a_remedy(examination, reason):
    text = remedy(examination, StoreError("x", reason=reason, status=400))
    assert text
    assert "{" not in text


def test_a_server_of_the_users_is_named(examination):
    url = "https://tokens.example/token"
    error = TokenError("x", reason="http_599", url=url)
    assert "see what is wrong at the server of TokenUri" in remedy(examination, error, TokenUri=url)
    error = TokenError("x", reason=TokenReason.NOT_JSON, url=url)
    text = remedy(examination, error, TokenUri=url)
    assert "correct TokenUri (Google's is https://oauth2.googleapis.com/token)" in text


@pytest.mark.parametrize(
    ("error", "options", "expected"),
    [
        (StoreError("x", reason="UNAUTHENTICATED"), {"SelfSignedJwt": True}, "leave SelfSignedJwt"),
        (StoreError("x", reason="UNAUTHENTICATED"), {}, "removes the header Authorization"),
        (StoreError("x", reason="http_302", status=302), {}, "something redirects"),
        (StoreError("x", reason="http_502", status=502), {}, "in the place of Google (BaseUrl"),
        (StoreError("x", reason="PERMISSION_DENIED"), {}, "--role=roles/healthcare.dicomEditor"),
        (GcpError("x"), {}, "wait: the connector tries again"),
    ],
)
def test_the_remedy_of_a_store_s_answer(examination, error, options, expected):
    assert expected in remedy(examination, error, **options)
