"""One folder of libraries for several Pythons, merged from the wheels for each of them.

A compiled module has the Python that it is for in its name (``_cffi_backend.cpython-311-….so``), so
those for all of them lie side by side (PEP 3149); modules with ``abi3`` in theirs, and all that is
Python, are there once.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

__all__ = ["NOT_SHIPPED", "ConflictError", "is_left_out", "merge"]

NOT_SHIPPED = {
    "markdown-it-py": "rich has it for Markdown, which nobody prints here",
    "mdurl": "markdown-it-py",
    "pyasn1": "google-auth reads keys by it where cryptography is missing",
    "pyasn1-modules": "the same",
    "pycparser": "cffi reads declarations of C by it, while modules are compiled",
    "pygments": "rich colours source code by it, which nobody prints here",
}
"""Packages that others require, whose modules nothing here imports, and what they would be for."""

_LEFT_OUT = (
    *("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.a", "*/py.typed"),
    *("*/tests/*", "*/testing/*", "*.dist-info/RECORD", "*.dist-info/REQUESTED"),
    # Only cffi's compiled backend is imported, by cryptography.
    "cffi/*",
    # Images for the tests of pydicom, and the codes of structured reports.
    *("pydicom/data/test_files/*", "pydicom/data/charset_files/*", "pydicom/sr/*"),
    # Other databases than the two that a ledger can be in.
    *("sqlalchemy/dialects/mssql/*", "sqlalchemy/dialects/mysql/*"),
    "sqlalchemy/dialects/oracle/*",
)
"""What no module here imports."""


class ConflictError(Exception):
    """Two wheels have a file of the same name, and not of the same content."""


def merge(wheels: Iterable[Path], folder: Path) -> None:
    """Unpack wheels into one folder.

    Raises
    ------
    ConflictError
        A package has another file of the same name for another Python.
    """
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name, info in _shipped(archive):
                _place(folder / name, archive.read(info), wheel)


def _shipped(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The files of a wheel that are shipped, each by its name in the folder."""
    for info in archive.infolist():
        # What belongs among the modules, and is not one for all (PEP 427, "The .data directory").
        name = re.sub(r"^[^/]+\.data/(?:purelib|platlib)/", "", info.filename)
        beside = PurePosixPath(name).parts[0].endswith(".data")
        if not info.is_dir() and not beside and not is_left_out(name):
            yield name, info


def is_left_out(name: str) -> bool:
    """Whether a file of a package, by its path among the modules, is not shipped."""
    return any(fnmatch(name, pattern) for pattern in _LEFT_OUT)


def _place(file: Path, content: bytes, wheel: Path) -> None:
    if ".." in file.parts:
        raise ConflictError(f"{wheel} has a file outside its folder: {file}")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    elif file.read_bytes() == content:
        return
    elif file.parent.name.endswith(".dist-info") and file.name == "WHEEL":
        file.write_bytes(_both_tags(file.read_bytes(), content))
    elif ".dist-info" not in file.parent.as_posix():
        raise ConflictError(f"{file.name} of {wheel.name} is not the one of another Python")


def _both_tags(one: bytes, other: bytes) -> bytes:
    """A ``WHEEL`` that has the tags of two (PEP 427)."""
    lines = dict.fromkeys([*one.splitlines(), *other.splitlines()])
    return b"\n".join(line for line in lines if line) + b"\n"
