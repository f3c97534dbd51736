"""The wheels that the lock names, fetched by pip for machines and Pythons that need not be here."""

from __future__ import annotations

import hashlib
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
    """The wheels for a Python, in a folder; those that are there already are not fetched.

    Raises
    ------
    subprocess.CalledProcessError
        pip could not find one, or none with a hash of the lock.
    """
    environment = target.environment(python)
    wanted = [pin for pin in pins if not pin.marker or Marker(pin.marker).evaluate(environment)]
    folder.mkdir(parents=True, exist_ok=True)
    there = _wheels_of(wanted, folder)
    for pure in (False, True):
        tags = ("any",) if pure else target.wheels
        missing = [pin for pin in wanted if pin not in there and (pin.name in _PURE) is pure]
        if missing:
            _download(missing, "{}.{}".format(*python), tags, folder)
    there = _wheels_of(wanted, folder)
    return [there[pin] for pin in wanted]


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


def _wheels_of(pins: Iterable[Pin], folder: Path) -> dict[Pin, Path]:
    """The wheel of each package that is there, of the right version and with a right hash."""
    by_name = {(pin.name, pin.version): pin for pin in pins}
    found = {}
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        pin = by_name.get((canonicalize_name(name), str(version)))
        if pin is not None and sha256(wheel) in pin.hashes:
            found[pin] = wheel
    return found
