"""Remedies of what no role cures, by the details of Google's answer."""

from __future__ import annotations

import pytest

from orthanc_gcp.auth.credentials.identity import Identity
from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.doctor.policy_remedies import POLICIES
from orthanc_gcp.reasons import ApiReason, ErrorDetails

URL = "https://console.developers.google.com/apis/api/healthcare.googleapis.com/overview?project=1"
ENABLE = "gcloud services enable healthcare.googleapis.com --project="


def as_user(about: Examination) -> Examination:
    assert about.identity is not None
    about.identity = Identity("user", about.identity.credentials)
    return about


@pytest.mark.parametrize(
    ("details", "project", "text"),
    [
        (ErrorDetails(), "osimis-test", f"{ENABLE}osimis-test"),
        (ErrorDetails("projects/osimis-test"), "osimis-test", f"{ENABLE}osimis-test"),
        (ErrorDetails("projects/hospital-b"), "osimis-test", f"{ENABLE}hospital-b"),
        (
            ErrorDetails("projects/123"),
            "osimis-test",
            f"{ENABLE}osimis-test (if that is project 123, which Google names)",
        ),
        (ErrorDetails("projects/123"), "123", f"{ENABLE}123"),
        (
            ErrorDetails("projects/osimis-test", activation_url=URL),
            "osimis-test",
            f"{ENABLE}osimis-test, or {URL}",
        ),
        (
            ErrorDetails("projects/osimis-test", service="iamcredentials.googleapis.com"),
            "osimis-test",
            "gcloud services enable iamcredentials.googleapis.com --project=osimis-test",
        ),
    ],
)
def test_where_the_api_is_to_be_enabled(examination, details, project, text):
    assert POLICIES[ApiReason.SERVICE_DISABLED](details, examination(Project=project)) == text


def test_a_user_may_let_requests_count_for_another_project(examination):
    assert "; or let QuotaProject name" in POLICIES[ApiReason.SERVICE_DISABLED](
        ErrorDetails(), as_user(examination())
    )
    billed = as_user(examination(QuotaProject="billed"))
    assert "QuotaProject" not in POLICIES[ApiReason.SERVICE_DISABLED](ErrorDetails(), billed)


@pytest.mark.parametrize(
    ("reason", "details", "texts"),
    [
        (
            ApiReason.NO_QUOTA_PROJECT,
            ErrorDetails("projects/764086051850"),
            ("QuotaProject", "application-default set-quota-project osimis-test"),
        ),
        (
            ApiReason.SECURITY_POLICY_VIOLATED,
            ErrorDetails(unique_identifier="abc"),
            ("no IAM role cures this", "ingress rule", "access level", "unique identifier abc"),
        ),
        (ApiReason.SECURITY_POLICY_VIOLATED, ErrorDetails(), ("administrator",)),
        (
            ApiReason.RESOURCE_USAGE_RESTRICTION_VIOLATED,
            ErrorDetails("projects/123"),
            ("no IAM role cures this", "restrictServiceUsage of project 123"),
        ),
        (
            ApiReason.RATE_LIMIT_EXCEEDED,
            ErrorDetails("projects/123", "healthcare.googleapis.com/dicom_web_ops"),
            ("ask for more of healthcare.googleapis.com/dicom_web_ops", "quotas?project=123"),
        ),
        (
            ApiReason.RATE_LIMIT_EXCEEDED,
            ErrorDetails(),
            ("ask for more quota", "quotas?project=osimis-test", "MaxRequestsPerMinute"),
        ),
    ],
)
def test_what_no_role_cures(examination, reason, details, texts):
    remedy = POLICIES[reason](details, examination())
    for text in texts:
        assert text in remedy
    assert "roles/" not in remedy
