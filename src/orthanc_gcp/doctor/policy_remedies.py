"""Remedies of refusals that no role cures: an API, a quota, a policy of the organization.

They are made from the details of Google's answer (``google.rpc.ErrorInfo``, AIP-193).
"""

from __future__ import annotations

from collections.abc import Callable

from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.reasons import ApiReason, ErrorDetails

__all__ = ["POLICIES"]

_HEALTHCARE = "healthcare.googleapis.com"
_QUOTAS = "https://console.cloud.google.com/iam-admin/quotas"


def _service(details: ErrorDetails) -> str:
    return details.service or _HEALTHCARE


def _enable(details: ErrorDetails, examination: Examination) -> str:
    account = examination.account
    # The consumer is mostly a number, which gcloud does not take.
    known = details.project if details.project and not details.project.isdigit() else ""
    text = f"gcloud services enable {_service(details)} --project={known or account.project}"
    if details.project.isdigit() and account.project != details.project:
        text += f" (if that is project {details.project}, which Google names)"
    if details.activation_url:
        text += f", or {details.activation_url}"
    if examination.is_user and not examination.quota_project:
        text += "; or let QuotaProject name a project in which it is enabled"
    return text


def _quota_project(details: ErrorDetails, examination: Examination) -> str:
    project = examination.account.project
    return (
        f"let QuotaProject name a project in which {_service(details)} is enabled, such as "
        f"{project}, or have gcloud write it into the file: gcloud auth application-default "
        f"set-quota-project {project}; a service account needs none"
    )


def _perimeter(details: ErrorDetails, examination: Examination) -> str:
    who = examination.email or "this identity"
    found = (
        f", who finds the refusal by its unique identifier {details.unique_identifier}"
        if details.unique_identifier
        else ""
    )
    return (
        "no IAM role cures this: VPC Service Controls need an ingress rule or an access level that "
        f"admits {who} from this network into the perimeter of project "
        f"{examination.account.project}; ask the administrator of the organization{found}"
    )


def _restricted_service(details: ErrorDetails, examination: Examination) -> str:
    project = details.project or examination.account.project
    return (
        "no IAM role cures this: ask the administrator of the organization to allow "
        f"{_service(details)} in the policy constraints/gcp.restrictServiceUsage of project "
        f"{project}"
    )


def _quota(details: ErrorDetails, examination: Examination) -> str:
    project = details.project or examination.account.project
    which = f"of {details.quota_metric}" if details.quota_metric else "quota"
    return (
        f"wait: the connector tries again; if it lasts, ask for more {which} "
        f"({_QUOTAS}?project={project}), or send less: MaxRequestsPerMinute"
    )


POLICIES: dict[str, Callable[[ErrorDetails, Examination], str]] = {
    ApiReason.SERVICE_DISABLED: _enable,
    ApiReason.NO_QUOTA_PROJECT: _quota_project,
    ApiReason.SECURITY_POLICY_VIOLATED: _perimeter,
    ApiReason.RESOURCE_USAGE_RESTRICTION_VIOLATED: _restricted_service,
    ApiReason.RATE_LIMIT_EXCEEDED: _quota,
}
"""By reason, whichever of Google's APIs gives it."""
