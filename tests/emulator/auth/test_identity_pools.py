"""Names of federated identities, as Google's pages write them."""

from __future__ import annotations

import re

from orthanc_gcp.emulator.auth.identity_pools import IdentityPools

POOLS = IdentityPools("123456789012")
POOL = "projects/123456789012/locations/global/workloadIdentityPools/orthanc"


def test_audiences_are_names_of_providers() -> None:
    audiences = {POOLS.oidc, POOLS.aws, POOLS.x509}
    assert len(audiences) == 3
    for audience in audiences:
        assert re.fullmatch(f"//iam.googleapis.com/{POOL}/providers/[a-z]+", audience)
    start = "//iam.googleapis.com/locations/global/workforcePools/"
    assert re.fullmatch(f"{start}[a-z-]+/providers/[a-z]+", POOLS.staff)


def test_principals() -> None:
    assert POOLS.workload_principal("me") == f"principal://iam.googleapis.com/{POOL}/subject/me"
    pool = "locations/global/workforcePools/orthanc-staff"
    assert POOLS.workforce_principal("me") == f"principal://iam.googleapis.com/{pool}/subject/me"


def test_what_the_provider_says_of_the_workload() -> None:
    claims = POOLS.subject_claims(1000.9)
    assert (claims["iss"], claims["sub"]) == (POOLS.ISSUER, POOLS.SUBJECT)
    assert claims["aud"] == f"https:{POOLS.oidc}"
    assert (claims["iat"], claims["exp"]) == (1000, 4600)
