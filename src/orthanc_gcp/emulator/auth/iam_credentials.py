"""Short-lived tokens of service accounts for others.

Source: IAM Service Account Credentials API, REST reference, method
``projects.serviceAccounts.generateAccessToken``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.access_tokens import CLOUD_PLATFORM, TokenMint
from orthanc_gcp.emulator.auth.authorization import Authorizer
from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.faults.permissions import IMPERSONATE
from orthanc_gcp.emulator.http.requests import MAX_REQUEST_SIZE, parse_object, read_limited
from orthanc_gcp.emulator.http.responses import (
    Refusal,
    account_not_found,
    error,
    impersonation_denied,
    json_answer,
)

__all__ = ["TOKEN_OF_ACCOUNT", "GenerateAccessToken"]

TOKEN_OF_ACCOUNT = re.compile(
    r"/v1/projects/[^/]+/serviceAccounts/(?P<email>[^/:]+):generateAccessToken"
)
RPC = "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken"
IAM_SCOPES = ("https://www.googleapis.com/auth/iam", CLOUD_PLATFORM)
MAX_LIFETIME = 3600
_DELEGATE = re.compile(r"projects/[^/]+/serviceAccounts/(?P<email>[^/]+)")
_LIFETIME = re.compile(r"(?P<seconds>\d{1,6})(\.\d+)?s")


class GenerateAccessToken:
    """Issues tokens of one service account to whoever may act in its name."""

    def __init__(
        self,
        identities: Identities,
        mint: TokenMint,
        fault_settings: FaultSettings,
        clock: Callable[[], float],
        authorizer: Authorizer,
    ) -> None:
        self._identities, self._mint, self._fault_settings = identities, mint, fault_settings
        self._clock, self._authorizer = clock, authorizer

    async def __call__(self, request: Request, email: str) -> Response:
        """Handle ``projects.serviceAccounts.generateAccessToken``.

        Raises
        ------
        Refusal
            400 for arguments that cannot be, 401 and 403 as the authorizer says, 403 when
            impersonation is denied, 404 for an account that there is not.
        """
        self._authorizer.identify(request, RPC, IAM_SCOPES)
        body = _parse(await read_limited(request, MAX_REQUEST_SIZE))
        scopes, lifetime = _scopes(body), _lifetime(body)
        for account in (*_delegates(body), email):
            self._require(account)
        lifetime = min(lifetime, self._mint.lifetime)
        token = self._mint.issue(email, scopes, "ya29.c.", lifetime)
        end = datetime.fromtimestamp(self._clock() + lifetime, UTC)
        # google-auth takes no fractions of a second here.
        return json_answer({"accessToken": token, "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ")})

    def _require(self, email: str) -> None:
        """Refuse an account that there is not, or that the one before may not act for."""
        if self._identities.service_account(email) is None:
            raise Refusal(account_not_found(email))
        settings = self._fault_settings.current
        if settings.denied_impersonation or IMPERSONATE in settings.denied_permissions:
            raise Refusal(impersonation_denied())


def _parse(body: bytes) -> dict[str, Any]:
    parsed = parse_object(body)
    if parsed is None:
        raise _invalid()
    return parsed


def _scopes(body: dict[str, Any]) -> list[str]:
    scopes = body.get("scope")
    if not isinstance(scopes, list) or not scopes or not all(isinstance(s, str) for s in scopes):
        raise _invalid()
    return scopes


def _lifetime(body: dict[str, Any]) -> int:
    match = _LIFETIME.fullmatch(str(body.get("lifetime") or f"{MAX_LIFETIME}s"))
    seconds = int(match["seconds"]) if match else 0
    if not 0 < seconds <= MAX_LIFETIME:
        raise _invalid()
    return seconds


def _delegates(body: dict[str, Any]) -> list[str]:
    delegates = body.get("delegates") or []
    if not isinstance(delegates, list):
        raise _invalid()
    matches = [_DELEGATE.fullmatch(str(name)) for name in delegates]
    emails = [match["email"] for match in matches if match]
    if len(emails) < len(delegates):
        raise _invalid()
    return emails


def _invalid() -> Refusal:
    return Refusal(error(400, "Request contains an invalid argument."))
