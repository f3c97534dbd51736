"""Nothing that is read from a database, REST or a store is ever run as code.

Here it is asked of the source, and of the test itself; of a worker that runs, each
:class:`tests.support.site.Site` asks it when it ends.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.auditing import audited, taken_from_elsewhere

PACKAGE = Path(__file__).parents[1] / "src" / "orthanc_gcp"
SOURCES = sorted(PACKAGE.rglob("*.py"))

MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "joblib", "marshal"),
    *("shelve", "dbm", "yaml", "multiprocessing", "code", "codeop", "runpy", "pty", "imp"),
    *("xmlrpc", "zipimport", "pydoc", "timeit", "doctest", "cProfile", "commands"),
}
"""They run what they are given, or can be made to by it."""
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint", "execfile"}
ATTRIBUTES = {
    *("system", "popen", "execv", "execve", "execvp", "execl", "spawnv", "spawnl", "fork"),
    *("getoutput", "getstatusoutput", "create_subprocess_shell", "PickleType", "allow_pickle"),
    *("find_class", "enable_load_extension", "load_extension"),
}
PROGRAMS = {
    "commands/demonstration.py",
    "commands/install.py",
    "doctor/custody.py",
    "emulator/dicom/imaging_pool.py",
    "installation/host.py",
    "orthanc/installation.py",
    "plugin/unattended.py",
    "plugin/worker_process.py",
}
"""Modules that start programs: the own interpreter, and Orthanc; none of them with a shell."""
FOREIGN_FUNCTIONS = {"worker/supervised.py"}
"""Modules that call the C library: prctl(2), with constants."""


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def findings(source: str, name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        for wrong in _wrong(node, name):
            yield f"{name}:{getattr(node, 'lineno', 0)}: {wrong}"


def _wrong(node: ast.AST, name: str) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _wrong_import(node, name)
    elif isinstance(node, ast.Name) and node.id in BUILTINS:
        yield node.id
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        yield node.attr
    elif isinstance(node, ast.keyword) and _is_wrong(node):
        yield f"{node.arg}="
    elif isinstance(node, ast.Call) and _name(node.func) == "import_module":
        yield from ("import_module" for one in node.args[:1] if ast.unparse(one) != "__name__")


def _name(function: ast.expr) -> str:
    return getattr(function, "attr", "") or getattr(function, "id", "")


def _is_wrong(node: ast.keyword) -> bool:
    is_off = isinstance(node.value, ast.Constant) and not node.value.value
    return node.arg == "allow_pickle" or (node.arg == "shell" and not is_off)


def _wrong_import(node: ast.Import | ast.ImportFrom, name: str) -> Iterator[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        yield from (one for one in names if one in ATTRIBUTES)
        names = [node.module or ""]
    for module in (one.partition(".")[0] for one in names):
        if (
            module in MODULES
            or (module == "subprocess" and name not in PROGRAMS)
            or (module == "ctypes" and name not in FOREIGN_FUNCTIONS)
        ):
            yield module


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from pickle import loads", "import os.path, marshal", "import yaml"),
        *("eval(x)", "exec(x)", "run = eval", "__import__(x)", "compile(x, y, z)"),
        *(
            "os.system(x)",
            "run(x, shell=True)",
            "run(x, shell=y)",
            "numpy.load(x, allow_pickle=True)",
        ),
        *("import subprocess", "import ctypes", "from os import system", "sqlalchemy.PickleType"),
        *("importlib.import_module(x)", "import_module(f'{x}.y')"),
    ],
)
def test_what_would_be_found(source: str) -> None:
    assert list(findings(source, "x.py"))


def test_the_source_runs_nothing_that_it_reads() -> None:
    found = [one for file in SOURCES for one in findings(file.read_text(), name_of(file))]
    assert not found


def test_the_lists_name_what_is_there() -> None:
    by_name = {name_of(file): file.read_text() for file in SOURCES}
    assert all("import subprocess" in by_name[name] for name in PROGRAMS)
    assert all("import ctypes" in by_name[name] for name in FOREIGN_FUNCTIONS)


NOTED = {
    "import pickle; pickle.loads(b'cos\\nsystem\\n.')": "pickle.find_class",
    "eval('1')": "exec",
    "compile('1', '', 'eval')": "compile",
    "import marshal; marshal.loads(marshal.dumps(1))": "marshal.loads",
    "import os; os.system('true')": "os.system",
    "import subprocess; subprocess.run(['true'])": "subprocess.Popen",
    "import ctypes; ctypes.CDLL(None)": "ctypes.dlopen",
}
HARMLESS = "import json, dataclasses, ssl, sqlite3, urllib3, sqlalchemy; json.loads('1')"


def noted(folder: Path, *sources: str) -> list[str]:
    program = folder / "program.py"
    program.write_text("def run():\n" + "".join(f"    {source}\n" for source in sources))
    start = "import sys; sys.path.insert(0, sys.argv[1])\nimport program\nprogram.run()"
    subprocess.run([sys.executable, "-c", start, str(folder)], env=audited(folder), check=True)
    return [line.split()[0] for line in taken_from_elsewhere(folder).splitlines()]


def test_what_a_process_would_note(tmp_path: Path) -> None:
    assert set(NOTED.values()) <= set(noted(tmp_path, *NOTED))


def test_what_a_process_would_not_note(tmp_path: Path) -> None:
    assert noted(tmp_path, HARMLESS) == []
