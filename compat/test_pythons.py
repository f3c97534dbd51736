"""The emulator's own tests on every Python that is to be had: ``make compat``.

Pythons of this machine get an environment of their own; those of other Debian releases stay in
their release. What is tested is the wheel, from a folder in which there are the tests only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compat.releases import (
    RELEASES,
    ROOT,
    build_wheel,
    install_wheel,
    locked_versions,
    make_release,
    run,
)

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
TOOLS = (
    *("dicomweb-client", "google-api-python-client", "hypothesis", "psutil"),
    *("pytest", "pytest-timeout"),
)
TESTS = "-m pytest -q -o addopts= --import-mode=importlib -p no:cacheprovider tests/emulator"


def find_python(version: str) -> str | None:
    """Find a Python by its version: on the path, or among those of pyenv."""
    for found in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")):
        return str(found)
    return shutil.which(f"python{version}")


def copy_tests(folder: Path) -> None:
    """Copy what the tests need, without the sources."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def check(*command: str | Path, **options: object) -> None:
    """Run the tests; their own report says what failed."""
    # The sources that these tests may have been started from are not what is tested.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **options,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_python_of_this_machine(version, tmp_path):
    python = find_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version}")
    wheel = build_wheel(tmp_path / "wheels")
    run(python, "-m", "venv", tmp_path / "venv")
    own = tmp_path / "venv" / "bin" / "python"
    pip = (own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--constraint", locked_versions(tmp_path), f"{wheel}[emulator]", *TOOLS)
    copy_tests(tmp_path / "there")
    check(own, *TESTS.split(), cwd=tmp_path / "there")


@pytest.mark.parametrize("name", RELEASES)
def test_the_python_of_a_release(name):
    root = make_release(name)
    install_wheel(root, "/opt/emulator", "emulator", *TOOLS)
    copy_tests(root / "opt" / "there")
    run("mount", "--bind", "/proc", root / "proc")
    try:
        script = f"cd /opt/there && /opt/emulator/bin/python {TESTS}"
        check("chroot", root, "sh", "-ec", script)
    finally:
        run("umount", root / "proc")
