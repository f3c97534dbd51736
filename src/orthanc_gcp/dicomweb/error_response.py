"""What a store's refusal means: a reason for programs, and words for the person at night."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orthanc_gcp.error_text import classified
from orthanc_gcp.errors import StoreError
from orthanc_gcp.reasons import ApiReason, RpcCode, StoreReason
from orthanc_gcp.transport.google_error import read_google_error

__all__ = ["refusal", "retry_after"]

LONGEST_WAIT = 3600.0

_Refusal = tuple[StoreReason, bool, str]

_REFUSALS: dict[int, _Refusal] = {
    400: (StoreReason.BAD_REQUEST, False, "the request is not to its liking"),
    401: (StoreReason.UNAUTHORIZED, True, "the access token was refused, a new one is needed"),
    403: (
        StoreReason.FORBIDDEN,
        False,
        "it does not exist, or the account may not do this: check the account's names and roles",
    ),
    404: (StoreReason.NOT_FOUND, False, "there is no such thing"),
    406: (StoreReason.BAD_REQUEST, False, "it has no such representation"),
    408: (StoreReason.TIMEOUT, True, "the request took too long"),
    409: (StoreReason.CONFLICT, False, "something there already is in the way"),
    411: (
        StoreReason.LENGTH_REQUIRED,
        False,
        "something on the way removes Content-Length: check HttpProxy",
    ),
    413: (StoreReason.TOO_LARGE, False, "the request is too large: send fewer instances at once"),
    425: (StoreReason.UNAVAILABLE, True, "it came too early"),
    429: (StoreReason.THROTTLED, True, "the quota is used up: send less, or ask Google for more"),
}
"""Reason, whether the same may succeed later, and words, by status."""

_UNAVAILABLE = (StoreReason.UNAVAILABLE, True, "the service is in trouble")
_UNEXPECTED = (
    StoreReason.PROTOCOL,
    False,
    "this is no answer of a DICOM store: check BaseUrl and HttpProxy",
)

_DETAILS: dict[str, _Refusal] = {
    ApiReason.ACCESS_TOKEN_EXPIRED: (
        StoreReason.UNAUTHORIZED,
        True,
        "the access token has expired, a new one is needed",
    ),
    ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT: (
        StoreReason.FORBIDDEN,
        False,
        "the access token lacks the scope of the Healthcare API, check Scopes or those of the VM",
    ),
    ApiReason.SERVICE_DISABLED: (
        StoreReason.FORBIDDEN,
        False,
        "the Cloud Healthcare API is disabled in the project: enable it",
    ),
    ApiReason.NO_QUOTA_PROJECT: (
        StoreReason.FORBIDDEN,
        False,
        "a user's request needs a project that it counts for: set QuotaProject",
    ),
    ApiReason.SECURITY_POLICY_VIOLATED: (
        StoreReason.FORBIDDEN,
        False,
        "a perimeter of VPC Service Controls does not admit it, which no role cures",
    ),
    ApiReason.RESOURCE_USAGE_RESTRICTION_VIOLATED: (
        StoreReason.FORBIDDEN,
        False,
        "a policy of the organization does not allow the API, which no role cures",
    ),
    ApiReason.USER_PROJECT_DENIED: (
        StoreReason.FORBIDDEN,
        False,
        "the account may not use the quota project: check its role serviceUsageConsumer",
    ),
    ApiReason.RATE_LIMIT_EXCEEDED: _REFUSALS[429],
}
"""The same, by the reason of Google's ErrorInfo, which says more than a status."""

_CODES: dict[str, _Refusal] = {
    RpcCode.FAILED_PRECONDITION: (
        StoreReason.PRECONDITION,
        False,
        "the project or the store is in a state that forbids it",
    ),
}
"""The same, by a ``google.rpc.Code`` that says more than a status."""


def refusal(
    what: str, status: int, headers: Mapping[str, str], body: bytes, token: str
) -> StoreError:
    """The error for an answer that is a refusal (AIP-193; RFC 9110 §15).

    Parameters
    ----------
    what
        Names the request, in the message.
    token
        The access token of the request, which is not shown if the answer repeats it.
    """
    error = read_google_error(body, [token])
    detail = error.reason
    if not detail and "insufficient_scope" in headers.get("WWW-Authenticate", ""):
        detail = ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT
    found = _DETAILS.get(detail) or _CODES.get(error.code)
    reason, retryable, words = found or _by_status(status)
    if status == 404 and _is_html(headers):
        words = "the address is not that of a DICOM store: check BaseUrl"
    said = classified(error.message or _plain_text(headers, body), hidden=[token])
    return StoreError(
        f"{what}: answered {status}: {words}" + (f" ({said})" if said else ""),
        reason=reason,
        retryable=retryable,
        status=status,
        retry_after=retry_after(headers),
        details=error.details,
    )


def _by_status(status: int) -> _Refusal:
    if status in _REFUSALS:
        return _REFUSALS[status]
    if 300 <= status < 400:
        return (
            StoreReason.PROTOCOL,
            False,
            "it redirects elsewhere, which is not followed: check BaseUrl",
        )
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


def _plain_text(headers: Mapping[str, str], body: bytes) -> str:
    plain = headers.get("Content-Type", "").lower().startswith("text/plain")
    return body.decode("utf-8", "replace") if plain else ""


def _is_html(headers: Mapping[str, str]) -> bool:
    return "html" in headers.get("Content-Type", "").lower()
