"""Since when Orthanc is to be followed, while no ledger says it yet.

The ledger may be away when Orthanc is first started with rules, or either may be killed before a
worker has written anything. So the moment is noted in a file in Orthanc's storage folder, before
Orthanc listens, and stays there until a ledger has it. This module is imported while Orthanc
starts: it imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["FILE_NAME", "forget", "note"]

FILE_NAME = "orthanc-gcp-since.json"


def note(folder: Path, now: float) -> float:
    """Since when Orthanc is to be followed: now, or what was noted and is in no ledger yet.

    Parameters
    ----------
    now
        Seconds since 1970, UTC; before Orthanc listens.

    Raises
    ------
    OSError
        It cannot be written.
    """
    file = folder / FILE_NAME
    try:
        noted = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        noted = None
    if isinstance(noted, int | float) and 0 < noted <= now:
        return float(noted)
    folder.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    with new.open("w", encoding="utf-8") as opened:
        json.dump(now, opened)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
    return now


def forget(folder: Path) -> None:
    """The ledger has it.

    Raises
    ------
    OSError
        The file cannot be removed.
    """
    (folder / FILE_NAME).unlink(missing_ok=True)
