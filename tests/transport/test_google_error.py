"""The forms of Google's errors, and whatever else may come in their place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.reasons import ApiReason, ErrorDetails, TokenReason
from orthanc_gcp.transport.google_error import (
    LARGEST,
    LONGEST_MESSAGE,
    GoogleError,
    read_google_error,
)

STATUS = {
    "error": {
        "code": 403,
        "message": "Permission denied on resource.",
        "status": "PERMISSION_DENIED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"},
        ],
    }
}
FOUND = GoogleError("PERMISSION_DENIED", "Permission denied on resource.", "SERVICE_DISABLED")


def error_with(*details):
    error = {"status": "PERMISSION_DENIED", "message": "m", "details": list(details)}
    return read_google_error(json.dumps({"error": error}).encode())


def info(reason, **metadata):
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}


@pytest.mark.parametrize(
    ("consumer", "reason"),
    [
        ("projects/764086051850", ApiReason.NO_QUOTA_PROJECT),
        ("projects/32555940559", ApiReason.NO_QUOTA_PROJECT),
        ("projects/123", ApiReason.SERVICE_DISABLED),
        ("projects/osimis-test", ApiReason.SERVICE_DISABLED),
        ("", ApiReason.SERVICE_DISABLED),
        (7, ApiReason.SERVICE_DISABLED),
    ],
)
def test_whose_project_lacks_the_api(consumer, reason):
    found = error_with(info("SERVICE_DISABLED", consumer=consumer))
    assert found.reason == found.known_reason == reason
    assert found.details.consumer == (consumer if isinstance(consumer, str) else "")


IDENTIFIER = "yBL4SoWDNZ9hDVyPmP0zTwNzVyFnBxiXkKGEUi7aXvAGXeCJQ9Rlqg"


def test_no_detail_repeats_a_secret():
    details = info("R", consumer="projects/hush", uid=IDENTIFIER, service="x.googleapis.com")
    body = json.dumps({"error": {"message": "m", "details": [details]}}).encode()
    found = read_google_error(body, ["hush", IDENTIFIER[3:9], ""]).details
    assert found == ErrorDetails(service="x.googleapis.com")


@pytest.mark.parametrize("word", ["JANE_DOE", "a b", "X1970", "\u00e9", "a" * 1000, "Doe^J"])
def test_a_word_that_no_error_is_made_of_is_unknown(word):
    status = {"error": {"status": word, "message": "m", "details": [{"reason": word}]}}
    found = read_google_error(json.dumps(status).encode())
    assert (found.code, found.reason) == ("UNKNOWN", "UNKNOWN")
    assert read_google_error(json.dumps({"error": word}).encode()).code == "UNKNOWN"


def test_what_details_say():
    url = "https://console.developers.google.com/apis/api/x/overview?project=1"
    found = error_with(
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "message": "m"},
        info(
            "R",
            consumer="projects/1",
            quota_metric="x.googleapis.com/ops",
            uid=IDENTIFIER,
            activationUrl=url,
            service="x.googleapis.com",
        ),
    )
    metric, service = "x.googleapis.com/ops", "x.googleapis.com"
    assert found.details == ErrorDetails("projects/1", metric, IDENTIFIER, url, service)
    assert found.details.project == "1"


def test_a_perimeter_of_vpc_service_controls():
    failure = {"violations": [{"type": "other"}, {"type": "VPC_SERVICE_CONTROLS"}]}
    assert error_with(failure).known_reason == ApiReason.SECURITY_POLICY_VIOLATED
    failure["violations"][1]["description"] = IDENTIFIER
    for details in ([failure], [failure, info("SECURITY_POLICY_VIOLATED")]):
        found = error_with(*details)
        assert found.known_reason == ApiReason.SECURITY_POLICY_VIOLATED
        assert found.details.unique_identifier == IDENTIFIER


@pytest.mark.parametrize(
    "metadata",
    [
        {"consumer": "projects/1 && reboot", "uid": "a b", "quota_metric": "a\nb"},
        {"consumer": "projects/" + "1" * 101, "uid": "a" * 201, "quota_metric": "m" * 201},
        {"consumer": ["projects/1"], "uid": {"a": 1}, "quota_metric": 7, "activationUrl": None},
        {"activationUrl": "https://console.example.com/apis"},
        {"activationUrl": "https://console.cloud.google.com.evil.example/apis"},
        {"activationUrl": "javascript:alert(1)"},
        {"uid": "\u0661\u0662"},
        {"service": "x.googleapis.com.evil.example"},
        {"service": "x.googleapis.com;reboot"},
    ],
    ids=range(9),
)
def test_details_that_cannot_be_shown(metadata):
    assert error_with(info("SERVICE_DISABLED", **metadata)).details == ErrorDetails()


def test_reasons_that_no_server_can_send():
    for word in ("no_quota_project", "not_google", "reauthentication", "SOMETHING_NEW"):
        assert error_with(info(word)).known_reason == ""


@pytest.mark.parametrize("subtype", ["invalid_rapt", "rapt_required"])
def test_a_login_that_has_to_be_renewed(subtype):
    body = json.dumps({"error": "invalid_grant", "error_subtype": subtype}).encode()
    assert read_google_error(body).known_reason == TokenReason.REAUTHENTICATION


@pytest.mark.parametrize("subtype", ["other", "", 7, None, ["invalid_rapt"]])
def test_another_subtype(subtype):
    body = json.dumps({"error": "invalid_grant", "error_subtype": subtype}).encode()
    assert read_google_error(body) == GoogleError("invalid_grant")


@pytest.mark.parametrize("document", [STATUS, [STATUS]])
def test_a_status(document):
    assert read_google_error(json.dumps(document).encode()) == FOUND


def test_an_oauth2_error():
    body = b'{"error": "invalid_grant", "error_description": "Bad Request"}'
    assert read_google_error(body) == GoogleError("invalid_grant", "Bad Request")


def test_a_missing_scope_without_an_error_info():
    message = "Request had insufficient authentication scopes."
    body = json.dumps({"error": {"status": "PERMISSION_DENIED", "message": message}}).encode()
    assert read_google_error(body).reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no</html>",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"9" * 100_000,
        b"null",
        b"[]",
        b'["error"]',
        b'{"error": null}',
        b'{"error": 7}',
        b'{"error": {"status": 7, "message": ["x"], "details": {"reason": "x"}}}',
        b'{"error": {"details": ["x", null, {"reason": 7}, {"reason": ""}]}}',
        b'{"error": "invalid_grant", "more": "' + b"x" * LARGEST + b'"}',
    ],
    ids=range(13),
)
def test_what_is_no_error_of_google(body):
    assert read_google_error(body) == GoogleError()


def test_a_long_message_is_cut():
    body = json.dumps({"error": "x", "error_description": "y" * 100_000}).encode()
    assert len(read_google_error(body).message) == LONGEST_MESSAGE


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["error", "status", "message", "details", "reason", "metadata", "violations"]
            ),
            inner,
        )
    ),
)


@given(json_values)
def test_any_json_is_borne(document):
    found = read_google_error(json.dumps(document).encode())
    assert all(isinstance(text, str) for text in (found.code, found.message, found.reason))
