"""Google's answers: the JSON envelope, the HTML 404 page, the 401 and 403 variants.

Sources: AIP-193 "Errors" (``google.rpc.Status``, ``google.rpc.ErrorInfo``), RFC 6749 section 5.2
(errors of grants), RFC 6750 section 3 (``WWW-Authenticate``).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

__all__ = [
    "NEVER_CACHED",
    "GrantError",
    "Refusal",
    "account_not_found",
    "api_disabled",
    "error",
    "expired_token",
    "front_end_page",
    "html_error",
    "impersonation_denied",
    "insufficient_scope",
    "invalid_token",
    "json_answer",
    "missing_credential",
    "page_not_found",
    "permission_denied",
    "quota_exceeded",
    "quota_project_denied",
    "resource_not_found",
    "text_error",
    "usual_error",
]

NEVER_CACHED = {"Cache-Control": "no-cache, no-store, max-age=0"}

_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_USUAL_MESSAGES = {
    400: "Request contains an invalid argument.",
    403: "The caller does not have permission",
    404: "Requested entity was not found.",
    409: "Requested entity already exists",
    429: "Resource has been exhausted (e.g. check quota).",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
    504: "Deadline expired before operation could complete.",
}
_HEALTHCARE = "healthcare.googleapis.com"
_SERVICES = {
    "google.iam.credentials.": "iamcredentials.googleapis.com",
    "google.pubsub.": "pubsub.googleapis.com",
}
_TYPES = "type.googleapis.com/google.rpc"
_REALM = 'Bearer realm="https://accounts.google.com/"'
_EXPECTED = (
    "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
_PAGE = """<!DOCTYPE html>
<html lang=en>
  <meta charset=utf-8>
  <title>Error {status} ({phrase})!!1</title>
  <p><b>{status}.</b> {text}
