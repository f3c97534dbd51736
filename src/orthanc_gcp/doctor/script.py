"""The script that Orthanc's Python plugin loads, read and not run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Script", "ScriptError", "loaded_by"]

_CONSTANTS = ("PYTHONS", "PACKAGES", "INTERPRETER")
# Loaded by Python itself before the plugin imports the script, by its name: it would get those.
_TAKEN = frozenset(
    {
        *sys.builtin_module_names,
        *("abc", "codecs", "encodings", "genericpath", "io", "ntpath", "orthanc", "os"),
        *("posixpath", "site", "sitecustomize", "stat", "zipimport"),
    }
)
_LARGEST = 1024 * 1024


class ScriptError(Exception):
    """The script cannot load the connector; ``remedy`` is empty where a new one is."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.remedy = remedy


@dataclass(frozen=True)
class Script:
    """What a script of ``orthanc-gcp plugin-script`` says of the installation that it loads.

    Attributes
    ----------
    pythons : tuple of tuples of int
        The versions that the packages are for, major and minor.
    packages : tuple of Path
        Where they are looked for.
    interpreter : str
        What runs the worker; empty for the Python of the version that Orthanc embeds.
    """

    file: Path
    pythons: tuple[tuple[int, ...], ...]
    packages: tuple[Path, ...]
    interpreter: str


def loaded_by(name: str) -> Script:
    """The script of ours that Orthanc loads: the one it names, or one that this imports.

    Parameters
    ----------
    name
        As it stands in ``PythonScript``; a relative one starts at Orthanc's working directory.

    Raises
    ------
    ScriptError
        There is none, it cannot be read or imported, or it does not load the connector.
    """
    if not name:
        raise ScriptError("no PythonScript is configured: nothing loads the connector")
    file = Path(name).absolute()
    tree = _parsed(file)
    _check_name(file)
    for one, parsed in ((file, tree), *_imported(file, tree)):
        values = _constants(parsed)
        if set(values) == set(_CONSTANTS):
            packages = tuple(one.parent / folder for folder in values["PACKAGES"])
            return Script(one, tuple(values["PYTHONS"]), packages, values["INTERPRETER"])
    raise ScriptError(
        f"{file} (PythonScript) does not load the connector",
        "import the script that `orthanc-gcp install` prints the lines for, or name it instead",
    )


def _parsed(file: Path) -> ast.Module:
    try:
        with file.open("rb") as opened:
            return ast.parse(opened.read(_LARGEST), str(file))
    except OSError as error:
        raise ScriptError(f"{file} (PythonScript) cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError, RecursionError):
        raise ScriptError(f"{file} (PythonScript) is not Python: Orthanc does not start") from None


def _check_name(file: Path) -> None:
    """The Python plugin imports the script by its file's name, in the C locale of a service."""
    stem = file.stem
    if stem in _TAKEN or "." in stem or not stem.isascii():
        raise ScriptError(
            f"{file} (PythonScript) cannot be imported under this name: Orthanc loads another "
            "module, or none",
            "give it another name, of letters, digits and _, and name that in PythonScript",
        )


def _constants(tree: ast.Module) -> dict[str, Any]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in _CONSTANTS:
                try:
                    found[name] = ast.literal_eval(node.value)
                except ValueError:
                    continue
    return found


def _imported(file: Path, tree: ast.Module) -> Iterator[tuple[Path, ast.Module]]:
    """The scripts that a script imports: from its folder, or from one that it names."""
    nodes = list(ast.walk(tree))
    texts = [one.value for one in nodes if isinstance(one, ast.Constant)]
    folders = [Path(text) for text in texts if isinstance(text, str) and text.startswith("/")]
    for name in _modules(nodes):
        for folder in (file.parent, *folders):
            beside = folder / f"{name}.py"
            if beside.is_file():
                yield beside, _parsed(beside)


def _modules(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
