"""Where the clients live: an environment of Python and a folder of Node, each by its lock."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from compat.releases import ROOT, run

__all__ = ["node_folder", "python_of_clients", "run_program"]

HERE = Path(__file__).parent
PLACE = ROOT / ".compat"
PROGRAMS = HERE / "programs"


def _is_current(folder: Path, lock: Path) -> bool:
    made_from = folder / "made-from"
    return made_from.is_file() and made_from.read_text() == _digest(lock)


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def python_of_clients() -> Path:
    """Return the Python that has the clients of ``python.lock``, made when it is not there yet."""
    folder, lock = PLACE / "clients-python", HERE / "python.lock"
    if not _is_current(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        run(sys.executable, "-m", "venv", folder)
        pip = (folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--no-deps", "--require-hashes", "-r", lock)
        (folder / "made-from").write_text(_digest(lock))
    return folder / "bin" / "python"


def node_folder() -> Path:
    """Return the folder that has the packages of ``package-lock.json`` in ``node_modules``."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    folder, lock = PLACE / "clients-node", HERE / "package-lock.json"
    if not _is_current(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", lock.name):
            shutil.copy(HERE / name, folder)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        (folder / "made-from").write_text(_digest(lock))
    return folder


def run_program(
    name: str,
    wanted: Mapping[str, object],
    folder: Path,
    variables: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, Any]:
    """Run a program of ``programs/`` in its client's environment.

    It reads a JSON object from its standard input, writes arrays into the folder it is started
    in, and a JSON object to its standard output, which is returned.
    """
    if name.endswith(".py"):
        command = [python_of_clients(), PROGRAMS / name]
    else:
        # Node looks for packages beside the program.
        program = node_folder() / name
        shutil.copy(PROGRAMS / name, program)
        command = ["node", program]
    away = ("PYTHONPATH", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    environment = {key: value for key, value in os.environ.items() if key not in away}
    environment |= {key: str(value) for key, value in variables.items()}
    done = subprocess.run(
        command,
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return json.loads(done.stdout)
