"""The libraries of plugins that an Orthanc loads, and the Python that one of them embeds."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

__all__ = ["embedded_python", "library_named", "plugin_libraries"]

_EXTENSIONS = (".so", ".dll", ".dylib")
_LARGEST = 64 * 1024 * 1024
_LOAD, _DYNAMIC = 1, 2
_END, _NEEDED, _STRINGS = 0, 1, 5


def plugin_libraries(plugins: Sequence[str], folder: Path) -> list[Path]:
    """The files that Orthanc would load for its option ``Plugins``, in its order.

    A folder is searched without those inside it; a file is taken whatever its name (Orthanc's
    ``PluginsManager``).

    Parameters
    ----------
    folder
        That of the configuration, where relative names begin.
    """
    found: list[Path] = []
    for name in plugins:
        path = folder / name
        if path.is_dir():
            found += _libraries_in(path)
        elif path.is_file():
            found.append(path)
    return found


def _libraries_in(folder: Path) -> list[Path]:
    try:
        # Not sorted: nor does Orthanc.
        with os.scandir(folder) as entries:
            files = [Path(entry.path) for entry in entries if entry.is_file()]
    except OSError:
        return []
    return [file for file in files if file.suffix.lower() in _EXTENSIONS]


def library_named(libraries: Iterable[Path], name: str) -> Path | None:
    """The library of a plugin such as ``OrthancPython``, whatever stands around its name."""
    return next((one for one in libraries if one.name.removeprefix("lib").startswith(name)), None)


def embedded_python(library: Path) -> tuple[int, int] | None:
    """The version of Python that a library is linked with; None where it cannot be told."""
    try:
        if library.stat().st_size > _LARGEST:
            return None
        needed = _needed(library.read_bytes())
    except (OSError, struct.error, ValueError, LookupError, OverflowError, StopIteration):
        return None
    versions = (re.match(r"libpython(\d+)\.(\d+)", name) for name in needed)
    return next(((int(one[1]), int(one[2])) for one in versions if one), None)


def _needed(elf: bytes) -> list[str]:
    """The libraries that an ELF file needs (System V ABI, "Dynamic Section")."""
    if elf[:4] != b"\x7fELF":
        return []
    wide = elf[4] == 2
    word = ("<" if elf[5] == 1 else ">") + ("Q" if wide else "I")
    segments = list(_segments(elf, word, wide))
    begin, size = next((offset, size) for kind, offset, _, size in segments if kind == _DYNAMIC)
    pairs = struct.iter_unpack(word + word[1], elf[begin : begin + size])
    entries = list(takewhile(lambda entry: entry[0] != _END, pairs))
    address = next(value for tag, value in entries if tag == _STRINGS)
    strings = next(
        offset + address - start
        for kind, offset, start, size in segments
        if kind == _LOAD and start <= address < start + size
    )
    names = (strings + value for tag, value in entries if tag == _NEEDED)
    return [elf[name : elf.index(b"\0", name)].decode() for name in names]


def _segments(elf: bytes, word: str, wide: bool) -> Iterator[tuple[int, int, int, int]]:
    """Kind, offset, address and size of each segment ("Program Header")."""
    half = word[0] + "H"
    (table,) = struct.unpack_from(word, elf, 32 if wide else 28)
    step, count = (struct.unpack_from(half, elf, at)[0] for at in ((54, 56) if wide else (42, 44)))
    for number in range(count):
        at = table + number * step
        (kind,) = struct.unpack_from(word[0] + "I", elf, at)
        places = (8, 16, 32) if wide else (4, 8, 16)
        offset, address, size = (struct.unpack_from(word, elf, at + place)[0] for place in places)
        yield kind, offset, address, size
