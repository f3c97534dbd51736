"""One folder with all that the connector and the worker need, to be put anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from artefacts import libraries, wheels
from artefacts.requirements import runtime_pins
from artefacts.source import Source
from artefacts.targets import PYTHONS, Target
from orthanc_gcp.plugin.script import FOLDER_SCRIPT, folder_text

__all__ = ["EXTRAS", "Folder", "finish", "make_folder"]

EXTRAS = ("worker", "gateway")
"""The emulator, with its codecs, is for developers, who have pip."""

_TEMPLATES = Path(__file__).parents[1] / "folder"


@dataclass(frozen=True)
class Folder:
    """A folder that was made, and what it was made of.

    Attributes
    ----------
    hashes
        The SHA-256 of each wheel, by the name of its package.
    """

    path: Path
    hashes: dict[str, list[str]]


def make_folder(
    source: Source,
    target: Target,
    path: Path,
    cache: Path,
    pythons: Sequence[tuple[int, int]] = PYTHONS,
) -> Folder:
    """Make it, in the place of whatever is there.

    Parameters
    ----------
    cache
        Where wheels are kept from one time to the next.
    """
    shutil.rmtree(path, ignore_errors=True)
    every = runtime_pins(source.root, EXTRAS, target, pythons)
    pins = [pin for pin in every if pin.name not in libraries.NOT_SHIPPED]
    found: dict[str, set[str]] = {}
    for python in pythons:
        place = cache / f"{target.name}-cp{python[0]}{python[1]}"
        fetched = wheels.fetch(pins, target, python, place)
        libraries.merge(fetched, path / "lib")
        for wheel in fetched:
            found.setdefault(wheels.name_of(wheel), set()).add(wheels.sha256(wheel))
    own = wheels.build_own(source, cache / "own")
    libraries.merge([own], path / "lib")
    finish(source, target, path, pythons)
    return Folder(path, {name: sorted(digests) for name, digests in found.items()})


def finish(source: Source, target: Target, path: Path, pythons: Sequence[tuple[int, int]]) -> None:
    """Put script, command and licence beside the libraries of a folder."""
    (path / FOLDER_SCRIPT).write_text(folder_text(pythons, target.platform))
    shutil.copyfile(source.root / "LICENSE", path / "LICENSE")
    command = path / "bin" / "orthanc-gcp"
    command.parent.mkdir()
    text = (_TEMPLATES / "orthanc-gcp").read_text()
    command.write_text(text.replace("@PYTHONS@", repr(list(pythons))))
    command.chmod(0o755)
