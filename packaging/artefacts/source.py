"""The tree that artefacts are made of: where it is, its version, the time of its last commit."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["ROOT", "Source"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """A checkout of this repository."""

    root: Path = ROOT

    @property
    def version(self) -> str:
        """The version that everything made of it has."""
        text = (self.root / "src" / "orthanc_gcp" / "__init__.py").read_text()
        return re.findall(r'^__version__ = "([^"]+)"', text, re.MULTILINE)[0]

    @cached_property
    def epoch(self) -> int:
        """Seconds since 1970, which stand for every time in what is made.

        They are those of the last commit, or of the variable ``SOURCE_DATE_EPOCH``
        (reproducible-builds.org, "SOURCE_DATE_EPOCH"): of one tree the same bytes are made.
        """
        given = os.environ.get("SOURCE_DATE_EPOCH")
        if given:
            return int(given)
        command = ["git", "log", "-1", "--format=%ct"]
        done = subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True)
        return int(done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        """That of the programs which make something of it."""
        return {**os.environ, "SOURCE_DATE_EPOCH": str(self.epoch), "TZ": "UTC"}
