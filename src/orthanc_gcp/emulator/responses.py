"""Google's answers: the JSON envelope, the HTML 404 page, the 401 and 403 variants.

The envelope is the one of the page "Errors" of the API design guide (``google.rpc.Status``).
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.access_tokens import HEALTHCARE_SCOPES

__all__ = [
    "MISSING_RESOURCE_STATUS",
    "Refusal",
    "error",
    "expired_token",
    "insufficient_scope",
    "invalid_token",
    "json_answer",
    "missing_credential",
    "missing_resource",
    "page_not_found",
    "text_error",
]

MISSING_RESOURCE_STATUS = 403
"""What an absent store, study, series or instance answers (the DICOM conformance statement)."""

_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    500: "INTERNAL",
}
_REALM = 'Bearer realm="https://accounts.google.com/"'
_EXPECTED = (
    "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
_NOT_FOUND_PAGE = """<!DOCTYPE html>
<html lang=en>
  <meta charset=utf-8>
  <title>Error 404 (Not Found)!!1</title>
  <p><b>404.</b> This address leads nowhere on this server.
</html>
"""


class Refusal(Exception):  # noqa: N818 - it is an answer, raised where the reason is found
    """Ends the handling of a request with an answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer as Google's front end prints it (``prettyPrint`` is on by default)."""
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return Response(text.encode(), status, headers, media_type="application/json; charset=UTF-8")


def error(
    status: int,
    message: str,
    *,
    details: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an error in the envelope of ``google.rpc.Status``."""
    body: dict[str, Any] = {"code": status, "message": message, "status": _STATUS_NAMES[status]}
    if details:
        body["details"] = details
    return json_answer({"error": body}, status, headers)


def text_error(status: int, text: str) -> Response:
    """Return an error of the DICOMweb layer, which speaks plain text."""
    return Response(text.encode(), status, media_type="text/plain; charset=utf-8")


def page_not_found() -> Response:
    """Return what the front end says to any unknown route, verb or custom method."""
    return Response(_NOT_FOUND_PAGE, 404, media_type="text/html; charset=UTF-8")


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


def insufficient_scope(rpc: str) -> Response:
    """Return the 403 of a token whose scopes do not reach."""
    scopes = " ".join(HEALTHCARE_SCOPES)
    return error(
        403,
        "Request had insufficient authentication scopes.",
        details=[_error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", rpc)],
        headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{scopes}"'},
    )


def missing_resource(permission: str, resource: str) -> Response:
    """Return the answer for a resource that does not exist, or that one may not see."""
    return error(
        MISSING_RESOURCE_STATUS,
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
    )


def _error_info(reason: str, rpc: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "healthcare.googleapis.com", "method": rpc},
    }
