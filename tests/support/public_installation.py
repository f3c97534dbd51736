"""This package as it is installed for everybody to read, which the developer's own may not be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import orthanc_gcp
from orthanc_gcp.orthanc.installation import embedded_python
from tests.support.orthanc import PYTHON

__all__ = ["public_folder", "public_installation"]


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder for files that other users read, too; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="orthanc-gcp-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def public_installation(
    folder: Path, extras: Iterable[str] = (), place: Path | None = None
) -> Path:
    """A virtual environment with this package and what it requires; its interpreter.

    The packages are copied from where the tests run: nothing is downloaded. That the documented
    commands come to the same has a test of its own.

    Parameters
    ----------
    extras
        Those of this package that are installed, too.
    place
        Where it will be seen when it is used, if that is elsewhere.
    """
    version = "{}.{}".format(*(embedded_python(PYTHON) or sys.version_info[:2]))
    system = shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin")
    assert system, f"there is no python{version} that every user can run"
    subprocess.run([system, "-m", "venv", "--without-pip", folder], check=True)
    packages = folder / "lib" / f"python{version}" / "site-packages"
    for distribution in _required("orthanc-gcp", set(extras)):
        for file in distribution.files or ():
            source, copy = Path(str(file.locate())), packages / str(file)
            if packages in copy.parents and ".." not in file.parts and source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                _copy(source, copy)
    shutil.rmtree(packages / "orthanc_gcp", ignore_errors=True)
    shutil.copytree(
        Path(orthanc_gcp.__file__).parent,
        packages / "orthanc_gcp",
        ignore=shutil.ignore_patterns("*.pyc.*"),  # what another process is just writing
        copy_function=_copy,
    )
    for link in packages.glob("*.pth"):
        link.unlink()  # that of the developer's own installation
    command = folder / "bin" / "orthanc-gcp"
    interpreter = (place or folder) / "bin" / "python3"
    command.write_text(f"#!{interpreter}\nfrom orthanc_gcp.cli import app\n\napp()\n")
    command.chmod(0o755)
    return folder / "bin" / "python"


def _copy(source: Path | str, copy: Path | str) -> None:
    """For everybody to read, and with its time: otherwise what was compiled counts as older."""
    shutil.copyfile(source, copy)
    time = Path(source).stat().st_mtime_ns
    os.utime(copy, ns=(time, time))


def _required(
    name: str, extras: set[str], seen: set[str] | None = None
) -> list[metadata.Distribution]:
    """A distribution, and all that it requires."""
    seen = set() if seen is None else seen
    if name in seen:
        return []
    seen.add(name)
    distribution = metadata.distribution(name)
    found = [distribution]
    for line in distribution.requires or ():
        wanted = Requirement(line)
        markers = [{"extra": extra} for extra in (extras or {""})]
        if wanted.marker is None or any(wanted.marker.evaluate(each) for each in markers):
            found += _required(wanted.name, wanted.extras, seen)
    return found
