"""The forms of Google's errors, and whatever else may come in their place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
            st.sampled_from(["error", "status", "message", "details", "reason"]), inner
        )
    ),
)


@given(json_values)
def test_any_json_is_borne(document):
    found = read_google_error(json.dumps(document).encode())
    assert all(isinstance(text, str) for text in (found.code, found.message, found.reason))
