"""What a token endpoint may answer, and what is said of it: the real transport, real sockets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from google.auth.exceptions import GoogleAuthError
from google.oauth2.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthanc_gcp.auth.token_endpoint import TokenEndpoint
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.errors import TokenError
from orthanc_gcp.transport.request import Transport
from tests.support import token_server as answers
from tests.support.keys import USER

ENDPOINT = TokenEndpoint(Transport(timeout=5), SystemClock())


def refresh(server) -> Credentials:
    credentials = Credentials(None, token_uri=server.url, **USER)
    credentials.refresh(ENDPOINT)
    return credentials


def refused(server) -> str:
    with pytest.raises(TokenError) as caught:
        refresh(server)
    message = str(caught.value)
    for secret in USER.values():
        assert secret not in message
    assert "\n" not in message
    return message.removeprefix(f"127.0.0.1:{server.port} answered ")


def test_a_token(token_server):
    credentials = refresh(token_server)
    assert credentials.token == "ya29.test"
    (_, _, form) = token_server.requests[0]
    assert "scope" not in form


@pytest.mark.parametrize("lifetime", [5, 3599.5, "3599", 43200])
def test_lifetimes_that_are_accepted(token_server, lifetime):
    token_server.answer = answers.token(lifetime=lifetime)
    assert refresh(token_server).token == "ya29.test"


@pytest.mark.parametrize(
    "lifetime", [None, 0, -1, "soon", "", "-5", 10**12, 1e400, True, [], {}, "9" * 500]
)
def test_lifetimes_that_are_not(token_server, lifetime):
    token_server.answer = answers.token(lifetime=lifetime)
    assert refused(token_server) == (
        "200 but its expires_in is missing or is not a number of seconds from 1 to 86400"
    )


@pytest.mark.parametrize("token", [None, "", 5, ["x"], {"a": 1}])
def test_tokens_that_are_none(token_server, token):
    token_server.answer = answers.token(token)
    assert refused(token_server) == "200 but its access_token is missing, empty or not a string"


@pytest.mark.parametrize("token", ["a\r\nX-Injected: 1", "a\nb", "a b", "é", "a\0"])
def test_tokens_that_would_break_a_header(token_server, token):
    token_server.answer = answers.token(token)
    assert refused(token_server) == (
        "200 but its access_token has characters that no HTTP header may carry"
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            answers.raw(b"<html>Please log in</html>"),
            "200 but with a web page (a captive portal, or a proxy that wants a login?) instead of "
            "a token",
        ),
        (answers.raw(b""), "200 but with an empty body instead of a token"),
        (
            answers.raw(b'{"access_token": "x', kind="application/json"),
            "200 but with something that is not a JSON object (application/json) instead of a "
            "token",
        ),
        (
            answers.raw(b"[1, 2]", kind=""),
            "200 but with something that is not a JSON object (no content type) instead of a token",
        ),
        (
            answers.raw(b"[" * 100000, kind="application/json"),
            "200 but with something that is not a JSON object (application/json) instead of a "
            "token",
        ),
        (
            answers.fields({"id_token": "x.y.z"}),
            "200 but with an ID token only, are the Scopes those of a Google API?",
        ),
        (
            answers.error("invalid_grant", "Token has been expired or revoked."),
            "400 invalid_grant: Token has been expired or revoked.",
        ),
        (
            answers.error("invalid_client", "The OAuth client was not found.", 401),
            "401 invalid_client: The OAuth client was not found.",
        ),
        (answers.fields({"error": "server_error"}, 500), "500 server_error"),
        (
            answers.raw(b"<html>Bad gateway</html>", 502),
            "502 without an OAuth2 error, but a web page (a captive portal, or a proxy that wants "
            "a login?)",
        ),
        (
            answers.raw(b"IAM returned 404:\n not found \x1b[31m", 404, kind="text/plain"),
            "404: IAM returned 404: not found …",
        ),
        (
            answers.raw(USER["client_secret"].encode(), 403, kind="text/plain; charset=utf-8"),
            "403 without an OAuth2 error, but something that is not a JSON object (text/plain)",
        ),
        (
            answers.raw(b" \n", 403, kind="text/plain"),
            "403 without an OAuth2 error, but something that is not a JSON object (text/plain)",
        ),
        (answers.raw(b"", 503), "503 without an OAuth2 error, but an empty body"),
        (
            answers.fields({"error": {"status": "PERMISSION_DENIED", "message": "Denied."}}, 403),
            "403 PERMISSION_DENIED: Denied.",
        ),
        (
            answers.error("bad", f"you sent {USER['client_secret']}\r\nforged log line"),
            "400 bad: you sent … log line",
        ),
    ],
)
def test_answers_that_are_no_token(token_server, answer, message):
    token_server.answer = answer
    assert refused(token_server) == message
    assert len(token_server.requests) == 1, "google-auth must not retry on its own"


@pytest.mark.parametrize(("hours", "where"), [(1, "behind"), (-1, "ahead of")])
def test_a_wrong_clock_is_named(token_server, hours, where):
    def answer(handler, form):
        date = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
        body = json.dumps({"error": "invalid_grant", "error_description": "Invalid JWT"}).encode()
        handler.send_response_only(400)
        handler.send_header("Date", date)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    token_server.answer = answer
    message = refused(token_server)
    assert message.startswith("400 invalid_grant: Invalid JWT; this machine's clock is 3")
    assert f"s {where} the server's: correct it, for instance with NTP" in message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["access_token", "expires_in", "error", "error_description", "id_token"])


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from([200, 201, 302, 400, 401, 403, 404, 429, 500, 503]),
    st.binary(max_size=40) | st.dictionaries(NAMES, JSON).map(lambda d: json.dumps(d).encode()),
)
def test_no_answer_raises_anything_else(token_server, status, body):
    token_server.answer = answers.raw(body, status, "application/json")
    try:
        token = refresh(token_server).token
    except (TokenError, GoogleAuthError) as error:
        assert str(error)
    else:
        assert token.isascii()
        assert token.isprintable()
