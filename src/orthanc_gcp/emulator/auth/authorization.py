"""Who gets in: credentials, scopes, the API's being enabled, permissions - in this order.

Sources: RFC 6750 sections 2.1 and 2.3 (where the token is) and 3 (``WWW-Authenticate``);
Healthcare API, "Access control".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from starlette.requests import Request

from orthanc_gcp.emulator.auth.access_tokens import (
    HEALTHCARE_SCOPES,
    AccessToken,
    ExpiredTokenError,
    InvalidTokenError,
    TokenMint,
)
from orthanc_gcp.emulator.auth.assertions import check_self_signed
from orthanc_gcp.emulator.auth.iam_policies import IamPolicies, Resource
from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.faults.refusals import Call, refuse_call
from orthanc_gcp.emulator.http import responses
from orthanc_gcp.emulator.http.responses import Refusal

__all__ = ["Authorizer"]

_MAX_EXPIRED = 10_000
"""How many tokens that a fault has expired are remembered."""


class Authorizer:
    """Judges requests before their bodies are read."""

    def __init__(
        self,
        identities: Identities,
        mint: TokenMint,
        policies: IamPolicies,
        fault_settings: FaultSettings,
        clock: Callable[[], float],
    ) -> None:
        self._identities = identities
        self._mint = mint
        self._policies = policies
        self._fault_settings = fault_settings
        self._clock = clock
        self._expired: OrderedDict[str, None] = OrderedDict()

    def expire_token(self, request: Request) -> None:
        """Let the token of a request be expired from now on."""
        self._expired[_credential(request) or ""] = None
        if len(self._expired) > _MAX_EXPIRED:
            self._expired.popitem(last=False)

    def identify(self, request: Request, rpc: str, scopes: Collection[str] | None) -> AccessToken:
        """Return what the token of a request says.

        Parameters
        ----------
        rpc : str
            Google's full name for the method, which refusals carry.
        scopes : collection of str or None
            Of which the token must have one; nothing when any token is good.

        Raises
        ------
        Refusal
            401 without a credential, or with one that is wrong or expired; 403 for other scopes.
        """
        credential = _credential(request)
        if credential is None:
            raise Refusal(responses.missing_credential(rpc))
        try:
            token = self._read(credential)
        except ExpiredTokenError:
            raise Refusal(responses.expired_token(rpc)) from None
        except InvalidTokenError:
            raise Refusal(responses.invalid_token()) from None
        if scopes is not None and not token.has_scope(*scopes):
            raise Refusal(responses.insufficient_scope(rpc, scopes))
        return token

    def admit(self, request: Request, rpc: str, permission: str | None, resource: Resource) -> str:
        """Return who calls a method of the Healthcare API on a resource.

        Parameters
        ----------
        permission : str or None
            What it takes; nothing when every caller with the scope may.

        Raises
        ------
        Refusal
            As :meth:`identify` does; the one that the fault settings name; 403 when the API or the
            quota project is denied, or the permission.
        """
        identity = self.identify(request, rpc, HEALTHCARE_SCOPES).identity
        settings, number = self._fault_settings.current, self._identities.pools.project_number
        project = request.headers.get("x-goog-user-project", "")
        if settings.refusal is not None:
            of_user = self._identities.is_user(identity)
            call = Call(rpc, resource.location, number, of_user, bool(project))
            refuse_call(settings.refusal, call)
        if settings.disabled_api:
            raise Refusal(responses.api_disabled(number))
        if project in settings.denied_quota_projects:
            raise Refusal(responses.quota_project_denied(project))
        if permission and not self._policies.allows(identity, permission, resource):
            raise Refusal(responses.permission_denied(permission, str(resource)))
        return identity

    def _read(self, credential: str) -> AccessToken:
        if credential in self._expired:
            raise ExpiredTokenError
        # The header of a JWT is a JSON object, which begins in base64 like this.
        if credential.startswith("eyJ"):
            return check_self_signed(credential, self._identities, self._clock())
        return self._mint.read(credential)


def _credential(request: Request) -> str | None:
    """Return the access token of a request; nothing when it has no credential at all."""
    header = request.headers.get("authorization")
    if header is None:
        return request.query_params.get("access_token")
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
