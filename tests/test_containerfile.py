"""The container file, as far as it can be judged without an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from orthanc_gcp.cli import app
from tests.emulator.processes import running
from tests.test_dependencies import CORE, EXTRAS, normalized

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def all_of(name: str) -> list[str]:
    return [value for instruction, value in INSTRUCTIONS if instruction == name]


def only(name: str) -> str:
    (value,) = all_of(name)
    return value


def locked(path: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the version and the hashes of each package in a file of requirements."""
    found = {}
    for entry in (ROOT / path).read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        name, _, version = requirement.partition(";")[0].partition("==")
        assert hashes, entry
        found[normalized(name.strip())] = version.strip(), frozenset(map(str.strip, hashes))
    return found


def test_what_it_copies_is_there_and_not_ignored() -> None:
    everything, *patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert everything == "*"
    let_in = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    sources = [
        source
        for value in all_of("COPY")
        if not value.startswith("--from")
        for source in value.split()[:-1]
    ]
    assert {"src", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, f"{name}*") for name in let_in), source


def test_what_the_build_reads_is_copied() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    copied = " ".join(all_of("COPY"))
    for name in re.findall(r'^(?:readme = |license-files = \[)"([^"]+)"', project, re.MULTILINE):
        assert name in copied


@pytest.mark.parametrize("path", ["container/build.lock", "container/emulator.lock"])
def test_versions_and_hashes_are_those_of_the_lock(path: str) -> None:
    every = locked("requirements.lock")
    for name, pinned in locked(path).items():
        assert every[name] == pinned, name
    assert f"--require-hashes -r {'' if 'build' in path else '/tmp/'}{Path(path).name}" in " ".join(
        all_of("RUN")
    )


def test_the_locks_have_what_is_needed() -> None:
    assert CORE | EXTRAS["emulator"] <= set(locked("container/emulator.lock"))
    assert "hatchling" in locked("container/build.lock")


def test_the_command_line_is_understood() -> None:
    command = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
    assert command[:2] == ["orthanc-gcp", "emulator"]
    emulator = app.commands["emulator"]
    parameters = emulator.make_context("emulator", command[2:]).params
    assert (parameters["host"], str(parameters["port"])) == ("0.0.0.0", only("EXPOSE"))
    assert parameters["directory"].is_relative_to(only("VOLUME"))
    with pytest.raises(click.UsageError):
        emulator.make_context("emulator", [*command[2:], "--nothing"])


def test_it_runs_as_somebody_who_is_not_root() -> None:
    user = only("USER")
    assert int(user) > 0
    setup = " ".join(all_of("RUN"))
    assert f"useradd --system --uid {user} " in setup
    assert f"install -d -o {user} -g 0 -m 0775 {only('VOLUME')}" in setup


def test_the_health_check(tmp_path: Path) -> None:
    python, *command = json.loads(only("HEALTHCHECK").partition(" CMD ")[2])
    assert python == "python"
    assert only("EXPOSE") in command[1]

    def check(port: str) -> int:
        adapted = [argument.replace(only("EXPOSE"), port) for argument in command]
        done = subprocess.run([sys.executable, *adapted], capture_output=True, check=False)
        return done.returncode

    with running(tmp_path) as process:
        port = process.url.rpartition(":")[2]
        assert check(port) == 0
    assert check(port) != 0
