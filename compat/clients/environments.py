"""Where the clients live: an environment of Python and a folder of Node, each by its lock."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from compat.releases import ROOT, run

__all__ = ["node_folder", "python_of_clients", "run_client_command", "run_program"]

HERE = Path(__file__).parent
PLACE = ROOT / ".compat"
PROGRAMS = HERE / "programs"


def _is_current(folder: Path, lock: Path) -> bool:
    made_from = folder / "made-from"
    return made_from.is_file() and made_from.read_text() == _digest(lock)


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def python_of_clients(name: str = "python") -> Path:
    """Return the Python that has what a lock names, made when it is not there yet."""
    folder, lock = PLACE / f"clients-{name}", HERE / f"{name}.lock"
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


def _install(*packages: str) -> None:
    """Install packages of Debian, when they are not there yet."""
    if subprocess.run(["dpkg", "-s", *packages], capture_output=True).returncode == 0:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, env=environment)


def _python_command(program: Path) -> list[Path | str]:
    lock = "beam" if program.name.startswith("beam_") else "python"
    return [python_of_clients(lock), program]


def _node_command(program: Path) -> list[Path | str]:
    # Node looks for packages beside the program.
    return ["node", shutil.copy(program, node_folder())]


def _go_command(program: Path) -> list[Path | str]:
    """Return a program built with Debian's libraries of Go."""
    _install("golang-go", "golang-golang-x-oauth2-google-dev", "golang-google-api-dev")
    built = PLACE / "clients-go" / program.stem
    if not built.exists() or built.stat().st_mtime < program.stat().st_mtime:
        ways = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
        run("go", "build", "-o", built, program, env={**os.environ, **ways})
    return [built]


def _java_command(program: Path) -> list[Path | str]:
    """Return a program that runs from its source, with Debian's libraries of Java."""
    _install("default-jdk-headless", "libgoogle-auth-java", "libgoogle-http-client-java")
    archives = [file for file in Path("/usr/share/java").glob("*.jar") if "-1" not in file.name]
    return ["java", "-cp", ":".join(map(str, archives)), program]


_COMMANDS = {
    ".py": _python_command,
    ".mjs": _node_command,
    ".go": _go_command,
    ".java": _java_command,
}


def run_program(
    name: str,
    wanted: Mapping[str, object],
    folder: Path,
    variables: Mapping[str, object] = MappingProxyType({}),
    *,
    before: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a program of ``programs/`` in its client's environment.

    It reads a JSON object from its standard input, writes arrays into the folder it is started
    in, and a JSON object to its standard output, which is returned. A command that runs another
    may go before it.
    """
    program = PROGRAMS / name
    command = [*before, *_COMMANDS[program.suffix](program)]
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


def run_client_command(folder: Path, name: str, *arguments: str) -> str:
    """Run a command that a client of ``python.lock`` brings; return what it prints."""
    return run(python_of_clients().with_name(name), *arguments, cwd=folder, timeout=120)
