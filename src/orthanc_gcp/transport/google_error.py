"""What an error of Google says: the one reader of its forms, whatever bytes come.

``google.rpc.Status`` as JSON (AIP-193), also as the one element of a list, and the OAuth2 form
(RFC 6749 §5.2), which token endpoints answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orthanc_gcp.reasons import ApiReason

__all__ = ["GoogleError", "read_google_error"]

LARGEST = 1024 * 1024
"""Bytes of an answer that are read at all."""
LONGEST_MESSAGE = 10_000


@dataclass(frozen=True)
class GoogleError:
    """The error of an answer; each text is as the server sent it, and empty where it sent none.

    Attributes
    ----------
    code : str
        Of ``google.rpc.Code``, such as ``PERMISSION_DENIED``; or OAuth2's, ``invalid_grant``.
    message : str
        For people: ``message``, or OAuth2's ``error_description``. To be shown by
        :func:`orthanc_gcp.redaction.readable` only.
    reason : str
        That of ``google.rpc.ErrorInfo``, which says more than a code.
    """

    code: str = ""
    message: str = ""
    reason: str = ""


def read_google_error(body: bytes) -> GoogleError:
    """The error in the body of an answer; an empty one where there is none.

    Raises nothing, whatever the body is.
    """
    document = _json(body)
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return GoogleError()
    error = document.get("error")
    if isinstance(error, dict):
        message = _text(error.get("message"))
        return GoogleError(_text(error.get("status")), message, _reason(error, message))
    return GoogleError(_text(error), _text(document.get("error_description")))


def _json(body: bytes) -> Any:
    if len(body) > LARGEST:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    return value[:LONGEST_MESSAGE] if isinstance(value, str) else ""


def _reason(error: dict[str, Any], message: str) -> str:
    details = error.get("details")
    for each in details if isinstance(details, list) else ():
        reason = _text(each.get("reason")) if isinstance(each, dict) else ""
        if reason:
            return reason
    # What answers without an ErrorInfo say instead of it.
    scope = "insufficient authentication scopes" in message
    return ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT if scope else ""
