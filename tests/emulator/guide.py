"""The guide, its examples, and an environment in which they are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "emulator.md"


def blocks(language: str) -> list[str]:
    """Return the code of a language that the guide shows."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def surroundings(folder: Path) -> dict[str, str]:
    """Return an environment in which the commands are those of this Python."""
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONWARNINGS": "error",
        "XDG_DATA_HOME": str(folder / "share"),
    }
    return {**os.environ, **own}


def pytest_in(folder: Path, *options: str, **files: str) -> str:
    """Run pytest over files in an empty folder, on a path on which there is no Orthanc."""
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "-v",
        *options,
    ]
    environment = {**surroundings(folder), "PATH": str(folder)}
    assert shutil.which("Orthanc", path=environment["PATH"]) is None
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr
