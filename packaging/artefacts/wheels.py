"""The wheels that the lock names, fetched by pip for machines and Pythons that need not be here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name, parse_wheel_filename

from artefacts.lock import Pin
from artefacts.source import Source
from artefacts.targets import Target

__all__ = ["build_own", "fetch", "name_of", "sha256"]

_PURE = frozenset({"charset-normalizer", "sqlalchemy"})
"""Packages with a wheel in Python alone, whose compiled parts are not worth four copies."""


def build_own(source: Source, folder: Path) -> Path:
    """Build the wheel of this package into a folder."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run(
        [*command, str(source.root)], check=True, capture_output=True, env=source.environment
    )
    return folder / f"orthanc_gcp-{source.version}-py3-none-any.whl"


def fetch(pins: Iterable[Pin], target: Target, python: tuple[int, int], folder: Path) -> list[Path]:
    """Have the wheels for a Python in a folder; what is there with a right hash is not fetched.

    Raises
    ------
    ValueError
        A wheel has another hash than the lock says.
    subprocess.CalledProcessError
        pip could not find one.
    """
    environment = target.environment(python)
    wanted = {
        pin.name: pin for pin in pins if not pin.marker or Marker(pin.marker).evaluate(environment)
    }
    folder.mkdir(parents=True, exist_ok=True)
    if _pins_of(folder) != {(pin.name, pin.version) for pin in wanted.values()}:
        shutil.rmtree(folder)
        folder.mkdir()
        version = "{}.{}".format(*python)
        for pure in (False, True):
            some = [pin for pin in wanted.values() if (pin.name in _PURE) is pure]
            tags = ("any",) if pure else target.wheels
            if some:
                _download(some, version, tags, folder)
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        if sha256(wheel) not in wanted[name_of(wheel)].hashes:
            raise ValueError(f"{wheel} is not what requirements.lock says: remove it, try again")
    return wheels


def sha256(file: Path) -> str:
    """The digest of a file, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _download(pins: Sequence[Pin], version: str, tags: Iterable[str], folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{pin.requirement}\n" for pin in pins))
    options = [f"--python-version={version}", "--implementation=cp", "--only-binary=:all:"]
    options += [f"--platform={tag}" for tag in tags]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", *options, "--dest", str(folder)),
            *("--requirement", str(requirements)),
        ],
        check=True,
    )
    requirements.unlink()


def name_of(wheel: Path) -> str:
    """The name of the package that a wheel is of."""
    return canonicalize_name(parse_wheel_filename(wheel.name)[0])


def _pins_of(folder: Path) -> set[tuple[str, str]]:
    found = (parse_wheel_filename(wheel.name) for wheel in folder.glob("*.whl"))
    return {(canonicalize_name(name), str(version)) for name, version, *_ in found}
