"""The script that Orthanc loads, read and never run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orthanc_gcp.doctor.script import ScriptError, loaded_by
from orthanc_gcp.plugin import script


def write(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


def test_the_script_that_is_printed(tmp_path):
    name = write(tmp_path / "gcp_plugin.py", script.text())
    found = loaded_by(name)
    assert found.file == Path(name)
    assert found.pythons == (sys.version_info[:2],)
    assert found.interpreter == sys.executable
    assert any((folder / "orthanc_gcp").is_dir() for folder in found.packages)


def test_a_script_of_the_users_that_imports_it(tmp_path):
    write(tmp_path / "orthanc_gcp_plugin.py", script.text())
    own = write(tmp_path / "own.py", "import os, orthanc_gcp_plugin\nraise SystemExit('run')\n")
    assert loaded_by(own).file == tmp_path / "orthanc_gcp_plugin.py"


def test_a_script_that_imports_it_from_a_folder_that_it_names(tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    write(other / "orthanc_gcp_plugin.py", script.text())
    text = f"import sys\nsys.path.append({str(other)!r})\nfrom orthanc_gcp_plugin import x\n"
    own = write(tmp_path / "own.py", text)
    assert loaded_by(own).file == other / "orthanc_gcp_plugin.py"


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("import orthanc\n", "does not load the connector", "import the script that"),
        ("from . import x\n", "does not load the connector", "import the script that"),
        ("PYTHONS = x()\nPACKAGES = []\n", "does not load the connector", "import the script"),
        ("def (\n", "is not Python: Orthanc does not start", ""),
        ("\0", "is not Python: Orthanc does not start", ""),
        ("(" * 500, "is not Python: Orthanc does not start", ""),
    ],
)
def test_a_script_that_does_not_load_the_connector(tmp_path, text, cause, remedy):
    with pytest.raises(ScriptError, match=cause) as caught:
        loaded_by(write(tmp_path / "own.py", text))
    assert caught.value.remedy.startswith(remedy)


def test_no_script_and_one_that_cannot_be_read(tmp_path):
    with pytest.raises(ScriptError, match="no PythonScript is configured"):
        loaded_by("")
    with pytest.raises(ScriptError, match=r"none\.py .* cannot be read: No such file"):
        loaded_by(str(tmp_path / "none.py"))


@pytest.mark.parametrize("name", ["sys.py", "orthanc.py", "site.py", "a.b.py", "größe.py"])
def test_a_name_that_python_would_take_for_another(tmp_path, name):
    with pytest.raises(ScriptError, match="cannot be imported under this name") as caught:
        loaded_by(write(tmp_path / name, script.text()))
    assert caught.value.remedy.startswith("give it another name")
