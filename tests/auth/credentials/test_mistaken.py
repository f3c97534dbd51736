"""What somebody took for a credential file is named, and nothing of it is shown."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.errors import CredentialError
from tests.support.credentials import credentials, problem

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
        ("ya29.c.secret\n", "it only holds an access token, which expires within the hour"),
        ('"ya29.c.secret"', "it only holds an access token, which expires within the hour"),
        (
            "eyJhbGciOi.eyJpc3Mi.c2Vj",
            "it only holds an access token, which expires within the hour",
        ),
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
        (
            {"access_token": "secret"},
            "it only holds an access token, which expires within the hour",
        ),
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


def test_a_token_in_the_encoding_of_powershell(tmp_path):
    (tmp_path / "key.json").write_bytes("ya29.secret\r\n".encode("utf-16"))
    with pytest.raises(CredentialError, match="it only holds an access token") as caught:
        credentials(tmp_path, ServiceAccountFile="key.json")
    assert caught.value.reason == "only_access_token"


def test_a_p12_file(tmp_path):
    (tmp_path / "key.p12").write_bytes(b"\x30\x82\x09\x80" + bytes(100))
    with pytest.raises(CredentialError, match="it is a P12 file"):
        credentials(tmp_path, ServiceAccountFile="key.p12")


def test_the_recipe_of_the_original_that_died(tmp_path):
    """What ``gcloud auth print-access-token --format json`` writes since 2020."""
    message = problem(tmp_path, json.dumps({"token": "ya29.live"}), "AuthorizedUserFile")
    assert "it only holds an access token, which expires within the hour" in message
    assert "Run 'gcloud auth application-default login'" in message
    assert "application_default_credentials.json" in message
    assert "ya29" not in message
