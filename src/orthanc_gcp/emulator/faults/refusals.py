"""Refusals that people meet at Google, by name, as they were recorded.

Each is played where it comes from at Google: by the metadata server, the token endpoint, the
Security Token Service, or the front end of the Healthcare API; what it does not concern goes on.

Sources: answers of the live service that people have pasted; ``google/api/error_reason.proto``
(``google.api.ErrorReason``) for the details of an answer of which only the message is known;
"Long-running operations best practices" of the Healthcare API (names of quotas).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from starlette.responses import Response

from orthanc_gcp.emulator.http.responses import (
    GrantError,
    Refusal,
    api_disabled,
    error,
    quota_exceeded,
)

__all__ = [
    "LONG_RUNNING",
    "REFUSALS",
    "Call",
    "CallRefusal",
    "GrantRefusal",
    "GrantStep",
    "MetadataRefusal",
    "NamedRefusal",
    "QuotaName",
    "quota_of",
    "refuse_call",
    "refuse_grant",
]

_HEALTHCARE = "healthcare.googleapis.com"
_TYPES = "type.googleapis.com/google.rpc"


# -- The metadata server ----------------------------------------------------------------------


@dataclass(frozen=True)
class MetadataRefusal:
    """What GKE's metadata server answers in the place of an access token; it has nothing else.

    ``text`` may have ``{email}``, which becomes that of the service account.
    """

    status: int
    text: str

    def response(self, email: str) -> Response:
        """The answer about a service account."""
        body = self.text.replace("{email}", email)
        headers = {"Metadata-Flavor": "Google", "Server": "GKE Metadata Server"}
        return Response(body.encode(), self.status, headers, media_type="text/plain; charset=utf-8")


_NO_TOKEN = "Unable to generate access token; IAM returned "  # noqa: S105 - a sentence # nosec B105
_NOT_BOUND = (
    "\nThis error could be caused by a missing IAM policy binding on the target IAM service "
    "account.\nFor more information, refer to the Workload Identity documentation:\n"
    "\thttps://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity#authenticating_to"
    "\n\n"
)


# -- Token endpoints --------------------------------------------------------------------------


class GrantStep(Enum):
    """At which step a token endpoint refuses a grant that would have been good."""

    KEY = auto()
    """The signature of an assertion, or of a self-signed JWT (RFC 7523 §3)."""
    ACCOUNT = auto()
    """Whose assertion it is, or whose self-signed JWT."""
    REFRESH_TOKEN = auto()
    """RFC 6749 §6."""
    ISSUER = auto()
    """The keys of the issuer of a subject token that is a JWT (RFC 8693 §2.1)."""
    AGE = auto()
    """When a subject token that is a JWT was issued."""
    ATTRIBUTES = auto()
    """What a provider demands of a subject token of any kind."""


@dataclass(frozen=True)
class GrantRefusal:
    """A refusal of a token endpoint (RFC 6749 §5.2).

    ``description`` may have ``{issued}``, which becomes the time when a subject token was issued.
    """

    step: GrantStep
    error: str
    description: str
    subtype: str = ""


def refuse_grant(refusal: NamedRefusal | None, step: GrantStep, issued: float = 0) -> None:
    """Let a grant pass, or refuse it at a step.

    Parameters
    ----------
    issued : float
        When the subject token was issued, in seconds since 1970.

    Raises
    ------
    GrantError
        The refusal is one of this step.
    """
    if isinstance(refusal, GrantRefusal) and refusal.step is step:
        description = refusal.description.replace("{issued}", f"{issued:.0f}")
        raise GrantError(refusal.error, description, subtype=refusal.subtype)


# -- The Healthcare API -----------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A call of the Healthcare API, as far as a refusal depends on it.

    Attributes
    ----------
    rpc : str
        Google's full name for the method.
    location : str
        The one in the path; empty for the project's list of locations.
    project_number : str
        Of the project in the path.
    of_user : bool
        Whether it is a person who calls, by a refresh token.
    has_quota_project : bool
        Whether ``x-goog-user-project`` names one.
    """

    rpc: str
    location: str
    project_number: str
    of_user: bool = False
    has_quota_project: bool = False

    @property
    def service(self) -> str:
        """The service that has the method, such as ``DicomService``."""
        return self.rpc.split(".")[-2]

    @property
    def method(self) -> str:
        """The method, such as ``StoreInstances``."""
        return self.rpc.split(".")[-1]


