"""Google's answers: envelopes, pages and challenges."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import Response

from orthanc_gcp.emulator.http import responses
from orthanc_gcp.emulator.http.responses import GrantError, Refusal

RPC = "google.cloud.healthcare.v1.dicomweb.DicomWebService.SearchForStudies"
CODES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
ANY = "type.googleapis.com/google.rpc"


def error_of(response: Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    error = dict(json.loads(response.body)["error"])
    assert error["code"] == response.status_code
    return error


@pytest.mark.parametrize(("status", "code"), CODES.items())
def test_the_envelope(status: int, code: str) -> None:
    expected = {"code": status, "message": "é", "status": code}
    assert error_of(responses.error(status, "é")) == expected
    assert b"\xc3\xa9" in responses.error(status, "é").body


def test_a_code_and_details_of_ones_own() -> None:
    answer = responses.error(
        409, "no", name="ABORTED", details=[{"@type": "x"}], headers={"A": "b"}
    )
    error = error_of(answer)
    assert (error["status"], error["details"]) == ("ABORTED", [{"@type": "x"}])
    assert answer.headers["a"] == "b"


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        (418, "UNKNOWN", "I'm a Teapot"),
        (503, "UNAVAILABLE", "The service is currently unavailable."),
        (502, "UNAVAILABLE", "Bad Gateway"),
        (599, "UNKNOWN", "Unknown Error"),
    ],
)
def test_the_error_that_a_status_stands_for(status: int, code: str, message: str) -> None:
    error = error_of(responses.usual_error(status))
    assert error["status"] == code
    assert error["message"].startswith(message)


def test_pages() -> None:
    page = responses.page_not_found()
    assert (page.status_code, page.media_type) == (404, "text/html; charset=UTF-8")
    assert b"<title>Error 404 (Not Found)!!1</title>" in page.body
    assert b"<title>Error 502 (Server Error)!!1</title>" in responses.front_end_page(502).body
    assert b"<title>Error 403 (Forbidden)!!1</title>" in responses.front_end_page(403).body
    assert b"<p>no such" in responses.html_error(404, "no such").body
    assert responses.text_error(406, "no").media_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("answer", "status", "challenge", "reason"),
    [
        (responses.missing_credential(RPC), 401, "", "CREDENTIALS_MISSING"),
        (responses.expired_token(RPC), 401, 'error="invalid_token"', "ACCESS_TOKEN_EXPIRED"),
        (
            responses.insufficient_scope(RPC, ["a", "b"]),
            403,
            'error="insufficient_scope", scope="a b"',
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        ),
    ],
)
def test_challenges(answer: Response, status: int, challenge: str, reason: str) -> None:
    (info,) = error_of(answer)["details"]
    assert answer.status_code == status
    assert answer.headers["www-authenticate"].startswith("Bearer realm=")
    assert answer.headers["www-authenticate"].endswith(challenge)
    assert (info["@type"], info["reason"]) == (f"{ANY}.ErrorInfo", reason)
    assert info["metadata"] == {"service": "healthcare.googleapis.com", "method": RPC}


@pytest.mark.parametrize(
    ("rpc", "service"),
    [
        ("google.pubsub.v1.Publisher.Publish", "pubsub.googleapis.com"),
        (
            "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken",
            "iamcredentials.googleapis.com",
        ),
    ],
)
def test_errors_of_other_services(rpc: str, service: str) -> None:
    (info,) = error_of(responses.missing_credential(rpc))["details"]
    assert info["metadata"]["service"] == service


def test_a_token_that_google_never_issued() -> None:
    answer = responses.invalid_token()
    assert "details" not in error_of(answer)
    assert answer.headers["www-authenticate"].endswith('error="invalid_token"')


def test_what_is_denied() -> None:
    error = error_of(responses.permission_denied("a.b", "projects/p"))
    assert error["message"] == (
        "Permission 'a.b' denied on resource 'projects/p' (or it may not exist)."
    )
    reasons = {
        "SERVICE_DISABLED": responses.api_disabled("12"),
        "USER_PROJECT_DENIED": responses.quota_project_denied("p"),
        "IAM_PERMISSION_DENIED": responses.impersonation_denied(),
    }
    for reason, answer in reasons.items():
        assert (answer.status_code, error_of(answer)["details"][0]["reason"]) == (403, reason)
    assert error_of(responses.resource_not_found("x"))["status"] == "NOT_FOUND"


@pytest.mark.parametrize(("left", "header"), [(None, None), (7, "7")])
def test_a_quota(left: int | None, header: str | None) -> None:
    answer = responses.quota_exceeded("12", 60, left)
    assert error_of(answer)["details"][0]["metadata"]["quota_limit_value"] == "60"
    assert answer.headers.get("retry-after") == header


def test_a_refusal_is_its_answer() -> None:
    assert str(Refusal(responses.usual_error(503))) == "503"
    answer = GrantError("invalid_client", "no", 401).response
    assert (answer.status_code, json.loads(answer.body)) == (
        401,
        {"error": "invalid_client", "error_description": "no"},
    )
    assert "no-store" in answer.headers["cache-control"]
