"""What the package declares is what it imports, extra by extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "orthanc_gcp"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
THROUGH_OTHERS = {
    "httptools": "uvicorn parses HTTP with it",
    "psycopg": "SQLAlchemy speaks to PostgreSQL through it",
    "pylibjpeg": "pydicom decodes pixels with it",
    "rich": "the demonstration of the emulator prints with it, and what the worker has done",
}
"""Distributions that no line of ours imports."""
FOR_TESTS = {"pytest"}
"""Imported by the plugin of pytest only, which pytest loads."""


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", one) for one in requirements)
    return {normalized(match[0]) for match in found if match} - {"orthanc-gcp"}


CORE = declared(PROJECT["dependencies"])
EXTRAS = {name: declared(one) for name, one in PROJECT["optional-dependencies"].items()}


def imported(files: list[Path]) -> set[str]:
    """The distributions that some files import from, wherever in them."""
    known = packages_distributions()
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    names -= {"orthanc_gcp", "orthanc", *sys.stdlib_module_names}
    # Several distributions share a name such as google.
    return {
        normalized(one)
        for name in names
        for one in (["google-auth"] if name == "google" else known[name])
    } - FOR_TESTS


EMULATOR = sorted((PACKAGE / "emulator").rglob("*.py"))
GATEWAY = sorted((PACKAGE / "gateway").rglob("*.py"))
REST = sorted(set(PACKAGE.rglob("*.py")) - set(EMULATOR) - set(GATEWAY))
PARTS = [("emulator", EMULATOR), ("gateway", GATEWAY), ("worker", REST)]
"""Each extra, and the files that import from it."""


@pytest.mark.parametrize(("extra", "files"), PARTS)
def test_an_extra_declares_what_is_imported(extra, files):
    missing = sorted(imported(files) - CORE - EXTRAS[extra])
    assert not missing, f"add {', '.join(missing)} to the extra `{extra}` of pyproject.toml"


@pytest.mark.parametrize(("extra", "files"), PARTS)
def test_an_extra_declares_nothing_that_is_not(extra, files):
    unused = sorted(EXTRAS[extra] - set(THROUGH_OTHERS) - imported(files))
    assert not unused, f"take {', '.join(unused)} out of the extra `{extra}` of pyproject.toml"


def test_the_core_declares_nothing_that_is_not_imported():
    unused = sorted(CORE - imported(REST))
    assert not unused, f"take {', '.join(unused)} out of the dependencies in pyproject.toml"


def test_there_is_no_other_extra():
    assert set(EXTRAS) == {"emulator", "gateway", "worker", "all"}
