"""``requirements.lock``: each package with its version and the hashes of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Pin", "normalized", "read_lock"]


@dataclass(frozen=True)
class Pin:
    """A version of a package.

    Attributes
    ----------
    marker
        For which machines and Pythons it is (PEP 508); empty for all.
    hashes
        The SHA-256, in hexadecimal digits, of every file that it may come from.
    """

    name: str
    version: str
    marker: str
    hashes: frozenset[str]

    @property
    def requirement(self) -> str:
        """What pip is asked for; it takes nothing that has another hash."""
        hashes = [f"--hash=sha256:{one}" for one in sorted(self.hashes)]
        return " ".join([f"{self.name}=={self.version}", *hashes])


def read_lock(file: Path) -> list[Pin]:
    """The packages of a lock, in its order; one name may stand there for several Pythons.

    Raises
    ------
    ValueError
        A line is no pinned package with hashes.
    """
    return [_pin(line) for line in file.read_text().replace("\\\n", " ").splitlines() if line]


def _pin(line: str) -> Pin:
    found = re.fullmatch(r"([\w.-]+)==(\S+)(?: ; (.+?))?((?:\s+--hash=sha256:[0-9a-f]{64})+)", line)
    if found is None:
        raise ValueError(f"no pinned package with hashes: {line[:80]}")
    name, version, marker, hashes = found.groups()
    digests = re.findall(r"sha256:(\w+)", hashes)
    return Pin(normalized(name), version, (marker or "").strip(), frozenset(digests))


def normalized(name: str) -> str:
    """A package's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
