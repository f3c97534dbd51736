"""Federated identities: a workload pool with three providers, and a workforce pool.

Source: "Workload identity federation" (cloud.google.com/iam), names of resources and principals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["IdentityPools"]

_SUBJECT_LIFETIME = 3600


@dataclass(frozen=True)
class IdentityPools:
    """The names of the pools of one project, of their providers and principals."""

    project_number: str

    ISSUER: ClassVar[str] = "https://oidc.orthanc-gcp.example"
    """Who signs the workload's own tokens; the emulator is in its place."""
    SUBJECT: ClassVar[str] = "system:serviceaccount:default:orthanc"
    KEY_ID: ClassVar[str] = "emulator"

    @property
    def workloads(self) -> str:
        """The resource name of the workload identity pool."""
        number = self.project_number
        return f"projects/{number}/locations/global/workloadIdentityPools/orthanc"

    @property
    def workforce(self) -> str:
        """The resource name of the workforce pool."""
        return "locations/global/workforcePools/orthanc-staff"

    @property
    def oidc(self) -> str:
        """The audience of tokens that an OpenID Connect provider signs."""
        return f"//iam.googleapis.com/{self.workloads}/providers/cluster"

    @property
    def aws(self) -> str:
        """The audience of requests that AWS credentials sign."""
        return f"//iam.googleapis.com/{self.workloads}/providers/amazon"

    @property
    def x509(self) -> str:
        """The audience of certificates."""
        return f"//iam.googleapis.com/{self.workloads}/providers/certificates"

    @property
    def staff(self) -> str:
        """The audience of people who log in elsewhere."""
        return f"//iam.googleapis.com/{self.workforce}/providers/staff"

    @property
    def oidc_token_audience(self) -> str:
        """What the ``aud`` of a subject token is, unless the provider is set up otherwise."""
        return f"https:{self.oidc}"

    def workload_principal(self, subject: str) -> str:
        """Return how a policy names the workload of a subject."""
        return f"principal://iam.googleapis.com/{self.workloads}/subject/{subject}"

    def workforce_principal(self, subject: str) -> str:
        """Return how a policy names the person of a subject."""
        return f"principal://iam.googleapis.com/{self.workforce}/subject/{subject}"

    def subject_claims(self, now: float) -> dict[str, Any]:
        """Return what the workload's own provider says about it."""
        return {
            "iss": self.ISSUER,
            "sub": self.SUBJECT,
            "aud": self.oidc_token_audience,
            "iat": int(now),
            "exp": int(now) + _SUBJECT_LIFETIME,
        }
