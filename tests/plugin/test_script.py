"""The script that is printed: tests/integration/test_life.py has a real Orthanc load it."""

from __future__ import annotations

import ast
import sys

import orthanc_gcp
from orthanc_gcp.plugin import script


def constants() -> dict[str, object]:
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(script.text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id.isupper()
        if node.targets[0].id != "_FOLDER"
    }


def test_it_loads_this_very_installation():
    found = constants()
    assert found["PYTHONS"] == [sys.version_info[:2]]
    assert found["INTERPRETER"] == sys.executable
    assert orthanc_gcp.__file__.startswith(found["PACKAGES"][0])
    assert len(found["PACKAGES"]) == len(set(found["PACKAGES"]))


def test_it_says_which_version_has_printed_it():
    assert ast.get_docstring(ast.parse(script.text())).startswith(
        f"orthanc-gcp {orthanc_gcp.__version__}:"
    )
