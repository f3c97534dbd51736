"""The files of a configuration: where they are, and what they say together."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.installation.configuration_files import ConfigurationFiles, bytes_of, text_of


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    (folder / "a.json").write_text('{"Plugins": ["${FOLDER}"], // mine\n "Name": "x"}')
    (folder / "b.json").write_text('{"Python": {"Path": "/x.py"}}')
    (folder / "notes.txt").write_text("not read")
    return folder


def test_a_folder(folder):
    files = ConfigurationFiles.read(folder, {"FOLDER": "/usr/share"})
    assert files.options == {
        "Plugins": ["/usr/share"],
        "Name": "x",
        "Python": {"Path": "/x.py"},
    }
    assert [file.name for file in files.texts] == ["a.json", "b.json"]
    assert files.is_folder
    assert files.folder == folder
    assert files.script == folder / "orthanc_gcp_plugin.py"
    assert files.section_file == folder / "google-cloud-platform.json"
    assert files.credentials_folder == folder.parent / "orthanc-gcp"


def test_a_single_file(folder):
    files = ConfigurationFiles.read(folder / "b.json", {})
    assert not files.is_folder
    assert files.folder == folder
    assert files.credentials_folder == folder / "orthanc-gcp-credentials"
    assert files.folders(files.credentials_folder) == {folder, folder / "orthanc-gcp-credentials"}


def test_an_option_belongs_to_the_file_that_has_it(folder):
    files = ConfigurationFiles.read(folder, {"FOLDER": "/"})
    assert files.file_of("Python").name == "b.json"
    assert files.file_of("Name").name == "a.json"
    assert files.file_of("HttpsCACertificates").name == "a.json", "beside Plugins"
    assert ConfigurationFiles.read(folder / "b.json", {}).file_of("Name").name == "b.json"


def test_a_link_is_read_where_it_leads(folder, tmp_path):
    target = tmp_path / "elsewhere"
    (folder / "b.json").rename(target)
    (folder / "b.json").symlink_to(target)
    files = ConfigurationFiles.read(folder, {"FOLDER": "/"})
    assert target in files.texts
    assert target.parent in files.folders(files.credentials_folder)


def test_what_it_would_say(folder):
    files = ConfigurationFiles.read(folder, {"FOLDER": "/"})
    assert files.would_say({folder / "a.json": '{"A": "${FOLDER}"}'}) == {"A": "/"}
    with pytest.raises(ConfigurationError, match=r"a\.json: not JSON"):
        files.would_say({folder / "a.json": "{"})


def test_bytes_that_are_not_utf_8_survive(tmp_path):
    file = tmp_path / "orthanc.json"
    content = b'{ // d\xe9j\xe0\n"A": 1}'
    file.write_bytes(content)
    assert bytes_of(text_of(file)) == content
    assert bytes_of(ConfigurationFiles.read(file, {}).texts[file]) == content


def test_what_orthanc_could_not_start_with(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ConfigurationFiles.read(tmp_path / "none.json", {})
    with pytest.raises(ConfigurationError, match=r"no \.json file"):
        ConfigurationFiles.read(tmp_path, {})


def test_a_secret_in_a_file_is_in_no_repr(folder):
    (folder / "a.json").write_text('{"Password": "pw-1"}')
    assert "pw-1" not in repr(ConfigurationFiles.read(folder, {"X": "pw-1"}))
