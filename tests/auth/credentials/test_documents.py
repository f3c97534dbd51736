"""Credential files: read whole, bounded, and known again when they change."""

from __future__ import annotations

import base64
import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from google.oauth2 import service_account

from orthanc_gcp.auth.credentials import documents
from orthanc_gcp.errors import CredentialError
from tests.support import keys
from tests.support.credentials import credentials, problem
from tests.support.public_installation import public_folder

NOBODY = 65534


def test_a_missing_file(tmp_path):
    with pytest.raises(CredentialError, match="there is no such file") as caught:
        credentials(tmp_path, ServiceAccountFile="nowhere.json")
    assert str(caught.value) == (
        f"ServiceAccountFile {tmp_path / 'nowhere.json'}: there is no such file"
    )
    assert caught.value.reason == "missing_file"


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CredentialError, match="the file cannot be read: Is a directory"):
        credentials(tmp_path, ServiceAccountFile="folder")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_an_encoding_of_json_that_editors_write(tmp_path, encoding):
    content = json.dumps(keys.service_account("")).encode(encoding)
    (tmp_path / "key.json").write_bytes(content)
    assert isinstance(
        credentials(tmp_path, ServiceAccountFile="key.json"), service_account.Credentials
    )


def test_a_file_that_does_not_end(tmp_path):
    (tmp_path / "key.json").write_bytes(b" " * (1024 * 1024) + b"{}")
    with pytest.raises(CredentialError, match="the file is far too long"):
        credentials(tmp_path, ServiceAccountFile="key.json")


@pytest.mark.parametrize("content", ["[]", "5", "null", '"x"'])
def test_a_file_with_other_json(tmp_path, content):
    assert problem(tmp_path, content) == "expected a JSON object"


def test_a_document_that_is_read(tmp_path):
    path = tmp_path / "key.json"
    keys.write(path, {"name": "value", "empty": "", "number": 5})
    document = documents.read(path, "CredentialsFile")
    assert (document.where, document.path) == (f"CredentialsFile {path}", path)
    assert document.text("name") == "value"
    for field, found in (("empty", "is missing"), ("none", "is missing"), ("number", "is not a")):
        with pytest.raises(CredentialError, match=f"{field} {found}") as caught:
            document.text(field)
        assert caught.value.reason == "missing_field"
    assert document.written is not None


def test_a_file_that_changes(tmp_path):
    path = tmp_path / "key.json"
    keys.write(path, {"a": 1})
    document = documents.read(path, "CredentialsFile")
    assert not document.changed()
    path.unlink()
    assert not document.changed()
    keys.write(path, {"a": 22})
    assert document.changed()


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, '{"a": 1}', ' {"a": 1}\n', base64.b64encode(b'{"a": 1}').decode()],
    ids=["object", "text", "text with spaces", "Base64"],
)
def test_a_document_in_the_configuration_itself(value):
    document = documents.inline(value, "ServiceAccountJson")
    assert (document.fields, document.where) == ({"a": 1}, "ServiceAccountJson")
    assert not document.changed()
    assert document.written is None


def test_a_document_in_the_configuration_that_is_none():
    with pytest.raises(CredentialError, match="it is neither JSON nor JSON in Base64"):
        documents.inline("hush", "ServiceAccountJson")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize(("file", "folder"), [(0o600, 0o755), (0o644, 0o700)])
def test_a_file_of_another_user(file, folder):
    """Who may not read it, and where the way ends."""
    with public_folder() as public:
        place = public / "closed"
        place.mkdir(mode=folder)
        keys.write(place / "key.json", {})
        (place / "key.json").chmod(file)
        with ProcessPoolExecutor(1, get_context("fork"), os.setuid, (NOBODY,)) as other:
            reason, words = other.submit(refusal, place / "key.json").result()
    assert reason == ("forbidden_folder" if folder == 0o700 else "forbidden_file")
    closed = (
        f"may not enter the folder {place}"
        if folder == 0o700
        else "the file cannot be read: the user nobody may not"
    )
    assert words.endswith(closed)


def refusal(path):
    with pytest.raises(CredentialError) as caught:
        documents.read(path, "CredentialsFile")
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("external_account", "external_account"), ("a b", "of another kind"), ({}, "of another kind")],
)
def test_a_type_that_may_be_shown(value, shown):
    assert documents.word(value) == shown
