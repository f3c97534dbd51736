"""The options of Orthanc that an installation changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "AUTHORITIES",
    "NEEDED_PLUGINS",
    "PLUGINS",
    "SCRIPTS",
    "SYSTEM_AUTHORITIES",
    "OptionPath",
    "value_of",
]

OptionPath = tuple[str, ...]

AUTHORITIES: OptionPath = ("HttpsCACertificates",)
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

PLUGINS: OptionPath = ("Plugins",)
# The plugins that are needed, and Debian's package of each.
NEEDED_PLUGINS = {"OrthancDicomWeb": "orthanc-dicomweb", "OrthancPython": "orthanc-python"}

# The first of them counts; the second is known from version 4.1 of the Python plugin on.
SCRIPTS: tuple[OptionPath, ...] = (("PythonScript",), ("Python", "Path"))


def value_of(options: Mapping[str, Any], path: OptionPath) -> Any:
    """The value of an option; None where it is missing."""
    value: Any = options
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
