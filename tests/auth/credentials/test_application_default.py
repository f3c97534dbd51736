"""Application Default Credentials: where Google's own tools look, in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_gcp.auth.credentials import application_default
from orthanc_gcp.errors import CredentialError
from tests.support.keys import write

SCOPES = ("https://a",)


@pytest.fixture(autouse=True)
def gcloud(tmp_path, monkeypatch):
    """gcloud's folder."""
    folder = tmp_path / "gcloud"
    folder.mkdir()
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(folder))
    return folder


def found():
    return application_default.find(lambda document: document, SCOPES)


def test_the_variable_of_the_environment_goes_first(tmp_path, gcloud, monkeypatch):
    write(gcloud / "application_default_credentials.json", {"of": "gcloud"})
    write(tmp_path / "named.json", {"of": "the variable"})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "named.json"))
    assert found().fields == {"of": "the variable"}
    assert found().where == f"GOOGLE_APPLICATION_CREDENTIALS {tmp_path / 'named.json'}"


def test_a_file_that_is_named_and_missing_is_not_passed_over(tmp_path, gcloud, monkeypatch):
    write(gcloud / "application_default_credentials.json", {"of": "gcloud"})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(CredentialError, match="there is no such file"):
        found()


def test_the_file_of_gcloud(gcloud):
    write(gcloud / "application_default_credentials.json", {"of": "gcloud"})
    assert found().fields == {"of": "gcloud"}


def test_the_metadata_server():
    identity = found()
    assert (identity.kind, identity.scopes) == ("metadata server", SCOPES)
    assert identity.document is None


def test_the_usual_folder_of_gcloud(monkeypatch):
    monkeypatch.delenv("CLOUDSDK_CONFIG")
    assert application_default.well_known_file() == (
        Path.home() / ".config/gcloud/application_default_credentials.json"
    )
