"""Accounts -> google-auth credentials, from real files."""

from __future__ import annotations

import json
import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from orthanc_gcp.auth.credentials import loading, private_keys
from orthanc_gcp.configuration import read
from orthanc_gcp.errors import CredentialError
from tests.support import keys
from tests.support.keys import STORE, USER

GOOGLE = "https://oauth2.googleapis.com/token"


def load(tmp_path, **options):
    settings = read({"GoogleCloudPlatform": {"Accounts": {"a": {**STORE, **options}}}}, tmp_path)
    assert [str(p) for p in settings.problems if p.error] == []
    return loading.load(settings.accounts[0], settings).credentials


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
    before = private_keys.parse.cache_info().misses
    load(tmp_path, ServiceAccountFile="1.json")
    load(tmp_path, ServiceAccountFile="2.json")
    assert private_keys.parse.cache_info().misses <= before + 1


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


NOT_JSON = "the file is not JSON"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", NOT_JSON),
        ("\x00\xff", NOT_JSON),
        ("[" * 10000, NOT_JSON),
        ("", f"{NOT_JSON}: it is empty"),
        (" \n\t", f"{NOT_JSON}: it is empty"),
        ('{"a": 1', f"{NOT_JSON}: it breaks off or has a mistake at line 1, column 8"),
        ('{"a": 1,}', f"{NOT_JSON}: it breaks off or has a mistake at line 1, column 9"),
        ("\n <HTML>", f"{NOT_JSON}: it is a web page"),
        ("-----BEGIN CERTIFICATE", f"{NOT_JSON}: it is the PEM file of a key or certificate"),
        ("eyJhIjogMX0=", f"{NOT_JSON}: it is JSON in Base64"),
        ("eyJh\nIjog\nMX0=\n", f"{NOT_JSON}: it is JSON in Base64"),
        ("ya29.c.secret\n", "it only holds an access token, which dies within the hour"),
        ('"ya29.c.secret"', "it only holds an access token, which dies within the hour"),
        ("eyJhbGciOi.eyJpc3Mi.c2Vj", "it only holds an access token, which dies within the hour"),
        ("AIzaSecret", "it only holds an API key, which opens no DICOM store"),
        ("1//0secret", "it only holds a refresh token, without its OAuth client"),
        ("[core]\naccount = x\n", "it is a configuration of gcloud, not a credential"),
        ("SQLite format 3\0", "it is a configuration of gcloud, not a credential"),
    ],
)
def test_a_file_that_is_not_json(tmp_path, content, words):
    message = problem(tmp_path, content)
    assert message == words
    assert "secret" not in message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"installed": {"client_id": "secret"}}, "it is an OAuth client, not a credential"),
        ({"web": {"client_secret": "secret"}}, "it is an OAuth client, not a credential"),
        ({"access_token": "secret"}, "it only holds an access token, which dies within the hour"),
        ({"apiKey": "secret"}, "it only holds an API key, which opens no DICOM store"),
        ({"privateKeyData": "c2VjcmV0"}, "the key is inside privateKeyData, in Base64"),
        ({"core": {"account": "secret"}}, "it is a configuration of gcloud, not a credential"),
        ({"email": "a@b", "uniqueId": "1"}, "it describes a service account, without key"),
        ({"GoogleCloudPlatform": {}}, "it is Orthanc's configuration"),
    ],
)
@pytest.mark.parametrize("option", ["ServiceAccountFile", "CredentialsFile", "AuthorizedUserFile"])
def test_a_file_of_another_purpose(tmp_path, fields, words, option):
    message = problem(tmp_path, fields, option)
    assert message.startswith(words)
    assert "secret" not in message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_an_encoding_of_json_that_editors_write(tmp_path, encoding):
    content = json.dumps(keys.service_account("")).encode(encoding)
    (tmp_path / "key.json").write_bytes(content)
    assert isinstance(load(tmp_path, ServiceAccountFile="key.json"), service_account.Credentials)