</html>
"""


class Refusal(Exception):  # noqa: N818 - it is an answer, raised where the reason is found
    """Ends the handling of a request with an answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class GrantError(Exception):
    """A grant is refused: ``error`` and ``error_description`` of RFC 6749, and a status.

    ``subtype`` is Google's ``error_subtype``, where it has one.
    """

    def __init__(
        self, error: str, description: str, status: int = 400, *, subtype: str = ""
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.subtype = subtype

    @property
    def response(self) -> Response:
        """The answer in JSON (RFC 6749 section 5.2)."""
        body = {"error": self.error, "error_description": self.description}
        if self.subtype:
            body["error_subtype"] = self.subtype
        return json_answer(body, self.status, NEVER_CACHED)


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer as Google's front end prints it (``prettyPrint`` is on by default)."""
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    # A refusal may repeat text that is none in Unicode.
    content = text.encode(errors="replace")
    return Response(content, status, headers, media_type="application/json; charset=UTF-8")


def error(
    status: int,
    message: str,
    *,
    name: str | None = None,
    details: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an error in the envelope of ``google.rpc.Status``.

    Parameters
    ----------
    status : int
        The status of HTTP.
    name : str, optional
        The name of the ``google.rpc.Code``, if not the usual one of that status.
    details : list of dict, optional
        Messages with an ``@type`` each.
    """
    body: dict[str, Any] = {"code": status, "message": message}
    body["status"] = name or _STATUS_NAMES[status]
    if details:
        body["details"] = details
    return json_answer({"error": body}, status, headers)


def text_error(status: int, text: str) -> Response:
    """Return an error of the DICOMweb layer, which speaks plain text."""
    return Response(text.encode(), status, media_type="text/plain; charset=utf-8")


def html_error(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """Return a page of the metadata server that says what is wrong."""
    page = (
        f"<!DOCTYPE html>\n<html lang=en>\n  <title>Error {status}</title>\n  <p>{text}\n</html>\n"
    )
    return Response(page.encode(), status, headers, media_type="text/html; charset=UTF-8")


def page_not_found() -> Response:
    """Return what the front end says to any unknown route, verb or custom method."""
    return _page(404, "Not Found", "This address leads nowhere on this server.")


def front_end_page(status: int) -> Response:
    """Return what the front end says when it gets no answer from behind it."""
    phrase = "Server Error" if status >= 500 else _phrase(status)
    return _page(status, phrase, "The server could not complete your request.")


def _page(status: int, phrase: str, text: str) -> Response:
    page = _PAGE.format(status=status, phrase=phrase, text=text)
    return Response(page, status, media_type="text/html; charset=UTF-8")


def usual_error(status: int) -> Response:
    """Return the error that a status mostly stands for."""
    if status == 401:
        return invalid_token()
    name = _STATUS_NAMES.get(status, "UNKNOWN")
    return error(status, _USUAL_MESSAGES.get(status) or _phrase(status), name=name)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Error"


def missing_credential(rpc: str) -> Response:
    """Return the 401 of a request without any credential."""
    return error(
        401,
        f"Request is missing required authentication credential. {_EXPECTED}",
        details=[_error_info("CREDENTIALS_MISSING", rpc)],
        headers={"WWW-Authenticate": _REALM},
    )


def invalid_token() -> Response:
    """Return the 401 of a token that Google never issued."""
    return error(
        401,
        f"Request had invalid authentication credentials. {_EXPECTED}",
        headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
    )


def expired_token(rpc: str) -> Response:
    """Return the 401 of a token whose time is over."""
    return error(
        401,
        f"Request had invalid authentication credentials. {_EXPECTED}",
        details=[_error_info("ACCESS_TOKEN_EXPIRED", rpc)],
        headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
    )


def insufficient_scope(rpc: str, scopes: Collection[str]) -> Response:
    """Return the 403 of a token whose scopes do not reach."""
    expected = " ".join(scopes)
    return error(
        403,
        "Request had insufficient authentication scopes.",
        details=[_error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", rpc)],
        headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{expected}"'},
    )


def permission_denied(permission: str, resource: str) -> Response:
    """Return the answer for a resource that one may not see, and mostly for one there is not."""
    return error(
        403,
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
    )


def resource_not_found(resource: str) -> Response:
    """Return the other answer for a resource that there is not."""
    return error(404, f"resource not found: {resource}")


def quota_exceeded(
    project_number: str,
    limit: int,
    seconds_left: int | None,
    quota: str = "dicom_web_ops",
    *,
    location: str = "",
) -> Response:
    """Return the 429 of a project that has had its requests for ``seconds_left`` more seconds.

    Parameters
    ----------
    quota : str
        Which one, by the last part of its metric.
    location : str
        Where it is used up, if that is known.
    """
    metric = f"{_HEALTHCARE}/{quota}"
    name = quota.title().replace("_", "") + "PerMinutePerProjectPerRegion"
    metadata = {
        "service": _HEALTHCARE,
        "consumer": f"projects/{project_number}",
        "quota_metric": metric,
        "quota_limit": name,
        "quota_limit_value": str(limit),
        "quota_unit": "1/min/{project}/{region}",
    }
    if location:
        metadata["quota_location"] = location
    link = {
        "description": "Request a higher quota limit.",
        "url": "https://cloud.google.com/docs/quotas/help/request_increase",
    }
    return error(
        429,
        f"Quota exceeded for quota metric '{metric}' and limit '{name}' of service "
        f"'{_HEALTHCARE}' for consumer 'project_number:{project_number}'.",
        details=[
            _info("RATE_LIMIT_EXCEEDED", "googleapis.com", metadata),
            {"@type": f"{_TYPES}.Help", "links": [link]},
        ],
        headers=None if seconds_left is None else {"Retry-After": str(seconds_left)},
    )


def api_disabled(project_number: str) -> Response:
    """Return the 403 of a project in which the API was never enabled."""
    url = (
        "https://console.developers.google.com/apis/api/healthcare.googleapis.com/overview"
        f"?project={project_number}"
    )
    message = (
        f"Cloud Healthcare API has not been used in project {project_number} before or it is "
        f"disabled. Enable it by visiting {url} then retry. If you enabled this API recently, "
        "wait a few minutes for the action to propagate to our systems and retry."
    )
    metadata = {
        "service": _HEALTHCARE,
        "serviceTitle": "Cloud Healthcare API",
        "consumer": f"projects/{project_number}",
        "containerInfo": project_number,
        "activationUrl": url,
    }
    link = {"description": "Google developers console API activation", "url": url}
    details = [
        _info("SERVICE_DISABLED", "googleapis.com", metadata),
        {"@type": f"{_TYPES}.LocalizedMessage", "locale": "en-US", "message": message},
        {"@type": f"{_TYPES}.Help", "links": [link]},
    ]
    return error(403, message, details=details)


def quota_project_denied(project: str) -> Response:
    """Return the 403 of a project that the caller may not use the quota of."""
    message = (
        f"Caller does not have required permission to use project {project}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the "
        "serviceusage.services.use permission, by visiting "
        f"https://console.developers.google.com/iam-admin/iam/project?project={project} and then "
        "retry. Propagation of the new permission may take a few minutes."
    )
    metadata = {"service": _HEALTHCARE, "consumer": f"projects/{project}"}
    info = _info("USER_PROJECT_DENIED", "googleapis.com", metadata)
    return error(403, message, details=[info])


def account_not_found(email: str) -> Response:
    """Return the 404 of what is no service account."""
    return error(404, f"Not found; Gaia id not found for email {email}")


def impersonation_denied() -> Response:
    """Return the 403 of a service account that the caller may not act for."""
    permission = "iam.serviceAccounts.getAccessToken"
    return error(
        403,
        f"Permission '{permission}' denied on resource (or it may not exist).",
        details=[_info("IAM_PERMISSION_DENIED", "iam.googleapis.com", {"permission": permission})],
    )


def _error_info(reason: str, rpc: str) -> dict[str, Any]:
    named = (service for prefix, service in _SERVICES.items() if rpc.startswith(prefix))
    service = next(named, _HEALTHCARE)
    return _info(reason, "googleapis.com", {"service": service, "method": rpc})


def _info(reason: str, domain: str, metadata: dict[str, str]) -> dict[str, Any]:
    kind = f"{_TYPES}.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": domain, "metadata": metadata}
