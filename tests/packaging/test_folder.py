"""What lies beside the libraries of a folder; compat/test_packages.py has the libraries, too."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import orthanc_gcp
from artefacts.folder import finish
from artefacts.source import Source
from artefacts.targets import LINUX


@pytest.fixture
def make(tmp_path):
    def made(*pythons: tuple[int, int]) -> Path:
        """A folder whose only library is this package, beside those of the tests."""
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "orthanc_gcp").symlink_to(Path(orthanc_gcp.__file__).parent)
        finish(Source(), LINUX, tmp_path, pythons)
        return tmp_path

    return made


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, folder / "bin" / "orthanc-gcp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/")


def test_the_command_takes_the_libraries_beside_it(make, tmp_path):
    folder = make(sys.version_info[:2])
    done = run(folder, "--version")
    assert (done.stdout.split()[-1], done.stderr) == (orthanc_gcp.__version__, "")
    assert str(folder / "lib") in run(folder, "plugin-script").stdout
    link = tmp_path / "elsewhere"
    link.symlink_to(folder / "bin" / "orthanc-gcp")
    assert os.access(link, os.X_OK)
    done = subprocess.run([sys.executable, link, "plugin-script"], capture_output=True, text=True)
    assert str(folder / "lib") in done.stdout


def test_another_python_is_refused(make):
    done = run(make((3, 9), (3, 10)), "--version")
    version = "{}.{}".format(*sys.version_info[:2])
    assert done.returncode == 1
    assert f"is installed for Python 3.9, 3.10, and this is Python {version}" in done.stderr


def test_the_script_and_the_licence_are_there(make):
    folder = make((3, 11))
    script = ast.parse((folder / "orthanc_gcp_plugin.py").read_text())
    assert "PYTHONS = [(3, 11)]" in map(ast.unparse, script.body)
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (folder / "LICENSE").read_text()
