"""What a token endpoint answers, judged before google-auth sees it.

google-auth sleeps and retries on its own, accepts tokens without an end, and tells little of what
came back. This wrapper of the transport lets only good answers through and raises for the rest,
so that the keeper alone decides when to try again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from google.auth.transport import Request

from orthanc_gcp.clock import Clock
from orthanc_gcp.errors import TokenError
from orthanc_gcp.secrecy import readable, secrets_of_form
from orthanc_gcp.transport import Answer, Transport

__all__ = ["TokenEndpoint"]

# Google's tokens live 12 hours at most; more than a day is somebody else's answer.
LONGEST_LIFETIME = 86400
_TOLERATED_SKEW = 60


class TokenEndpoint(Request):
    """A transport that only returns usable token answers (RFC 6749 §5.1)."""

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
        """Ask for a token.

        Raises
        ------
        TokenError
            The endpoint refused (RFC 6749 §5.2), or its answer is not a token.
        """
        answer = self._transport(url, method, body, headers, timeout, **kwargs)
        fields = _fields(answer)
        who = urlsplit(url).netloc
        if answer.status != 200:
            words = f"{who} answered {_refusal(answer, fields, secrets_of_form(body))}"
            reason = fields.get("error")
            raise TokenError(
                words + self._skew(answer),
                reason=reason if isinstance(reason, str) else f"http_{answer.status}",
                status=answer.status,
            )
        fault = _fault(answer, fields)
        if fault:
            reason, words = fault
            raise TokenError(f"{who} answered 200 but {words}", reason=reason, status=200)
        return answer

    def _skew(self, answer: Answer) -> str:
        """What to say of this machine's clock, by the ``Date`` header of the answer."""
        try:
            date = parsedate_to_datetime(answer.headers.get("Date", ""))
        except ValueError:
            return ""
        theirs = date if date.tzinfo else date.replace(tzinfo=UTC)
        ahead = (self._clock.utc() - theirs).total_seconds()
        if abs(ahead) <= _TOLERATED_SKEW:
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


def _refusal(answer: Answer, fields: dict[str, Any], secrets: list[str]) -> str:
    """``400 invalid_grant: Token has been expired or revoked.``"""
    error, description = fields.get("error"), fields.get("error_description")
    if isinstance(error, dict):  # the JSON envelope of Google's other services
        description, error = error.get("message"), error.get("status")
    if not isinstance(error, str):
        return f"{answer.status} without an OAuth2 error, but {_kind(answer)}"
    detail = f": {description}" if isinstance(description, str) else ""
    return f"{answer.status} {readable(error + detail, secrets)}"


def _fault(answer: Answer, fields: dict[str, Any]) -> tuple[str, str] | None:
    """What makes a 200 unusable: a reason for programs, and words."""
    if not fields:
        return "not_json", f"with {_kind(answer)} instead of a token"
    token = fields.get("access_token")
    if token is None and "id_token" in fields:
        return "id_token", "with an ID token only, are the Scopes those of a Google API?"
    if not isinstance(token, str) or not token:
        return "access_token", "its access_token is missing, empty or not a string"
    if not (token.isascii() and token.isprintable() and " " not in token):
        return "access_token", "its access_token has characters that no HTTP header may carry"
    lifetime = _number(fields.get("expires_in"))
    if lifetime is None or not 0 < lifetime <= LONGEST_LIFETIME:
        expected = f"a number of seconds from 1 to {LONGEST_LIFETIME}"
        return "expires_in", f"its expires_in is missing or is not {expected}"
    return None


def _number(value: Any) -> float | None:
    """Seconds; a string of digits counts too, some endpoints send it."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= 10:
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None


def _kind(answer: Answer) -> str:
    if not answer.data:
        return "an empty body"
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "text/html" or answer.data.lstrip()[:1] == b"<":
        return "a web page (a captive portal, or a proxy that wants a login?)"
    return f"something that is not a JSON object ({readable(kind) or 'no content type'})"
