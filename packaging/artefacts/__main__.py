"""``python -m artefacts``: makes what is named, or all, in ``dist``."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from artefacts import archive, debian, sbom, wheels
from artefacts.folder import Folder, make_folder
from artefacts.source import ROOT, Source
from artefacts.targets import LINUX, WINDOWS, Target

NAMES = ("wheel", "zip", "deb", "windows")


def make(names: list[str], source: Source, result: Path, work: Path) -> list[Path]:
    """Make artefacts.

    Parameters
    ----------
    result
        The folder for them.
    work
        The folder for what they are made of; wheels that were fetched stay there.
    """
    result.mkdir(parents=True, exist_ok=True)
    made = []
    if "wheel" in names:
        made.append(wheels.build_own(source, result))
    if {"zip", "deb"} & set(names):
        folder = _folder(source, LINUX, work)
        made.append(sbom.write(folder, source, result / f"{_name(source, LINUX)}.cdx.json"))
        if "zip" in names:
            made.append(_zip(folder, source, LINUX, result))
        if "deb" in names:
            made.append(debian.make_package(source, folder, work / "deb", result))
    if "windows" in names:
        folder = _folder(source, WINDOWS, work)
        made.append(sbom.write(folder, source, result / f"{_name(source, WINDOWS)}.cdx.json"))
        made.append(_zip(folder, source, WINDOWS, result))
    return made


def _folder(source: Source, target: Target, work: Path) -> Folder:
    """The folder of a target, by the name that it has when it is unpacked."""
    place = work / target.name / f"orthanc-gcp-{source.version}"
    shutil.rmtree(place.parent, ignore_errors=True)
    return make_folder(source, target, place, work / "wheels")


def _zip(folder: Folder, source: Source, target: Target, result: Path) -> Path:
    return archive.pack(folder.path, result / f"{_name(source, target)}.zip", source.epoch)


def _name(source: Source, target: Target) -> str:
    return f"orthanc-gcp-{source.version}-{target.name}"


def main() -> None:
    """What ``make package`` runs."""
    parser = argparse.ArgumentParser(prog="artefacts", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--result", type=Path, default=ROOT / "dist")
    parser.add_argument("--work", type=Path, default=ROOT / "build")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for file in make(given.names or list(NAMES), Source(), given.result, given.work):
        print(f"{file.stat().st_size / 1e6:7.1f} MB  {file}")


if __name__ == "__main__":
    main()
