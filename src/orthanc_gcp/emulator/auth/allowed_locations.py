"""Regional access boundaries: from where an identity's credentials may be used.

google-auth asks for them with every credential that it has (``_regional_access_boundary_utils``),
and sends what it gets as ``x-allowed-locations``. Here nothing is bounded.

Source: IAM Service Account Credentials API, REST reference, the methods ``getAllowedLocations``.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from orthanc_gcp.emulator.auth.authorization import Authorizer
from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.http.responses import (
    Refusal,
    account_not_found,
    json_answer,
    resource_not_found,
)

__all__ = ["AllowedLocations"]

UNBOUNDED = "0x0"
_RPC = "google.iam.credentials.v1.IAMCredentials.GetAllowedLocations"
_PATH = re.compile(r"/v1/(?P<resource>.+)/allowedLocations")
_ACCOUNT = re.compile(r"projects/[^/]+/serviceAccounts/(?P<email>[^/]+)")
_POOL = re.compile(
    r"projects/[^/]+/locations/global/workloadIdentityPools/[^/]+"
    r"|locations/global/workforcePools/[^/]+"
)


class AllowedLocations:
    """Says of service accounts and of pools of identities that they are good everywhere."""

    def __init__(self, identities: Identities, authorizer: Authorizer) -> None:
        self._identities, self._authorizer = identities, authorizer

    def serves(self, request: Request) -> bool:
        """Return whether a request is for this method."""
        return request.method == "GET" and _resource(request) is not None

    def __call__(self, request: Request) -> Response:
        """Handle ``getAllowedLocations`` of a service account, a workload or a workforce pool.

        Raises
        ------
        Refusal
            401 as the authorizer says, 404 for an account or a pool that there is not.
        """
        self._authorizer.identify(request, _RPC, None)
        resource = _resource(request) or ""
        account = _ACCOUNT.fullmatch(resource)
        if account is None and resource not in self._pools():
            raise Refusal(resource_not_found(resource))
        if account is not None and self._identities.service_account(account["email"]) is None:
            raise Refusal(account_not_found(account["email"]))
        return json_answer({"encodedLocations": UNBOUNDED})

    def _pools(self) -> tuple[str, ...]:
        return self._identities.pools.workloads, self._identities.pools.workforce


def _resource(request: Request) -> str | None:
    match = _PATH.fullmatch(request.scope["path"])
    if match is None:
        return None
    resource = match["resource"]
    return resource if _ACCOUNT.fullmatch(resource) or _POOL.fullmatch(resource) else None
