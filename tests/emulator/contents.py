"""What is left of instances in the directory of an emulator."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["LARGE", "stored_contents"]

LARGE = 100_000
"""So many bytes of pixels, and an instance has a file of its own."""


def stored_contents(directory: Path) -> list[bytes]:
    """Return the bytes of all instances, of files and of the database; none may be in staging."""
    assert not any((directory / "staging").iterdir())
    files = [path.read_bytes() for path in (directory / "files").iterdir()]
    with closing(sqlite3.connect(directory / "index.sqlite")) as database:
        rows = database.execute("SELECT content FROM contents").fetchall()
    return sorted([*files, *(content for (content,) in rows)])
