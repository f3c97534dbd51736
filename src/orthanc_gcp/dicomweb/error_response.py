"""What a store's refusal means: a reason for programs, and words for the person at night."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from orthanc_gcp.errors import StoreError
from orthanc_gcp.redaction import readable

__all__ = ["google_error", "refusal", "retry_after"]

LONGEST_WAIT = 3600.0

_REFUSALS: dict[int, tuple[str, bool, str]] = {
    400: ("bad_request", False, "the request is not to its liking"),
    401: ("unauthorized", True, "the access token was refused, a new one is needed"),
    403: (
        "forbidden",
        False,
        "it does not exist, or the account may not do this: check the account's names and roles",
    ),
    404: ("not_found", False, "there is no such thing"),
    406: ("bad_request", False, "it has no such representation"),
    408: ("timeout", True, "the request took too long"),
    409: ("conflict", False, "something there already is in the way"),
    411: ("length_required", False, "something on the way removes Content-Length: check HttpProxy"),
    413: ("too_large", False, "the request is too large: send fewer instances at once"),
    425: ("unavailable", True, "it came too early"),
    429: ("throttled", True, "the quota is used up: send less, or ask Google for more"),
}
"""Reason, whether the same may succeed later, and words, by status."""

_UNAVAILABLE = ("unavailable", True, "the service is in trouble")
_UNEXPECTED = ("protocol", False, "this is no answer of a DICOM store: check BaseUrl and HttpProxy")

_DETAILS: dict[str, tuple[str, bool, str]] = {
    "ACCESS_TOKEN_EXPIRED": (
        "unauthorized",
        True,
        "the access token has expired, a new one is needed",
    ),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (
        "forbidden",
        False,
        "the access token lacks the scope of the Healthcare API, check Scopes or those of the VM",
    ),
    "SERVICE_DISABLED": (
        "forbidden",
        False,
        "the Cloud Healthcare API is disabled in the project: enable it",
    ),
    "USER_PROJECT_DENIED": (
        "forbidden",
        False,
        "the account may not use the quota project: check its role serviceUsageConsumer",
    ),
    "RATE_LIMIT_EXCEEDED": _REFUSALS[429],
}
"""The same, by the reason of Google's ErrorInfo, which says more than a status."""


def refusal(
    what: str, status: int, headers: Mapping[str, str], body: bytes, token: str
) -> StoreError:
    """The error for an answer that is a refusal; ``what`` names the request."""
    message, detail = google_error(body)
    if not detail and "insufficient_scope" in headers.get("WWW-Authenticate", ""):
        detail = "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    reason, retryable, words = _DETAILS.get(detail) or _by_status(status)
    if status == 404 and _is_html(headers):
        words = "the address is not that of a DICOM store: check BaseUrl"
    said = readable(message or _plain_text(headers, body), [token])
    return StoreError(
        f"{what}: answered {status}: {words}" + (f" ({said})" if said else ""),
        reason=reason,
        retryable=retryable,
        status=status,
        retry_after=retry_after(headers),
    )


def _by_status(status: int) -> tuple[str, bool, str]:
    if status in _REFUSALS:
        return _REFUSALS[status]
    if 300 <= status < 400:
        return "protocol", False, "it redirects elsewhere, which is not followed: check BaseUrl"
    return _UNAVAILABLE if 500 <= status < 600 else _UNEXPECTED


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks to wait (RFC 9110 §10.2.3), at most an hour."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(seconds.total_seconds(), 0.0), LONGEST_WAIT)


def google_error(body: bytes) -> tuple[str, str]:
    """Message and ErrorInfo reason of Google's JSON envelope; empty where there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if isinstance(document, list) and document:
        document = document[0]
    error: Any = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return "", ""
    details = error.get("details")
    reasons = [
        str(each["reason"])
        for each in (details if isinstance(details, list) else ())
        if isinstance(each, dict) and "reason" in each
    ]
    message = error.get("message")
    return message if isinstance(message, str) else "", reasons[0] if reasons else ""


def _plain_text(headers: Mapping[str, str], body: bytes) -> str:
    plain = headers.get("Content-Type", "").lower().startswith("text/plain")
    return body.decode("utf-8", "replace") if plain else ""


def _is_html(headers: Mapping[str, str]) -> bool:
    return "html" in headers.get("Content-Type", "").lower()
