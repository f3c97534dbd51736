"""Workload and workforce identity federation, by the source that vouches."""

from __future__ import annotations

import pytest

from tests.support.credentials import identity, problem
from tests.support.keys import write

AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
FILE = {
    "type": "external_account",
    "audience": AUDIENCE,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "quota_project_id": "of-the-file",
}
SCOPES = ("https://www.googleapis.com/auth/cloud-healthcare",)
AWS = {
    "environment_id": "aws1",
    "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity",
}


def load(folder, source, **options):
    write(folder / "file.json", {**FILE, "credential_source": source})
    return identity(folder, CredentialsFile="file.json", **options)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"file": "/token"}, "external account (file)"),
        ({"url": "http://localhost/token"}, "external account (url)"),
        ({"executable": {"command": "/bin/x"}}, "external account (executable)"),
        (AWS, "external account (AWS)"),
    ],
)
def test_who_vouches(tmp_path, source, kind):
    found = load(tmp_path, source)
    assert (found.kind, found.quota_project) == (kind, "of-the-file")
    assert found.scopes == SCOPES
    assert load(tmp_path, source, QuotaProject="of-the-option").quota_project == "of-the-option"


@pytest.mark.parametrize("source", [{}, None, "x", {"file": "/a", "url": "http://b"}])
def test_a_source_that_is_none(tmp_path, source):
    words = problem(tmp_path, {**FILE, "credential_source": source}, "CredentialsFile")
    assert words.startswith("the file is not usable: ")


def test_a_workforce_user(tmp_path):
    user = {
        "type": "external_account_authorized_user",
        "audience": "//iam.googleapis.com/locations/global/workforcePools/p/providers/x",
        "client_id": "id",
        "client_secret": "hush",
        "refresh_token": "refresh",
        "token_url": "https://sts.googleapis.com/v1/oauthtoken",
    }
    write(tmp_path / "file.json", user)
    found = identity(tmp_path, CredentialsFile="file.json")
    assert (found.kind, found.scopes, found.quota_project) == ("external user", SCOPES, None)
    del user["refresh_token"]
    words = problem(tmp_path, user, "CredentialsFile")
    assert words.startswith("the file is not usable: ")
    assert "hush" not in words
