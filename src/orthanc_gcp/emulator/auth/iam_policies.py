"""Who may do what: the IAM policies of datasets and stores.

Where no policy was ever set, every identity of the emulator may do everything. Where one was set,
it decides, on a store together with that of its dataset; but the user made the project, and so may
always do everything, as an owner may at Google.

Source: Healthcare API, "Access control"; the type ``Policy`` of the REST reference.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from orthanc_gcp.emulator.auth.identities import Identities
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.faults.permissions import ROLES
from orthanc_gcp.emulator.resource_names import DatasetName, LocationName, StoreName
from orthanc_gcp.emulator.storage.resources import Resources

__all__ = ["NO_POLICY", "IamPolicies", "Resource"]

NO_POLICY = {"etag": "ACAB"}
_EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})

Resource = LocationName | DatasetName | StoreName
Grants = dict[str, frozenset[str]]


class IamPolicies:
    """All policies: read from memory, and written to the index too when they are set."""

    def __init__(
        self, resources: Resources, identities: Identities, fault_settings: FaultSettings
    ) -> None:
        self._resources = resources
        self._fault_settings = fault_settings
        self._owners = {_member(user.email) for user in identities.users}
        self._workloads = (
            f"principalSet://iam.googleapis.com/{identities.pools.workloads}/*",
            identities.pools.workload_principal(""),
        )
        self._policies = resources.policies()
        self._grants = {name: _compile(body) for name, body in self._policies.items()}

    def get(self, resource: Resource) -> dict[str, Any]:
        """Return the policy of a resource, or :data:`NO_POLICY`."""
        return self._policies.get(str(resource), NO_POLICY)

    def set(self, resource: Resource, bindings: list[dict[str, Any]]) -> dict[str, Any]:
        """Set the policy of a resource; without bindings, it is as if none was ever set.

        Parameters
        ----------
        bindings : list of dict
            ``{"role": …, "members": […]}``, with roles of :data:`ROLES` only.
        """
        name = str(resource)
        etag = base64.b64encode(secrets.token_bytes(8)).decode()
        body = {"version": 1, "etag": etag, "bindings": bindings} if bindings else NO_POLICY
        self._resources.put_policy(name, body if bindings else None)
        if bindings:
            self._policies[name], self._grants[name] = body, _compile(body)
        else:
            self.forget(resource)
        return body

    def forget(self, resource: Resource) -> None:
        """Forget the policy of a resource that is deleted."""
        self._policies.pop(str(resource), None)
        self._grants.pop(str(resource), None)

    def allows(self, identity: str, permission: str, resource: Resource) -> bool:
        """Return whether somebody has a permission on a resource."""
        settings = self._fault_settings.current
        if permission in settings.denied_permissions or identity in settings.strangers:
            return False
        if not self._grants:
            return True
        found = [
            grants
            for name in _self_and_parent(resource)
            if (grants := self._grants.get(name)) is not None
        ]
        if not found:
            return True
        members = self._members(identity)
        return not self._owners.isdisjoint(members) or any(
            not members.isdisjoint(grants.get(permission, ())) for grants in found
        )

    def _members(self, identity: str) -> frozenset[str]:
        """Return the names by which a policy can mean somebody."""
        pool, prefix = self._workloads
        sets = {pool} if identity.startswith(prefix) else set()
        return _EVERYBODY | {_member(identity)} | sets


def _self_and_parent(resource: Resource) -> tuple[str, ...]:
    if isinstance(resource, StoreName):
        return str(resource), str(resource.parent)
    return (str(resource),)


def _member(identity: str) -> str:
    if identity.startswith("principal://"):
        return identity
    is_account = identity.endswith(".gserviceaccount.com")
    return f"serviceAccount:{identity}" if is_account else f"user:{identity}"


def _compile(policy: dict[str, Any]) -> Grants:
    """Return who has each permission."""
    members: dict[str, set[str]] = {}
    for binding in policy["bindings"]:
        for permission in ROLES[binding["role"]]:
            members.setdefault(permission, set()).update(binding["members"])
    return {permission: frozenset(names) for permission, names in members.items()}
