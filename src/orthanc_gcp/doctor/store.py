"""The store as one identity sees it: small requests with its token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orthanc_gcp.authorization import Authorization
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.errors import StoreError
from orthanc_gcp.secrecy import readable
from orthanc_gcp.token_endpoint import google_error
from orthanc_gcp.transport import Answer, Transport

__all__ = ["Store"]


class Store:
    """A DICOM store and the token to ask it with."""

    def __init__(
        self,
        account: Account,
        settings: Settings,
        transport: Transport,
        token: str,
        quota_project: str | None,
    ) -> None:
        base = settings.section.base_url.rstrip("/")
        self.url = f"{base}/{account.store_path}"
        self._transport = transport
        self._headers = Authorization(token, quota_project).headers()

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request below the store's address.

        Raises
        ------
        StoreError
            Google's answer is an error; ``reason`` is that of its ErrorInfo, or the status' name.
        TokenError
            No answer came.
        """
        answer = self._transport(
            self.url + path, method, body, {**self._headers, **(headers or {})}
        )
        if answer.status >= 300:
            raise _refusal(answer)
        return answer

    def permissions(self, wanted: list[str]) -> set[str]:
        """Those of some permissions that the identity has (``testIamPermissions``)."""
        body = json.dumps({"permissions": wanted}).encode()
        answer = self.ask(":testIamPermissions", "POST", body, {"Content-Type": "application/json"})
        granted = json.loads(answer.data or b"{}").get("permissions", [])
        return {str(name) for name in granted}


def _refusal(answer: Answer) -> StoreError:
    status, message = google_error(answer)
    reason = _reason(answer) or status or f"http_{answer.status}"
    words = readable(message) if message else f"without a reason ({len(answer.data)} bytes)"
    return StoreError(
        f"Google answered {answer.status}: {words}", reason=reason, status=answer.status
    )


def _reason(answer: Answer) -> str:
    """The reason of an ErrorInfo, or what older answers say in words."""
    try:
        details: list[Any] = json.loads(answer.data)["error"].get("details", [])
        reason = next((str(each["reason"]) for each in details if "reason" in each), "")
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    scope = b"insufficient authentication scopes" in answer.data
    return reason or ("ACCESS_TOKEN_SCOPE_INSUFFICIENT" if scope else "")
