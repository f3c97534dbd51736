"""Which packages of the lock an installation of some extras has."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from artefacts.lock import Pin, normalized, read_lock
from artefacts.targets import PYTHONS, Target

__all__ = ["runtime_pins"]

_OWN = "orthanc-gcp"


def runtime_pins(
    root: Path,
    extras: Iterable[str],
    target: Target,
    pythons: Iterable[tuple[int, int]] = PYTHONS,
) -> list[Pin]:
    """What is installed with this package and some of its extras, by any of the Pythons.

    The requirements of each package are read where it is installed as the lock says; one that is
    for other machines only, and so is not installed here, requires nothing more.

    Raises
    ------
    ValueError
        A package is not in the lock.
    """
    names: set[str] = set()
    for python in pythons:
        seen: set[tuple[str, str]] = set()
        environment = target.environment(python)
        for requirement in _declared(root, extras):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                _collect(requirement, environment, seen)
        names |= {name for name, _ in seen}
    pins = [pin for pin in read_lock(root / "requirements.lock") if pin.name in names]
    missing = names - {pin.name for pin in pins}
    if missing:
        raise ValueError(f"not in requirements.lock: {', '.join(sorted(missing))}")
    return pins


def _declared(root: Path, extras: Iterable[str]) -> Iterator[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    for line in lines:
        requirement = Requirement(line)
        if normalized(requirement.name) == _OWN:
            yield from _declared(root, requirement.extras)
        else:
            yield requirement


def _collect(
    requirement: Requirement, environment: dict[str, str], seen: set[tuple[str, str]]
) -> None:
    """Add a requirement and all that it requires, as names each with an extra or none."""
    name = normalized(requirement.name)
    wanted = {(name, extra) for extra in ("", *requirement.extras)}
    if wanted <= seen:
        return
    seen |= wanted
    try:
        lines = metadata.distribution(name).requires or []
    except metadata.PackageNotFoundError:
        return
    for line in map(Requirement, lines):
        markers = [{**environment, "extra": extra} for _, extra in wanted]
        if line.marker is None or any(map(line.marker.evaluate, markers)):
            _collect(line, environment, seen)
