"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe"]

LIBRARIES = ("google-auth", "urllib3", "cryptography", "dicomweb-client")


def describe(orthanc: dict[str, str]) -> dict[str, str]:
    """Names and versions, for a table; those of Orthanc come from its own log."""
    return {
        **orthanc,
        **{name: version(name) for name in ("orthanc-gcp", *LIBRARIES)},
        "machine": f"{os.cpu_count()} cores of {_processor()}, Linux {platform.release()}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.machine()
