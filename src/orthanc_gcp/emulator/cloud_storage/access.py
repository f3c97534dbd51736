"""Who may use the buckets (Cloud Storage, "OAuth 2.0 scopes for Cloud Storage").

The client libraries send no credential to an emulator unless they are given one; so a request
without any may do everything, but for one that a web page sends.
"""

from __future__ import annotations

from starlette.requests import Request

from orthanc_gcp.emulator.auth.access_tokens import CLOUD_PLATFORM
from orthanc_gcp.emulator.auth.authorization import Authorizer
from orthanc_gcp.emulator.cloud_storage.answers import refusal
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.http.responses import Refusal

__all__ = ["ANYBODY", "Access"]

ANYBODY = "allUsers"
"""Who sends no credential; the fault setting ``strangers`` can have it."""

_AUTH = "https://www.googleapis.com/auth"
_WRITING = (f"{_AUTH}/devstorage.read_write", f"{_AUTH}/devstorage.full_control", CLOUD_PLATFORM)
_READING = (*_WRITING, f"{_AUTH}/devstorage.read_only", f"{CLOUD_PLATFORM}.read-only")
_WRITES = ("create", "delete", "update")


class Access:
    """Judges requests before their bodies are read."""

    def __init__(self, authorizer: Authorizer, fault_settings: FaultSettings) -> None:
        self._authorizer, self._fault_settings = authorizer, fault_settings

    def require(self, request: Request, permission: str) -> None:
        """Let a request in that has a permission, ``storage.objects.get`` for example.

        Raises
        ------
        Refusal
            401 for a token that is none or expired, and for a page in a browser without one; 403
            for other scopes, and for a permission that the fault settings take away.
        """
        identity = self._identify(request, permission)
        settings = self._fault_settings.current
        if permission in settings.denied_permissions or identity in settings.strangers:
            raise _denied(identity, permission)

    def _identify(self, request: Request, permission: str) -> str:
        if "authorization" not in request.headers and "access_token" not in request.query_params:
            if "origin" in request.headers:
                # Any page that somebody visits could write into the folder otherwise.
                raise _denied(ANYBODY, permission, status=401)
            return ANYBODY
        scopes = _WRITING if permission.endswith(_WRITES) else _READING
        try:
            return self._authorizer.identify(request, permission, scopes).identity
        except Refusal as problem:
            if problem.response.status_code == 401:
                raise _unauthenticated() from problem
            message = "Provided scope(s) are not authorized"
            raise refusal(403, "forbidden", message) from problem


def _denied(identity: str, permission: str, status: int = 403) -> Refusal:
    who = "Anonymous caller" if identity == ANYBODY else identity
    _, kind, _ = permission.split(".")
    resource = "bucket" if kind == "buckets" or permission.endswith("list") else "object"
    message = (
        f"{who} does not have {permission} access to the Google Cloud Storage {resource}. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )
    if status == 401:
        return refusal(401, "required", message, location="Authorization")
    return refusal(403, "forbidden", message)


def _unauthenticated() -> Refusal:
    return refusal(401, "authError", "Invalid Credentials", location="Authorization")
