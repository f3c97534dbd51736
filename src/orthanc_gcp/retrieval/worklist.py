"""The folder of Orthanc's worklist plugin: who is expected, by entries that may be anything.

The plugin answers modalities with the files ``*.wl`` of its folder (``Worklists.Database``). An
entry is known by the SHA-256 of its bytes, so that the ledger holds no patient data.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

__all__ = ["UnreadableEntryError", "WorklistFolder"]

_log = logging.getLogger(__name__)

MOST_ENTRIES, MOST_READ, LARGEST_ENTRY = 10_000, 200, 1 << 20
"""So many files are looked at, so many of them read at a time, of so many bytes at most."""
_SUFFIX = ".wl"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
"""The transfer syntax of PS3.5 §A.5."""
_STEPS = 0x00400100
_UNREAD = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"})

_Seen = tuple[str, int, int]
"""Name, size, and time of the last change."""


class UnreadableEntryError(Exception):
    """A file is no entry of a worklist."""


class WorklistFolder:
    """Looks for entries; one thread may look while another one reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[_Seen, str] = {}
        self._problem = ""

    def entries(self) -> list[str]:
        """The digests of the entries that there are; of many new ones, some come the next time."""
        there = dict.fromkeys(self._files())
        known, read = {seen: one for seen, one in self._digests.items() if seen in there}, 0
        for seen in there:
            if seen not in known and read < MOST_READ:
                read += 1
                content = self._read(seen[0])
                if content is not None:
                    known[seen] = hashlib.sha256(content).hexdigest()
        self._digests = known
        return list(dict.fromkeys(known.values()))

    def attributes(self, digest: str) -> Mapping[str, str]:
        """The attributes of an entry by number (``0010,0020``), those of its step included.

        Raises
        ------
        KeyError
            It is not there any more.
        UnreadableEntryError
            It is none.
        """
        for (name, *_), known in self._digests.items():
            content = self._read(name) if known == digest else None
            if content is not None and hashlib.sha256(content).hexdigest() == digest:
                return _attributes(content)
        raise KeyError(digest)

    def _files(self) -> Iterator[_Seen]:
        number, problem = 0, ""
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not entry.name.lower().endswith(_SUFFIX):
                        continue
                    if (seen := _seen(entry)) is None:
                        continue
                    number += 1
                    if number > MOST_ENTRIES:
                        problem = f"it has more than {MOST_ENTRIES} entries: some are passed over"
                        break
                    yield seen
        except OSError as error:
            problem = error.strerror or type(error).__name__
        if problem and problem != self._problem:
            _log.warning("the folder of the worklist, %s: %s", self._folder, problem)
        self._problem = problem

    def _read(self, name: str) -> bytes | None:
        """A file, whatever it has become since it was listed; None for what is none."""
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            with os.fdopen(os.open(self._folder / name, flags), "rb") as file:
                content = file.read(LARGEST_ENTRY + 1)
        except OSError:
            return None
        return content if content and len(content) <= LARGEST_ENTRY else None


def _seen(entry: os.DirEntry[str]) -> _Seen | None:
    """What tells a file from another one; None for what is no file, or too large."""
    try:
        if not entry.is_file():
            return None
        status = entry.stat()
    except OSError:
        return None
    if not 0 < status.st_size <= LARGEST_ENTRY:
        return None
    return entry.name, status.st_size, status.st_mtime_ns


def _attributes(content: bytes) -> dict[str, str]:
    from pydicom import dcmread  # only a worklist needs it

    if _DEFLATED in content:  # pydicom would inflate it, however large it becomes
        raise UnreadableEntryError("it is deflated")
    try:
        dataset = dcmread(BytesIO(content), stop_before_pixels=True, force=True)
        step = next(iter(dataset[_STEPS].value or ()), None) if _STEPS in dataset else None
        return _texts(step) | _texts(dataset)
    except Exception as error:  # pydicom raises what its parts raise
        raise UnreadableEntryError(f"it cannot be read ({type(error).__name__})") from None


def _texts(dataset: Any) -> dict[str, str]:
    """The attributes that have a text, those apart that cannot be read."""
    found = {}
    for tag in () if dataset is None else list(dataset.keys()):
        with suppress(Exception):
            element = dataset[tag]
            if element.VR not in _UNREAD:
                value = element.value
                values = list(value) if element.VM > 1 else [value]
                text = "\\".join("" if one is None else str(one) for one in values)
                found[f"{tag.group:04x},{tag.element:04x}"] = text
    return found
