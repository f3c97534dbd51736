"""Which of an account's options is its credential."""

from __future__ import annotations

import pytest
from google.oauth2 import service_account

from tests.support import keys
from tests.support.credentials import credentials, identity, problem
from tests.support.keys import USER

GOOGLE = "https://oauth2.googleapis.com/token"


def test_the_precedence_of_the_original(tmp_path):
    keys.write(tmp_path / "key.json", keys.service_account(""))
    keys.write(tmp_path / "user.json", {**USER, "client_id": "of-the-file"})
    strings = keys.user_account(GOOGLE)
    loaded = credentials(tmp_path, **strings, AuthorizedUserFile="user.json")
    assert loaded.client_id == "of-the-file"
    loaded = credentials(
        tmp_path, **strings, AuthorizedUserFile="user.json", ServiceAccountFile="key.json"
    )
    assert isinstance(loaded, service_account.Credentials)


@pytest.mark.parametrize("project", ["a\r\nX-Injected: y", "a b", "ä", "", "..", 7, ["p"]])
def test_a_quota_project_that_no_header_may_carry(tmp_path, project):
    file = {**USER, "type": "authorized_user", "quota_project_id": project}
    if isinstance(project, str):
        words = problem(tmp_path, file, "CredentialsFile")
        assert words.startswith("expected a quota_project_id of letters")
    else:
        keys.write(tmp_path / "user.json", file)
        credentials(tmp_path, CredentialsFile="user.json")


def test_files_in_each_others_place(tmp_path):
    assert problem(tmp_path, {"type": "authorized_user", **USER}) == (
        "expected the key of a service account, found the type authorized_user, which belongs in "
        "AuthorizedUserFile"
    )
    assert problem(tmp_path, keys.service_account(""), "AuthorizedUserFile") == (
        "expected a user's credentials, found the type service_account, which belongs in "
        "ServiceAccountFile"
    )
    assert problem(tmp_path, {"type": "external_account"}) == (
        "expected the key of a service account, found the type external_account, which belongs in "
        "CredentialsFile"
    )
    assert problem(tmp_path, {"type": {"x": "secret"}}) == (
        "expected the key of a service account, found the type of another kind"
    )


def test_any_type_of_file(tmp_path):
    keys.write(tmp_path / "file.json", {"type": "authorized_user", **USER})
    assert identity(tmp_path, CredentialsFile="file.json").kind == "user"
    keys.write(tmp_path / "file.json", keys.service_account("http://localhost/token"))
    assert identity(tmp_path, CredentialsFile="file.json").kind == "service account"
    document = keys.service_account("http://localhost/token")
    assert identity(tmp_path, ServiceAccountJson=document).kind == "service account"


@pytest.mark.parametrize("kind", [None, "gdch_service_account", ["x"]])
def test_a_type_that_is_not_known(tmp_path, kind):
    words = problem(tmp_path, {"type": kind}, "CredentialsFile")
    assert words.startswith("expected a type of service_account, authorized_user, ")


def test_an_account_that_impersonates_another(tmp_path):
    keys.write(tmp_path / "file.json", {"type": "authorized_user", **USER})
    found = identity(
        tmp_path, CredentialsFile="file.json", ImpersonateServiceAccount="sa@p.iam.example"
    )
    assert (found.kind, found.email) == (
        "service account impersonated by a user",
        "sa@p.iam.example",
    )


def test_the_credentials_of_the_environment(tmp_path, monkeypatch):
    keys.write(tmp_path / "file.json", {"type": "authorized_user", **USER})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "file.json"))
    assert identity(tmp_path, Credentials="ApplicationDefault").kind == "user"
