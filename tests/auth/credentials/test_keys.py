"""Keys of service accounts, and refresh tokens of users."""

from __future__ import annotations

import pytest
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from tests.support import keys
from tests.support.credentials import credentials, problem
from tests.support.keys import USER

GOOGLE = "https://oauth2.googleapis.com/token"


def test_a_service_account(tmp_path):
    keys.write(tmp_path / "key.json", keys.service_account("http://localhost/token"))
    loaded = credentials(tmp_path, ServiceAccountFile="key.json")
    assert isinstance(loaded, service_account.Credentials)
    assert loaded.service_account_email == "orthanc@osimis-test.iam.gserviceaccount.com"
    assert loaded._token_uri == "http://localhost/token"
    assert loaded.scopes == ("https://www.googleapis.com/auth/cloud-healthcare",)


def test_scopes_and_token_uri_of_the_account(tmp_path):
    key = {k: v for k, v in keys.service_account("").items() if k not in ("token_uri", "type")}
    keys.write(tmp_path / "key.json", key)
    loaded = credentials(tmp_path, ServiceAccountFile="key.json", Scopes=["https://a", "https://b"])
    assert (loaded._token_uri, loaded.scopes) == (GOOGLE, ("https://a", "https://b"))
    loaded = credentials(tmp_path, ServiceAccountFile="key.json", TokenUri="http://localhost/t")
    assert loaded._token_uri == "http://localhost/t"


@pytest.mark.parametrize("kind", [{"type": "authorized_user"}, {}])
def test_a_users_file(tmp_path, kind):
    """Old gcloud wrote no type."""
    keys.write(tmp_path / "user.json", {**USER, **kind, "token_uri": "https://ignored"})
    loaded = credentials(tmp_path, AuthorizedUserFile="user.json")
    assert isinstance(loaded, user.Credentials)
    assert (loaded.refresh_token, loaded.client_id) == ("refresh-0003", "id-0001")
    assert (loaded.token_uri, loaded.scopes) == (GOOGLE, None)


def test_a_users_strings(tmp_path):
    options = keys.user_account("http://localhost/token")
    loaded = credentials(tmp_path, **options)
    assert (loaded.client_secret, loaded.token_uri) == ("secret-0002", "http://localhost/token")


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
