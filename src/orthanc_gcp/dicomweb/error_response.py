"""What a store's refusal means: a reason for programs, and words for the person at night."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from orthanc_gcp.clock import http_date
from orthanc_gcp.error_text import classified
from orthanc_gcp.errors import StoreError
from orthanc_gcp.reasons import ApiReason, RpcCode, StoreReason
from orthanc_gcp.transport.google_error import read_google_error
from orthanc_gcp.transport.refusals import Refusal, Refusals

__all__ = ["refusal", "retry_after"]

LONGEST_WAIT = 3600.0

_THROTTLED = Refusal(
    StoreReason.THROTTLED, True, "the quota is used up: send less, or ask Google for more"
)
_REDIRECTED = Refusal(
    StoreReason.PROTOCOL,
    False,
    "it redirects elsewhere, which is not followed: check BaseUrl",
)
_BY_STATUS = {
    **dict.fromkeys(range(300, 400), _REDIRECTED),
    400: Refusal(StoreReason.BAD_REQUEST, False, "the request is not to its liking"),
    401: Refusal(
        StoreReason.UNAUTHORIZED, True, "the access token was refused, a new one is needed"
    ),
    403: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "it does not exist, or the account may not do this: check the account's names and roles",
    ),
    404: Refusal(StoreReason.NOT_FOUND, False, "there is no such thing"),
    406: Refusal(StoreReason.BAD_REQUEST, False, "it has no such representation"),
    408: Refusal(StoreReason.TIMEOUT, True, "the request took too long"),
    409: Refusal(StoreReason.CONFLICT, False, "something there already is in the way"),
    411: Refusal(
        StoreReason.LENGTH_REQUIRED,
        False,
        "something on the way removes Content-Length: check HttpProxy",
    ),
    413: Refusal(
        StoreReason.TOO_LARGE, False, "the request is too large: send fewer instances at once"
    ),
    425: Refusal(StoreReason.UNAVAILABLE, True, "it came too early"),
    429: _THROTTLED,
}
_BY_DETAIL: dict[str, Refusal] = {
    ApiReason.ACCESS_TOKEN_EXPIRED: Refusal(
        StoreReason.UNAUTHORIZED,
        True,
        "the access token has expired, a new one is needed",
    ),
    ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "the access token lacks the scope of the Healthcare API, check Scopes or those of the VM",
    ),
    ApiReason.SERVICE_DISABLED: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "the Cloud Healthcare API is disabled in the project: enable it",
    ),
    ApiReason.NO_QUOTA_PROJECT: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "a user's request needs a project that it counts for: set QuotaProject",
    ),
    ApiReason.SECURITY_POLICY_VIOLATED: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "a perimeter of VPC Service Controls does not admit it, which no role cures",
    ),
    ApiReason.RESOURCE_USAGE_RESTRICTION_VIOLATED: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "a policy of the organization does not allow the API, which no role cures",
    ),
    ApiReason.USER_PROJECT_DENIED: Refusal(
        StoreReason.FORBIDDEN,
        False,
        "the account may not use the quota project: check its role serviceUsageConsumer",
    ),
    ApiReason.RATE_LIMIT_EXCEEDED: _THROTTLED,
    RpcCode.FAILED_PRECONDITION: Refusal(
        StoreReason.PRECONDITION,
        False,
        "the project or the store is in a state that forbids it",
    ),
}
_REFUSALS = Refusals(
    _BY_STATUS,
    _BY_DETAIL,
    Refusal(
        StoreReason.PROTOCOL,
        False,
        "this is no answer of a DICOM store: check BaseUrl and HttpProxy",
    ),
)


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
    reason, retryable, words = _REFUSALS.judge(status, detail, error.code)
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


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks to wait (RFC 9110 §10.2.3), at most an hour.

    A date is one of the server's clock, which says in ``Date`` (§6.6.1) what time it is there.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    date = http_date(text)
    if date is None:
        return None
    now = http_date(headers.get("Date", "")) or datetime.now(UTC)
    return min(max((date - now).total_seconds(), 0.0), LONGEST_WAIT)


def _plain_text(headers: Mapping[str, str], body: bytes) -> str:
    plain = headers.get("Content-Type", "").lower().startswith("text/plain")
    return body.decode("utf-8", "replace") if plain else ""


def _is_html(headers: Mapping[str, str]) -> bool:
    return "html" in headers.get("Content-Type", "").lower()
