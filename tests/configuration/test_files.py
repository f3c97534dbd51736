"""Configuration files, read as Orthanc reads them."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.errors import ConfigurationError


def read(tmp_path: Path, text: str, **environment: str):
    file = tmp_path / "orthanc.json"
    file.write_text(text)
    return read_files([file], environment)


def test_comments(tmp_path):
    text = """
    { // the rest of a line
      /* several
         lines */ "A": "http://not-a-comment/", "B": "/* nor this */", "C": "\\"//", // end
      "D": 1 /* in between */
    }
    """
    assert read(tmp_path, text) == {
        "A": "http://not-a-comment/",
        "B": "/* nor this */",
        "C": '"//',
        "D": 1,
    }


def test_a_folder_is_merged(tmp_path):
    (tmp_path / "a.json").write_text('{"A": 1}')
    (tmp_path / "b.json").write_text('{"B": 2}')
    (tmp_path / "c.txt").write_text("not read")
    assert read_files([tmp_path]) == {"A": 1, "B": 2}
    assert folder_of([tmp_path]) == tmp_path
    assert folder_of([tmp_path / "a.json"]) == tmp_path


def test_an_option_in_two_files(tmp_path):
    (tmp_path / "a.json").write_text('{"A": {"B": 1}}')
    (tmp_path / "b.json").write_text('{"A": {"C": 1}}')
    message = r"b\.json: the option A stands in two files of the configuration, in .*a\.json too"
    with pytest.raises(ConfigurationError, match=message):
        read_files([tmp_path])
    with pytest.raises(ConfigurationError, match=r"a\.json: the option A stands in two files"):
        read_files([tmp_path / "b.json", tmp_path / "a.json"])


def test_a_message_is_one_line_whatever_an_option_is_called(tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"A\\nB": 1}')
    with pytest.raises(ConfigurationError, match=r"the option 'A\\nB' stands in two files"):
        read_files([tmp_path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"A": 1\n"B": 2}', "not JSON at line 3, column 1"),
        ("", "not JSON at line 1"),
        ("[1]", "expected a JSON object"),
        ('/* comment\n*/\n{"A": oops}', "not JSON at line 3, column 7"),
        ("\udcff", "not JSON in UTF-8"),
    ],
)
def test_what_is_not_a_configuration(tmp_path, text, message):
    file = tmp_path / "x.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError, match=message):
        read_files([file])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_files([tmp_path / "nowhere.json"])
    with pytest.raises(ConfigurationError, match=r"there is no \.json file in this folder"):
        read_files([tmp_path])


def test_what_of_a_folder_is_not_read(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "folder.json" / "inner.json").write_text("not read")
    (tmp_path / "link.json").symlink_to("folder.json")
    for name in ("a.json~", "a.json.bak", "json", "a.json "):
        (tmp_path / name).write_text("not read")
    (tmp_path / ".JSON").write_text('{"A": 1}')
    assert read_files([tmp_path]) == {"A": 1}


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ConfigurationError, match=r"pipe\.json: this is no regular file"):
        read_files([tmp_path])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(ConfigurationError, match="/s: this is no regular file"):
            read_files([tmp_path / "s"])


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "a.json").symlink_to("gone")
    with pytest.raises(ConfigurationError, match=r"a\.json: cannot be read: No such file"):
        read_files([tmp_path])
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.json").symlink_to("a.json")
    with pytest.raises(ConfigurationError, match=r"a\.json: cannot be read: Too many levels"):
        read_files([tmp_path])


def test_a_file_that_is_too_large(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b" " * (16 * 1024 * 1024) + b"{}")
    with pytest.raises(ConfigurationError, match=r"a\.json: larger than 16 MiB"):
        read_files([file])


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, which may read anything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_the_user_may_not_read():
    advice = "cannot be read: Permission denied; run this as root, or as the user that Orthanc runs"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "credentials.json"
        file.write_text("{}")
        file.chmod(0)
        with nobody(), pytest.raises(ConfigurationError, match=rf"credentials\.json: {advice}"):
            read_files([folder])
        folder.chmod(0o444)
        with nobody(), pytest.raises(ConfigurationError, match=rf"credentials\.json: {advice}"):
            read_files([folder])
        with nobody(), pytest.raises(ConfigurationError, match=rf"credentials\.json: {advice}"):
            read_files([file])
        folder.chmod(0)
        with nobody(), pytest.raises(ConfigurationError, match=rf"{name}: {advice}"):
            read_files([folder])
        folder.chmod(0o755)


def test_debians_own_folder_is_read_at_once():
    began = time.process_time()
    assert "StorageDirectory" in read_files([Path("/etc/orthanc")])
    assert time.process_time() - began < 0.1
