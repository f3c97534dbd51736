"""What a token endpoint answers, judged before google-auth sees it.

google-auth sleeps and retries on its own, accepts tokens without an end, and says little of what
came back. This wrapper of the transport lets only good answers through and raises for the rest,
so that the refresher alone decides when to try again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.auth.transport import Request

from orthanc_gcp.clock import Clock, http_date
from orthanc_gcp.error_text import classified, media_type
from orthanc_gcp.errors import TokenError
from orthanc_gcp.reasons import TokenReason, of_server, of_status
from orthanc_gcp.redaction import host_of, secrets_of_form
from orthanc_gcp.transport.authorization import fits_a_header
from orthanc_gcp.transport.google_error import GoogleError, read_google_error
from orthanc_gcp.transport.request import Answer, Transport

__all__ = ["TOLERATED_SKEW", "TokenEndpoint", "clock_offset"]

# Google's tokens are valid for 12 hours at most; more than a day is somebody else's answer.
LONGEST_LIFETIME = 86400
TOLERATED_SKEW = 60
_EXPIRE_TIME = "%Y-%m-%dT%H:%M:%SZ"
"""As google-auth reads it (``impersonated_credentials._make_iam_token_request``)."""


class TokenEndpoint(Request):
    """A transport that only returns usable answers to what credentials ask.

    Those are tokens (RFC 6749 §5.1, RFC 8693 §2.2), the tokens of the IAM Credentials API, and
    what stands before them: the metadata server, and sources of subject tokens.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Answer:
        """Ask.

        Raises
        ------
        TokenError
            The other side refused (RFC 6749 §5.2), or its answer is not what was asked for.
        NetworkError
            No complete answer came.
        """
        answer = self._transport(url, method, body, headers, timeout, **kwargs)
        who = host_of(url)
        if answer.status != 200:
            secrets = [*secrets_of_form(body), *_secrets_of(headers or {})]
            raise self._refusal(url, answer, secrets)
        if method == "POST":
            fields, is_iam = _fields(answer), url.endswith(":generateAccessToken")
            fault = (_iam_fault if is_iam else _token_fault)(answer, fields)
            if fault:
                reason, words = fault
                message = f"{who} answered 200 but {words}"
                raise TokenError(message, reason=reason, status=200, url=url)
            if is_iam:
                return _by_this_clock(answer, fields, clock_offset(answer, self._clock))
        return answer

    def _refusal(self, url: str, answer: Answer, secrets: list[str]) -> TokenError:
        error = read_google_error(answer.data, secrets)
        skew = _skew_in_words(clock_offset(answer, self._clock))
        if error.code:
            said = classified(error.message, hidden=secrets)
            words = f"{answer.status} {error.code}" + (f": {said}" if said else "")
        elif text := classified(_plain_text(answer), hidden=secrets):  # as metadata servers say it
            words = f"{answer.status}: {text}"
        else:
            words = f"{answer.status} without an OAuth2 error, but {_kind(answer)}"
        return TokenError(
            f"{host_of(url)} answered {words}{skew}",
            reason=_reason(error, answer.status),
            status=answer.status,
            url=url,
            details=error.details,
        )


def _secrets_of(headers: Mapping[str, str]) -> list[str]:
    """The credentials in a header ``Authorization`` (RFC 9110 §11.6.2)."""
    return [
        value.rpartition(" ")[2]
        for name, value in headers.items()
        if name.lower() == "authorization"
    ]


def _reason(error: GoogleError, status: int) -> str:
    """What is known of a refusal: that of its details, else its code, else its status."""
    if error.known_reason:
        return error.known_reason
    return of_server(error.code) if error.code else of_status(status)


def clock_offset(answer: Answer, clock: Clock) -> float | None:
    """Seconds that this machine's clock is ahead of the one of the server that answered."""
    theirs = http_date(answer.headers.get("Date", ""))
    return None if theirs is None else (clock.utc() - theirs).total_seconds()


def _skew_in_words(ahead: float | None) -> str:
    if ahead is None or abs(ahead) <= TOLERATED_SKEW:
        return ""
    where = "ahead of" if ahead > 0 else "behind"
    return (
        f"; this machine's clock is {abs(ahead):.0f} s {where} the server's: "
        "correct it, for instance with NTP"
    )


def _fields(answer: Answer) -> dict[str, Any]:
    try:
        fields = json.loads(answer.data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _token_fault(answer: Answer, fields: dict[str, Any]) -> tuple[TokenReason, str] | None:
    """What makes a token answer unusable: a reason for programs, and words."""
    if not fields:
        return TokenReason.NOT_JSON, f"with {_kind(answer)} instead of a token"
    if fields.get("access_token") is None and "id_token" in fields:
        return TokenReason.ID_TOKEN, "with an ID token only, are the Scopes those of a Google API?"
    fault = _value_fault(fields.get("access_token"), "access_token")
    lifetime = _number(fields.get("expires_in"))
    if not fault and (lifetime is None or not 0 < lifetime <= LONGEST_LIFETIME):
        expected = f"a number of seconds from 1 to {LONGEST_LIFETIME}"
        return TokenReason.EXPIRES_IN, f"its expires_in is missing or is not {expected}"
    return fault


def _iam_fault(answer: Answer, fields: dict[str, Any]) -> tuple[TokenReason, str] | None:
    """The same for ``generateAccessToken``."""
    if not fields:
        return TokenReason.NOT_JSON, f"with {_kind(answer)} instead of a token"
    if not isinstance(fields.get("expireTime"), str):
        return TokenReason.EXPIRE_TIME, "its expireTime is missing or is not a string"
    return _value_fault(fields.get("accessToken"), "accessToken")


def _by_this_clock(answer: Answer, fields: dict[str, Any], ahead: float | None) -> Answer:
    """An answer of ``generateAccessToken`` whose ``expireTime`` is one of this machine's clock.

    It is a time of the server's, and google-auth compares it with this one: a token would be
    renewed when it has ended, or count as one that has. All other answers say for how long.
    """
    if ahead is None or abs(ahead) <= TOLERATED_SKEW:
        return answer
    try:
        theirs = datetime.strptime(fields["expireTime"], "%Y-%m-%dT%H:%M:%S%z")
        ends = theirs.astimezone(UTC) + timedelta(seconds=ahead)
    except (ValueError, OverflowError):  # google-auth cannot read it either
        return answer
    by_this = {**fields, "expireTime": ends.strftime(_EXPIRE_TIME)}
    return Answer(answer.status, answer.headers, json.dumps(by_this).encode())


def _value_fault(token: Any, name: str) -> tuple[TokenReason, str] | None:
    if not isinstance(token, str) or not token:
        return TokenReason.ACCESS_TOKEN, f"its {name} is missing, empty or not a string"
    if not fits_a_header(token):
        return TokenReason.ACCESS_TOKEN, f"its {name} has characters that no HTTP header may carry"
    return None


def _number(value: Any) -> float | None:
    """Seconds; a string of digits counts too, some endpoints send it."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= 10:
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None


def _plain_text(answer: Answer) -> str:
    return answer.data.decode("utf-8", "replace") if _media_type(answer) == "text/plain" else ""


def _media_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _kind(answer: Answer) -> str:
    if not answer.data:
        return "an empty body"
    kind = _media_type(answer)
    if kind == "text/html" or answer.data.lstrip()[:1] == b"<":
        return "a web page (a captive portal, or a proxy that wants a login?)"
    shown = media_type(kind) or ("an unusual content type" if kind else "no content type")
    return f"something that is not a JSON object ({shown})"
