"""Accounts -> google-auth credentials, from real files."""

from __future__ import annotations

import json

import pytest
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from orthanc_gcp import credentials
from orthanc_gcp.configuration import read
from orthanc_gcp.credentials import keys as keys_module
from orthanc_gcp.errors import CredentialError
from tests.support import keys
from tests.support.keys import STORE, USER

GOOGLE = "https://oauth2.googleapis.com/token"


def load(tmp_path, **options):
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": {**STORE, **options}}}}, tmp_path)
    assert [str(p) for p in settings.problems if p.error] == []
    return credentials.load(settings.accounts[0], settings).credentials


def problem(tmp_path, content, option="ServiceAccountFile") -> str:
    keys.write(tmp_path / "file.json", content)
    with pytest.raises(CredentialError) as caught:
        load(tmp_path, **{option: "file.json"})
    assert str(caught.value).startswith(f"{option} {tmp_path / 'file.json'}: ")
    return str(caught.value).partition(": ")[2]


def test_a_service_account(tmp_path):
    keys.write(tmp_path / "key.json", keys.service_account("http://localhost/token"))
    loaded = load(tmp_path, ServiceAccountFile="key.json")
    assert isinstance(loaded, service_account.Credentials)
    assert loaded.service_account_email == "orthanc@osimis-test.iam.gserviceaccount.com"
    assert loaded._token_uri == "http://localhost/token"
    assert loaded.scopes == ("https://www.googleapis.com/auth/cloud-healthcare",)


def test_scopes_and_token_uri_of_the_account(tmp_path):
    key = {k: v for k, v in keys.service_account("").items() if k not in ("token_uri", "type")}
    keys.write(tmp_path / "key.json", key)
    loaded = load(tmp_path, ServiceAccountFile="key.json", Scopes=["https://a", "https://b"])
    assert (loaded._token_uri, loaded.scopes) == (GOOGLE, ("https://a", "https://b"))
    loaded = load(tmp_path, ServiceAccountFile="key.json", TokenUri="http://localhost/t")
    assert loaded._token_uri == "http://localhost/t"


@pytest.mark.parametrize("project", ["a\r\nX-Injected: y", "a b", "ä", "", 7, ["p"]])
def test_a_quota_project_that_no_header_may_carry(tmp_path, project):
    file = {**USER, "type": "authorized_user", "quota_project_id": project}
    if isinstance(project, str):
        words = problem(tmp_path, file, "CredentialsFile")
        assert words.startswith("expected a quota_project_id of letters")
    else:
        keys.write(tmp_path / "user.json", file)
        load(tmp_path, CredentialsFile="user.json")


@pytest.mark.parametrize("kind", [{"type": "authorized_user"}, {}])
def test_a_users_file(tmp_path, kind):
    """Old gcloud wrote no type."""
    keys.write(tmp_path / "user.json", {**USER, **kind, "token_uri": "https://ignored"})
    loaded = load(tmp_path, AuthorizedUserFile="user.json")
    assert isinstance(loaded, user.Credentials)
    assert (loaded.refresh_token, loaded.client_id) == ("refresh-0003", "id-0001")
    assert (loaded.token_uri, loaded.scopes) == (GOOGLE, None)


def test_a_users_strings(tmp_path):
    options = keys.user_account("http://localhost/token")
    loaded = load(tmp_path, **options)
    assert (loaded.client_secret, loaded.token_uri) == ("secret-0002", "http://localhost/token")


def test_the_precedence_of_the_original(tmp_path):
    keys.write(tmp_path / "key.json", keys.service_account(""))
    keys.write(tmp_path / "user.json", {**USER, "client_id": "of-the-file"})
    strings = keys.user_account(GOOGLE)
    loaded = load(tmp_path, **strings, AuthorizedUserFile="user.json")
    assert loaded.client_id == "of-the-file"
    loaded = load(
        tmp_path, **strings, AuthorizedUserFile="user.json", ServiceAccountFile="key.json"
    )
    assert isinstance(loaded, service_account.Credentials)


def test_a_key_is_parsed_once(tmp_path):
    keys.write(tmp_path / "1.json", keys.service_account(""))
    keys.write(tmp_path / "2.json", keys.service_account("", client_email="b@c"))
    before = keys_module._parsed_key.cache_info().misses
    load(tmp_path, ServiceAccountFile="1.json")
    load(tmp_path, ServiceAccountFile="2.json")
    assert keys_module._parsed_key.cache_info().misses <= before + 1


def test_a_missing_file(tmp_path):
    with pytest.raises(CredentialError, match="there is no such file") as caught:
        load(tmp_path, ServiceAccountFile="nowhere.json")
    assert str(caught.value) == (
        f"ServiceAccountFile {tmp_path / 'nowhere.json'}: there is no such file"
    )
    assert caught.value.reason == "missing_file"


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CredentialError, match="the file cannot be read: Is a directory"):
        load(tmp_path, ServiceAccountFile="folder")


@pytest.mark.parametrize("content", ["", "not json", "\x00\xff", "[" * 10000, '{"a": 1'])
def test_a_file_that_is_not_json(tmp_path, content):
    assert problem(tmp_path, content) == "the file is not JSON"


@pytest.mark.parametrize("content", ["[]", "5", "null", '"x"'])
def test_a_file_with_other_json(tmp_path, content):
    assert problem(tmp_path, content) == "expected a JSON object"


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


@pytest.mark.parametrize("field", ["client_email", "private_key"])
def test_fields_of_a_key_file(tmp_path, field):
    key = keys.service_account("")
    assert problem(tmp_path, {**key, field: 5}) == f"{field} is not a string"
    assert problem(tmp_path, {**key, field: ""}) == f"{field} is missing"
    del key[field]
    assert problem(tmp_path, key) == f"{field} is missing"


@pytest.mark.parametrize("field", sorted(USER))
def test_fields_of_a_users_file(tmp_path, field):
    document = {k: v for k, v in USER.items() if k != field}
    assert problem(tmp_path, document, "AuthorizedUserFile") == f"{field} is missing"


EC_KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVcB/UNPxalR9zDYA
jQIfjojUDiQuGnSJrFEEzZPT/92hRANCAASc7UJtgnF/abqWM60T3XNJEzBv5ez9
TdwKH0M6xpM2q+53wmsN/eYLdgtjgBd3DBmHtPilCkiFICXyaA8z9LkJ
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize("pem", ["x", "-----BEGIN PRIVATE KEY-----\nAAAA", EC_KEY, "é\n"])
def test_a_key_that_is_not_usable(tmp_path, pem):
    message = problem(tmp_path, keys.service_account("", private_key=pem))
    assert message == ("private_key is not a usable RSA key in PEM form, download a new key file")


def test_the_recipe_of_the_original_that_died(tmp_path):
    """What ``gcloud auth print-access-token --format json`` writes since 2020."""
    message = problem(tmp_path, json.dumps({"token": "ya29.live"}), "AuthorizedUserFile")
    assert "it only holds an access token, which dies within the hour" in message
    assert "Run 'gcloud auth application-default login'" in message
    assert "application_default_credentials.json" in message
    assert "ya29" not in message
