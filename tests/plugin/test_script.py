"""The script that is printed: tests/integration/test_life.py has a real Orthanc load it."""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from types import ModuleType

import pytest

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


# -- In a folder for several Pythons --------------------------------------------------------------

PLATFORM = sysconfig.get_platform()


def errors_of(text: str, folder, monkeypatch) -> list[str]:
    """What a script logs in an Orthanc that embeds this Python."""
    said: list[str] = []
    module = ModuleType("orthanc")
    module.LogError = said.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "orthanc", module)
    file = folder / "orthanc_gcp_plugin.py"
    exec(compile(text, file, "exec"), {"__name__": "script", "__file__": str(file)})
    return said


@pytest.mark.parametrize(
    ("pythons", "platform", "words"),
    [
        (
            [(3, 9), (3, 10)],
            PLATFORM,
            r"is installed for Python 3\.9, 3\.10, but .*newer orthanc-gcp",
        ),
        ([], PLATFORM, "is installed for Python , but"),
        ([(3, 9)], "win-amd64", f"is installed for win-amd64, but this Orthanc runs on {PLATFORM}"),
    ],
)
def test_a_folder_that_does_not_fit_says_so(tmp_path, monkeypatch, pythons, platform, words):
    path = list(sys.path)
    (said,) = errors_of(script.folder_text(pythons, platform), tmp_path, monkeypatch)
    assert re.search(words, said)
    assert "no store of Google is reachable" in said
    assert sys.path == path


def test_a_folder_without_its_libraries_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    for name in [one for one in sys.modules if one.partition(".")[0] == "orthanc_gcp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "script", ModuleType("script"))
    text = script.folder_text([sys.version_info[:2]], PLATFORM)
    (said,) = errors_of(text, tmp_path, monkeypatch)
    assert said.startswith("orthanc-gcp cannot start from ['lib']: No module named 'orthanc_gcp")
    assert sys.path[0] == str(tmp_path / "lib")


def test_an_installation_that_lies_in_a_folder(tmp_path, monkeypatch):
    assert script.folder_script() is None
    place = tmp_path / "lib" / "orthanc_gcp"
    place.mkdir(parents=True)
    monkeypatch.setattr(orthanc_gcp, "__file__", str(place / "__init__.py"))
    assert script.folder_script() is None, "a folder of that name is not enough"
    file = tmp_path / script.FOLDER_SCRIPT
    file.write_text(script.folder_text([(3, 11), (3, 99)], PLATFORM))
    assert script.folder_script() == file
    assert script.pythons() == [(3, 11), (3, 99)]
    found = constants()
    assert found["PYTHONS"] == [(3, 11), (3, 99)]
    assert found["PACKAGES"] == [str(tmp_path / "lib")], "wherever the script is printed to"
    assert found["INTERPRETER"] == ""
