"""Debian's package with the libraries that the tests run with: nothing is fetched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from artefacts import libraries
from artefacts.debian import make_package
from artefacts.folder import EXTRAS, Folder, finish
from artefacts.requirements import runtime_pins
from artefacts.source import ROOT, Source
from artefacts.targets import LINUX

__all__ = ["copy_metadata", "small_folder", "small_package"]


def small_folder(path: Path) -> Folder:
    """The folder that ``make package`` makes, for one Python."""
    python = sys.version_info[:2]
    for pin in runtime_pins(ROOT, EXTRAS, LINUX, [python]):
        if pin.name not in libraries.NOT_SHIPPED:
            _copy(metadata.distribution(pin.name), path / "lib")
    _copy(metadata.distribution("orthanc-gcp"), path / "lib")
    shutil.copytree(
        ROOT / "src" / "orthanc_gcp",
        path / "lib" / "orthanc_gcp",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    finish(Source(), LINUX, path, [python])
    return Folder(path, {})


def small_package(place: Path) -> Path:
    """The package of such a folder."""
    folder = small_folder(place / "folder")
    return make_package(Source(), folder, place / "deb", place, "none")


def copy_metadata(names: Iterable[str], library: Path) -> None:
    """What installed packages say of themselves, without their modules."""
    for name in names:
        _copy(metadata.distribution(name), library, ".dist-info/")


def _copy(distribution: metadata.Distribution, library: Path, only: str = "") -> None:
    for file in distribution.files or ():
        name, source = file.as_posix(), Path(str(file.locate()))
        inside = not file.is_absolute() and ".." not in file.parts
        shipped = inside and "__pycache__" not in file.parts and not libraries.is_left_out(name)
        if shipped and only in name and file.suffix != ".pth" and source.is_file():
            copy = library / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
