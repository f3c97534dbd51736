"""Files with secrets, and who else may read or change them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orthanc_gcp.auth.credentials.documents import Document
from orthanc_gcp.doctor.secret_files import exposed_file, exposure


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a key.json"
    path.write_text("{}")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_private_files(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert exposure(file) is None


@pytest.mark.parametrize(
    ("mode", "words", "remedy"),
    [
        (0o644, "every user of this machine may read it", "chmod o-rwx"),
        (0o602, "every user of this machine may read it", "chmod o-rwx"),
        (0o660, "its group may change it", "chmod g-w"),
    ],
)
def test_modes(file: Path, mode: int, words: str, remedy: str) -> None:
    file.chmod(mode)
    found = exposure(file)
    assert found is not None
    assert found.words == words
    assert remedy in found.remedy
    assert f"'{file}'" in found.remedy


def test_a_folder_in_which_everybody_may_replace_it(file: Path) -> None:
    file.parent.chmod(0o777)
    found = exposure(file)
    assert found is not None
    assert "put another in its place" in found.words
    file.parent.chmod(0o1777)
    assert exposure(file) is None
    file.parent.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_an_owner_who_is_somebody_else(file: Path) -> None:
    os.chown(file, 12345, 0)
    found = exposure(file)
    assert found is not None
    assert "it belongs to 12345, who may change it" in found.words
    assert found.remedy.startswith("chown root ")


def test_files_that_a_workload_identity_names(file: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    configuration = tmp_path / "certificate.json"
    workload = {"cert_path": "cert.pem", "key_path": str(token)}
    configuration.write_text(json.dumps({"cert_configs": {"workload": workload}}))
    for source, named in (
        ({"file": str(token)}, "credential_source.file"),
        ({"executable": {"command": "x", "output_file": str(token)}}, "output_file"),
        (
            {"certificate": {"certificate_config_location": str(configuration)}},
            "the key of its certificate",
        ),
    ):
        document = Document("CredentialsFile key.json", {"credential_source": source}, file)
        found = exposed_file(document)
        assert found is not None
        where, what = found
        assert where == f"CredentialsFile key.json: {named}: {token}"
        assert what.words == "every user of this machine may read it"
        assert what.is_short_lived == (named != "the key of its certificate")
        assert "secret" not in str(found)


@pytest.mark.parametrize(
    "source",
    [
        None,
        "text",
        {"file": 7},
        {"file": "/no/such/file"},
        {"certificate": {"certificate_config_location": "/no/such/file"}},
        {"certificate": {"certificate_config_location": 7}},
        {"executable": "text"},
    ],
)
def test_what_names_no_file(file: Path, source: object) -> None:
    assert exposed_file(Document("here", {"credential_source": source}, file)) is None
    assert exposed_file(Document("here", {"credential_source": source})) is None
