"""IAM policies of stores and datasets over HTTP (``google.iam.v1.IAMPolicy``).

Handlers raise :class:`Refusal` for a resource that there is not (403 or 404) and for a wrong body
(400).
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.faults.permissions import PERMISSIONS, ROLES
from orthanc_gcp.emulator.healthcare.dicom_stores import require_resource
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.http.requests import read_object
from orthanc_gcp.emulator.http.responses import Refusal, error, json_answer

__all__ = ["get_iam_policy", "set_iam_policy", "test_iam_permissions"]

_MEMBERS = ("user:", "serviceAccount:", "group:", "domain:", "principal://", "principalSet://")
_ANYBODY = ("allUsers", "allAuthenticatedUsers")


async def get_iam_policy(context: RequestContext) -> Response:
    """Handle ``getIamPolicy``."""
    require_resource(context)
    return json_answer(context.services.policies.get(context.resource))


async def set_iam_policy(context: RequestContext) -> Response:
    """Handle ``setIamPolicy``; an ``etag`` guards a policy that another has changed since.

    Raises :class:`Refusal` for that (409), for a wrong policy (400), and for a resource that there
    is not (403 or 404).
    """
    require_resource(context)
    policy = (await read_object(context.request)).get("policy")
    if not isinstance(policy, dict):
        raise _invalid("a policy is required")
    bindings = _bindings(policy.get("bindings") or [])
    etag, current = policy.get("etag"), context.services.policies.get(context.resource)["etag"]
    if etag and etag != current:
        raise Refusal(error(409, "The policy was changed meanwhile.", name="ABORTED"))
    return json_answer(context.services.policies.set(context.resource, bindings))


async def test_iam_permissions(context: RequestContext) -> Response:
    """Handle ``testIamPermissions``, which takes no permission itself.

    A resource that does not exist gives an empty answer, not an error.
    """
    names = (await read_object(context.request)).get("permissions") or []
    if not isinstance(names, list):
        raise _invalid("permissions are a list")
    for name in names:
        if not isinstance(name, str) or name not in PERMISSIONS:
            raise _invalid(f"Permission {name} is not valid for this resource.")
    allows, resource = context.services.policies.allows, context.resource
    asked = names if names and context.resource_exists() else []
    granted = [name for name in asked if allows(context.identity, name, resource)]
    return json_answer({"permissions": granted} if granted else {})


def _bindings(bindings: Any) -> list[dict[str, Any]]:
    if not isinstance(bindings, list):
        raise _invalid("bindings are a list")
    return [_binding(binding) for binding in bindings]


def _binding(binding: Any) -> dict[str, Any]:
    role, members = (
        (binding.get("role"), binding.get("members")) if isinstance(binding, dict) else (None, None)
    )
    if not isinstance(role, str) or role not in ROLES:
        raise _invalid(f"Role {role} is not supported for this resource.")
    if not isinstance(members, list) or not all(map(_is_member, members)):
        raise _invalid(f"The members of {role} are not valid.")
    return {"role": role, "members": members}


def _is_member(member: Any) -> bool:
    return isinstance(member, str) and (member in _ANYBODY or member.startswith(_MEMBERS))


def _invalid(message: str) -> Refusal:
    return Refusal(error(400, message))
