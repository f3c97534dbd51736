"""Service account impersonation: by an option, and by a file that gcloud has written."""

from __future__ import annotations

import pytest

from orthanc_gcp.auth.credentials.impersonation import IAM_URI
from orthanc_gcp.errors import CredentialError
from tests.support.credentials import identity, problem
from tests.support.keys import USER, write

TARGET = "sa@p.iam.gserviceaccount.com"
ENDPOINT = f"{IAM_URI}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
FILE = {
    "type": "impersonated_service_account",
    "service_account_impersonation_url": ENDPOINT,
    "source_credentials": {"type": "authorized_user", **USER},
}


def test_an_option(tmp_path):
    write(tmp_path / "user.json", {"type": "authorized_user", **USER})
    found = identity(
        tmp_path,
        CredentialsFile="user.json",
        ImpersonateServiceAccount=TARGET,
        Delegates=["first@project-1.iam.gserviceaccount.com"],
        QuotaProject="project-1",
    )
    assert (found.email, found.kind) == (TARGET, "service account impersonated by a user")
    assert found.quota_project == "project-1"
    assert found.credentials._delegates == [
        "projects/-/serviceAccounts/first@project-1.iam.gserviceaccount.com"
    ]
    assert found.credentials._iam_endpoint_override == ENDPOINT


def test_an_address_of_the_iam_credentials_api(tmp_path):
    write(tmp_path / "user.json", {"type": "authorized_user", **USER})
    found = identity(
        tmp_path,
        CredentialsFile="user.json",
        ImpersonateServiceAccount=TARGET,
        IamCredentialsUri="http://localhost:1/",
    )
    assert found.credentials._iam_endpoint_override.startswith("http://localhost:1/v1/projects/-/")


def test_a_file_of_gcloud(tmp_path):
    write(
        tmp_path / "file.json",
        {
            **FILE,
            "delegates": ["projects/-/serviceAccounts/first@project-1.iam.gserviceaccount.com"],
        },
    )
    found = identity(tmp_path, CredentialsFile="file.json")
    assert (found.email, found.kind) == (TARGET, "service account impersonated by a user")
    assert found.credentials._delegates == [
        "projects/-/serviceAccounts/first@project-1.iam.gserviceaccount.com"
    ]
    assert not found.changed()
    write(tmp_path / "file.json", FILE)
    assert found.changed()


@pytest.mark.parametrize(
    "change",
    [
        {"service_account_impersonation_url": "https://x/elsewhere"},
        {"source_credentials": "x"},
        {"source_credentials": None},
    ],
)
def test_a_file_that_gcloud_did_not_write(tmp_path, change):
    words = problem(tmp_path, {**FILE, **change}, "CredentialsFile")
    assert words.endswith("is not what gcloud writes")


def test_a_source_that_is_not_usable(tmp_path):
    write(tmp_path / "file.json", {**FILE, "source_credentials": {"type": "authorized_user"}})
    with pytest.raises(CredentialError, match=r"\(source_credentials\): client_id is missing"):
        identity(tmp_path, CredentialsFile="file.json")
