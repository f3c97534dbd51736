"""Processes that say when they take code from elsewhere: nothing that is read may be run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.audit_hook.sitecustomize import AUDIT_FILE

_HOOK = Path(__file__).parent / "audit_hook"


def audited(folder: Path) -> dict[str, str]:
    """The environment of a process that notes it in a folder."""
    paths = [str(_HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), AUDIT_FILE: str(_file(folder))}


def taken_from_elsewhere(folder: Path) -> str:
    """What was noted there: nothing, unless something is wrong."""
    file = _file(folder)
    return file.read_text() if file.exists() else ""


def _file(folder: Path) -> Path:
    return folder / "audit.txt"