@dataclass(frozen=True)
class CallRefusal:
    """A refusal of the Healthcare API: which calls it is for, and what is answered."""

    concerns: Callable[[Call], bool]
    response: Callable[[Call], Response]


def refuse_call(refusal: NamedRefusal | None, call: Call) -> None:
    """Let a call of the Healthcare API pass, or refuse it.

    Raises
    ------
    Refusal
        400, 403 or 429, when the refusal is one for such calls.
    """
    if isinstance(refusal, CallRefusal) and refusal.concerns(call):
        raise Refusal(refusal.response(call))


def _any(_: Call) -> bool:
    return True


def _error_info(reason: str, metadata: dict[str, str]) -> dict[str, Any]:
    kind = f"{_TYPES}.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}


# Projects and organizations


def _lacks_quota_project(call: Call) -> bool:
    return call.of_user and not call.has_quota_project


_ADC_CLIENT, _GCLOUD_CLIENT = "764086051850", "32555940559"
"""The projects of the OAuth clients of ``gcloud auth application-default login`` and ``login``."""


def _quota_project_missing(client_number: str) -> CallRefusal:
    message = (
        "Your application is authenticating by using local Application Default Credentials. The "
        f"{_HEALTHCARE} API requires a quota project, which is not set by default. To learn how "
        "to set your quota project, see "
        "https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds ."
    )
    metadata = {"service": _HEALTHCARE, "consumer": f"projects/{client_number}"}
    details = [
        _error_info("SERVICE_DISABLED", metadata),
        {"@type": f"{_TYPES}.LocalizedMessage", "locale": "en-US", "message": message},
    ]
    return CallRefusal(_lacks_quota_project, lambda _: error(403, message, details=details))


_UNIQUE_IDENTIFIER = "yBL4SoWDNZ9hDVyPmP0zTwNzVyFnBxiXkKGEUi7aXvAGXeCJQ9Rlqg"


def _outside_perimeter(_: Call) -> Response:
    violation = {"type": "VPC_SERVICE_CONTROLS", "description": _UNIQUE_IDENTIFIER}
    metadata = {
        "uid": _UNIQUE_IDENTIFIER,
        "service": _HEALTHCARE,
        "troubleshootToken": "AOdDmUh4bXBsZSB0b2tlbiBvZiB0aGUgZW11bGF0b3I",
    }
    return error(
        403,
        "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: "
        f"{_UNIQUE_IDENTIFIER}",
        details=[
            {"@type": f"{_TYPES}.PreconditionFailure", "violations": [violation]},
            _error_info("SECURITY_POLICY_VIOLATED", metadata),
        ],
    )


def _usage_restricted(call: Call) -> Response:
    project = f"projects/{call.project_number}"
    return error(
        403,
        "Request is disallowed by organization's constraints/gcp.restrictServiceUsage constraint "
        f"for '{project}' attempting to use service '{_HEALTHCARE}'.",
        details=[
            _error_info(
                "RESOURCE_USAGE_RESTRICTION_VIOLATED",
                {"consumer": project, "service": _HEALTHCARE},
            )
        ],
    )


def _location_restricted(call: Call) -> Response:
    policy = f"orgpolicy:projects/{call.project_number}"
    constraint = "constraints/gcp.resourceLocations"
    message = (
        f"Constraint {constraint} violated for [{policy}] attempting to create a dataset in "
        f"[{call.location}]. For more information, see https://cloud.google.com/resource-manager/"
        "docs/organization-policy/defining-locations."
    )
    violation = {"type": constraint, "subject": policy, "description": message}
    details = [{"@type": f"{_TYPES}.PreconditionFailure", "violations": [violation]}]
    return error(400, message, name="FAILED_PRECONDITION", details=details)


# Quotas


class QuotaName(StrEnum):
    """A quota of the Healthcare API for requests about DICOM."""

    DICOM = "dicom_ops"
    DICOM_WEB = "dicom_web_ops"
    DICOM_STORE = "dicom_store_ops"
    DICOM_STORE_LRO = "dicom_store_lro_ops"


