"""What an error of Google says: the one reader of its forms, whatever bytes come.

``google.rpc.Status`` as JSON (AIP-193), also as the one element of a list, and the OAuth2 form
(RFC 6749 §5.2), which token endpoints answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orthanc_gcp.error_text import is_classified
from orthanc_gcp.reasons import ApiReason, ErrorDetails, RpcCode, TokenReason, of_server

__all__ = ["GoogleError", "read_google_error"]

LARGEST = 1024 * 1024
"""Bytes of an answer that are read at all."""
LONGEST_MESSAGE = 10_000
_MOST_DETAILS = 20

_GCLOUD_PROJECTS = frozenset({"764086051850", "32555940559"})
"""Google's own, of the OAuth clients of ``gcloud auth application-default login`` and ``login``.

What a user asks for without a quota project counts for the project of the OAuth client.
"""
_VPC_SERVICE_CONTROLS = "VPC_SERVICE_CONTROLS"
_REAUTHENTICATION = frozenset({"invalid_rapt", "rapt_required"})
"""Values of ``error_subtype``."""

_CONSUMER = re.compile(r"projects/[\w.:-]{1,100}", re.ASCII)
_METRIC = re.compile(r"[a-z.]{1,100}\.googleapis\.com/[a-z_/]{1,100}", re.ASCII)
# 54 characters in the one answer that is known.
_IDENTIFIER = re.compile(r"[\w-]{40,100}", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9.-]{1,100}\.googleapis\.com", re.ASCII)
_CONSOLE = re.compile(
    r"https://console\.(?:cloud\.google|developers\.google)\.com/[\w./?=&%-]{1,300}", re.ASCII
)


@dataclass(frozen=True)
class GoogleError:
    """The error of an answer; what it lacks is empty.

    Attributes
    ----------
    code : str
        Of ``google.rpc.Code``, such as ``PERMISSION_DENIED``; or OAuth2's, ``invalid_grant``. Of
        one that is not made of words of errors, ``UNKNOWN`` is all that is said.
    message : str
        For people, as the server sent it: ``message``, or OAuth2's ``error_description``. To be
        shown by :func:`orthanc_gcp.error_text.classified` only.
    reason : str
        What says more than a code: that of ``google.rpc.ErrorInfo``, ``UNKNOWN`` as for a code; or
        an :class:`ApiReason` or :class:`TokenReason`, which is found out from the details.
    details : ErrorDetails
        What else is said that is known here.
    """

    code: str = ""
    message: str = ""
    reason: str = ""
    details: ErrorDetails = field(default_factory=ErrorDetails)

    @property
    def known_reason(self) -> str:
        """The reason, if it is one that is known here; else empty."""
        found = isinstance(self.reason, ApiReason | TokenReason)
        return self.reason if found or of_server(self.reason) == self.reason else ""


def read_google_error(body: bytes, hidden: Collection[str] = ()) -> GoogleError:
    """The error in the body of an answer; an empty one where there is none.

    Raises nothing, whatever the body is.

    Parameters
    ----------
    hidden
        The secrets of the request: no detail that repeats one is read.
    """
    document = _json(body)
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return GoogleError()
    error = document.get("error")
    if isinstance(error, dict):
        message = _text(error.get("message"))
        details = list(_details(error))
        found = _known_details(details, hidden)
        reason = _reason(details, found, message)
        return GoogleError(_word(error.get("status")), message, reason, found)
    again = _text(document.get("error_subtype")) in _REAUTHENTICATION
    reason = TokenReason.REAUTHENTICATION if again else ""
    return GoogleError(_word(error), _text(document.get("error_description")), reason)


def _json(body: bytes) -> Any:
    if len(body) > LARGEST:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    return value[:LONGEST_MESSAGE] if isinstance(value, str) else ""


def _word(value: Any) -> str:
    """A code or reason, if it is made of words of errors: it may be anything else."""
    text = _text(value)
    return text if not text or is_classified(text) else RpcCode.UNKNOWN


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for each in details[:_MOST_DETAILS] if isinstance(details, list) else ():
        if isinstance(each, dict):
            yield each


def _error_info(details: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((each for each in details if _text(each.get("reason"))), {})


def _known_details(details: list[Mapping[str, Any]], hidden: Collection[str]) -> ErrorDetails:
    metadata = _error_info(details).get("metadata")
    said = metadata if isinstance(metadata, dict) else {}

    def matching(form: re.Pattern[str], value: Any) -> str:
        if not isinstance(value, str) or not form.fullmatch(value):
            return ""
        return "" if any(secret and secret in value for secret in hidden) else value

    return ErrorDetails(
        consumer=matching(_CONSUMER, said.get("consumer")),
        quota_metric=matching(_METRIC, said.get("quota_metric")),
        unique_identifier=matching(_IDENTIFIER, said.get("uid") or _violation(details)),
        activation_url=matching(_CONSOLE, said.get("activationUrl")),
        service=matching(_SERVICE, said.get("service")),
    )


def _violation(details: list[Mapping[str, Any]]) -> str | None:
    """The identifier in a ``PreconditionFailure`` of VPC Service Controls; None without one."""
    for each in details:
        violations = each.get("violations")
        for one in violations[:_MOST_DETAILS] if isinstance(violations, list) else ():
            if isinstance(one, dict) and one.get("type") == _VPC_SERVICE_CONTROLS:
                return _text(one.get("description"))
    return None


def _reason(details: list[Mapping[str, Any]], found: ErrorDetails, message: str) -> str:
    reason = _word(_error_info(details).get("reason"))
    if reason == ApiReason.SERVICE_DISABLED and found.project in _GCLOUD_PROJECTS:
        return ApiReason.NO_QUOTA_PROJECT
    if reason:
        return reason
    # What answers without an ErrorInfo say instead of it.
    if _violation(details) is not None:
        return ApiReason.SECURITY_POLICY_VIOLATED
    scope = "insufficient authentication scopes" in message
    return ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT if scope else ""
