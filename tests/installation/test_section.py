"""The section as it is first written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.configuration.files import read_files
from orthanc_gcp.errors import InstallationError
from orthanc_gcp.installation.section import MARK, SECTION, NewAccount, as_file, empty, filled
from tests.support.keys import service_account, write

STORE = {"project": "p", "location": "l", "dataset": "d", "dicom_store": "s"}
WRITTEN = {"Project": "p", "Location": "l", "Dataset": "d", "DicomStore": "s"}


def account(credentials: object = "application-default", **parts: str) -> NewAccount:
    return NewAccount(**{"name": "a", **STORE, "credentials": str(credentials), **parts})


def test_an_account_without_a_key():
    new = account()
    assert new.file is None
    assert new.options(None) == {**WRITTEN, "Credentials": "ApplicationDefault"}


@pytest.mark.parametrize(
    ("content", "option"),
    [
        (service_account("http://127.0.0.1:1/"), "ServiceAccountFile"),
        ({"type": "authorized_user", "refresh_token": "r"}, "AuthorizedUserFile"),
        ({"refresh_token": "r"}, "AuthorizedUserFile"),
        ({"type": "external_account"}, "CredentialsFile"),
    ],
)
def test_the_option_is_that_of_the_credential(tmp_path, content, option):
    new = account(write(tmp_path / "key.json", content))
    assert new.file == tmp_path / "key.json"
    assert new.options(Path("/etc/key.json")) == {**WRITTEN, option: "/etc/key.json"}


@pytest.mark.parametrize("content", [{}, {"type": 1}, []])
def test_what_is_no_credential_is_refused(tmp_path, content):
    with pytest.raises(InstallationError, match="--credentials"):
        account(write(tmp_path / "key.json", content)).options(Path("/x"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InstallationError, match="there is no such file"):
        account(tmp_path / "none").options(Path("/x"))


@pytest.mark.parametrize(
    ("part", "option"), [("project", "Project"), ("dicom_store", "DicomStore")]
)
def test_a_part_that_the_configuration_would_refuse(part, option):
    with pytest.raises(InstallationError, match=rf"{option}: found 'a/b'"):
        account(**{part: "a/b"}).options(None)
    with pytest.raises(InstallationError, match="cannot name a DICOMweb server"):
        account(name="a/b").options(None)


def test_a_file_of_the_section_is_read_without_a_problem(tmp_path):
    file = tmp_path / "google-cloud-platform.json"
    file.write_text(as_file(filled('my "übung"', account().options(None))))
    assert file.read_text().startswith(MARK)
    settings = configuration.read(read_files([file], {}))
    assert settings.problems == ()
    assert [one.name for one in settings.accounts] == ['my "übung"']


def test_the_empty_section_changes_nothing_and_says_how_to_fill_it_in(tmp_path):
    file = tmp_path / "google-cloud-platform.json"
    file.write_text(as_file(empty(tmp_path / "keys")))
    (problem,) = configuration.read(read_files([file], {})).problems
    assert str(problem) == "No Google Cloud Platform account is configured"
    assert f"{tmp_path}/keys" in file.read_text()


def test_it_is_valid_json_beneath_its_comment():
    text = as_file(filled("a", account().options(None)))
    assert json.loads(text.partition("\n")[2])[SECTION]["Accounts"]["a"]["Project"] == "p"