LONG_RUNNING = frozenset(
    {
        "DeidentifyDicomStore",
        "DeleteSeries",
        "DeleteStudy",
        "ExportDicomData",
        "ImportDicomData",
        "SetBlobStorageSettings",
        "UpdateSeriesMetadata",
        "UpdateStudyMetadata",
    }
)
"""The methods about DICOM that begin an operation."""

_WEB, _STORES, _STORAGE = "DicomWebService", "DicomService", "StorageInfoService"


def quota_of(call: Call) -> frozenset[QuotaName]:
    """Return the quotas that a call counts for.

    The operations have their own; the other calls about DICOM count as such, and as those of
    DICOMweb or of stores besides.
    """
    if call.service not in (_WEB, _STORES, _STORAGE):
        return frozenset()
    if call.method in LONG_RUNNING:
        return frozenset({QuotaName.DICOM_STORE_LRO})
    if call.service == _WEB:
        return frozenset({QuotaName.DICOM, QuotaName.DICOM_WEB})
    if call.service == _STORES:
        return frozenset({QuotaName.DICOM, QuotaName.DICOM_STORE})
    return frozenset({QuotaName.DICOM})


_LIMIT = 600


def _used_up(quota: QuotaName) -> CallRefusal:
    return CallRefusal(
        lambda call: quota in quota_of(call),
        lambda call: quota_exceeded(
            call.project_number, _LIMIT, None, quota, location=call.location
        ),
    )


def _quota_refusals() -> dict[str, NamedRefusal]:
    return {f"quota-{quota.replace('_', '-')}": _used_up(quota) for quota in QuotaName}


# -- All of them ------------------------------------------------------------------------------


NamedRefusal = MetadataRefusal | GrantRefusal | CallRefusal

REFUSALS: dict[str, NamedRefusal] = {
    "gke-account-not-bound": MetadataRefusal(
        403,
        f"{_NO_TOKEN}403 Forbidden: Permission 'iam.serviceAccounts.getAccessToken' denied on "
        f"resource (or it may not exist).{_NOT_BOUND}",
    ),
    "gke-account-not-bound-old": MetadataRefusal(
        403, f"{_NO_TOKEN}403 Forbidden: The caller does not have permission{_NOT_BOUND}"
    ),
    "gke-account-unknown": MetadataRefusal(
        404, f"{_NO_TOKEN}404 Not Found: Not found; Gaia id not found for email {{email}}\n"
    ),
    "sts-attribute-condition": GrantRefusal(
        GrantStep.ATTRIBUTES,
        "unauthorized_client",
        "The given credential is rejected by the attribute condition.",
    ),
    "sts-issuer-unreachable": GrantRefusal(
        GrantStep.ISSUER, "invalid_grant", "Error connecting to the given credential's issuer."
    ),
    "sts-token-stale": GrantRefusal(
        GrantStep.AGE, "invalid_grant", "ID Token issued at {issued} is stale to sign-in."
    ),
    "key-disabled": GrantRefusal(GrantStep.KEY, "invalid_grant", "Invalid JWT Signature."),
    "account-deleted": GrantRefusal(
        GrantStep.ACCOUNT, "invalid_grant", "Invalid grant: account not found"
    ),
    "user-deleted": GrantRefusal(
        GrantStep.REFRESH_TOKEN, "invalid_grant", "The account has been deleted"
    ),
    "reauth": GrantRefusal(
        GrantStep.REFRESH_TOKEN,
        "invalid_grant",
        "reauth related error (invalid_rapt)",
        "invalid_rapt",
    ),
    "quota-project-missing": _quota_project_missing(_ADC_CLIENT),
    "quota-project-missing-gcloud": _quota_project_missing(_GCLOUD_CLIENT),
    "api-disabled": CallRefusal(_any, lambda call: api_disabled(call.project_number)),
    "vpc-service-controls": CallRefusal(_any, _outside_perimeter),
    "org-policy-service-usage": CallRefusal(_any, _usage_restricted),
    "org-policy-resource-locations": CallRefusal(
        lambda call: call.method == "CreateDataset", _location_restricted
    ),
    **_quota_refusals(),
}
"""Each refusal by its name."""
