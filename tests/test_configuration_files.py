"""Configuration files, read as Orthanc reads them."""

from __future__ import annotations

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


def test_variables(tmp_path):
    text = '{"A": "${ONE}", "B": "${TWO:-two}", "C": "${ONE:-x}", "D": "${NONE}", "E": ${N:-5}}'
    assert read(tmp_path, text, ONE="1") == {"A": "1", "B": "two", "C": "1", "D": "", "E": 5}


def test_a_folder_is_merged(tmp_path):
    (tmp_path / "a.json").write_text('{"A": 1}')
    (tmp_path / "b.json").write_text('{"B": 2}')
    (tmp_path / "c.txt").write_text("not read")
    assert read_files([tmp_path]) == {"A": 1, "B": 2}
    assert folder_of([tmp_path]) == tmp_path
    assert folder_of([tmp_path / "a.json"]) == tmp_path


def test_an_option_in_two_files(tmp_path):
    (tmp_path / "a.json").write_text('{"A": 1}')
    (tmp_path / "b.json").write_text('{"A": 2}')
    with pytest.raises(ConfigurationError, match="the option A stands in two files"):
        read_files([tmp_path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"A": 1,\n}', "not JSON at line 3, column 1"),
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