def test_a_token_in_the_encoding_of_powershell(tmp_path):
    (tmp_path / "key.json").write_bytes("ya29.secret\r\n".encode("utf-16"))
    with pytest.raises(CredentialError, match="it only holds an access token") as caught:
        load(tmp_path, ServiceAccountFile="key.json")
    assert caught.value.reason == "only_access_token"


def test_a_p12_file(tmp_path):
    (tmp_path / "key.p12").write_bytes(b"\x30\x82\x09\x80" + bytes(100))
    with pytest.raises(CredentialError, match="it is a P12 file"):
        load(tmp_path, ServiceAccountFile="key.p12")


def test_a_file_that_does_not_end(tmp_path):
    (tmp_path / "key.json").write_bytes(b" " * (1024 * 1024) + b"{}")
    with pytest.raises(CredentialError, match="the file is far too long"):
        load(tmp_path, ServiceAccountFile="key.json")


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


def ec_key():
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def key_error(tmp_path, pem):
    message = problem(tmp_path, keys.service_account("", private_key=pem))
    words = re.fullmatch(
        r"private_key is not a usable RSA key in PEM form(?: \((.*)\))?, download a new key file",
        message,
    )
    assert words, message
    return words[1]


ESCAPED = r"its line breaks were escaped twice (\\n where \n belongs)"
WRONG_LINES = "its line breaks are missing or were replaced by something else"
WITHOUT_FRAME = "its first and last line (-----BEGIN …, -----END …) are missing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pem: pem.replace("\n", r"\n"), ESCAPED),
        (lambda pem: pem.replace("\n", r"\\n"), ESCAPED),
        (lambda pem: pem.replace("\n", r"\r\n"), ESCAPED),
        (lambda pem: '"' + pem.replace("\n", r"\n") + '"', ESCAPED),
        (lambda pem: pem.replace("\n", "\n\n"), WRONG_LINES),
        (lambda pem: "".join(pem.splitlines()[1:-1]), WITHOUT_FRAME),
        (lambda pem: "\r\n".join(pem.splitlines()[1:-1]), WITHOUT_FRAME),
        (lambda pem: pem[:800], "its end is missing"),
        (lambda pem: pem[:99] + pem[100:], "it is damaged"),
        (lambda pem: pem.replace("\n", "n"), "it is damaged"),
        (lambda pem: pem.replace("PRIVATE KEY", "CERTIFICATE"), "it is a certificate"),
        (lambda pem: pem.replace("PRIVATE", "PUBLIC"), "it is a public key"),
        (lambda _: ec_key(), "it is a key of another kind"),
        (lambda _: "x", "it does not begin with -----BEGIN"),
        (lambda _: "é\n", "it does not begin with -----BEGIN"),
        (lambda _: "-----BEGIN PRIVATE KEY-----\nAAAA", "its end is missing"),
        (lambda _: "-----BEGIN", None),
    ],
)
def test_a_key_that_is_not_usable(tmp_path, change, words):
    assert key_error(tmp_path, change(keys.private_key())) == words


@pytest.mark.parametrize("between", ["\r\n", "\r", " ", "\t", "  \n  "])
def test_a_key_whose_line_breaks_do_not_matter(tmp_path, between):
    pem = keys.private_key().replace("\n", between)
    keys.write(tmp_path / "key.json", keys.service_account("", private_key=f'"{pem}"'))
    assert load(tmp_path, ServiceAccountFile="key.json").service_account_email


def test_the_recipe_of_the_original_that_died(tmp_path):
    """What ``gcloud auth print-access-token --format json`` writes since 2020."""
    message = problem(tmp_path, json.dumps({"token": "ya29.live"}), "AuthorizedUserFile")
    assert "it only holds an access token, which dies within the hour" in message
    assert "Run 'gcloud auth application-default login'" in message
    assert "application_default_credentials.json" in message
    assert "ya29" not in message
