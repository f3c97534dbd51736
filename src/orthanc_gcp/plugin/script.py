"""The script to name in Orthanc's ``PythonScript``."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import orthanc_gcp

__all__ = ["packages", "text"]

_TEMPLATE = '''\
"""orthanc-gcp {version}: name this file, with its full path, in Orthanc's "PythonScript".

To use it beside a script of your own, keep one RegisterOnChangeCallback() and call
plugin.on_change(change_type, level, resource) from your callback.
"""

import sys

import orthanc

PYTHON = {python!r}
PACKAGES = {packages!r}
INTERPRETER = {interpreter!r}

if sys.version_info[:2] == PYTHON:
    sys.path[:0] = PACKAGES
    try:
        from orthanc_gcp.plugin import start

        plugin = start(orthanc, INTERPRETER)

        def on_change(change_type, level, resource):
            plugin.on_change(change_type, level, resource)

        orthanc.RegisterOnChangeCallback(on_change)
    except Exception as error:
        orthanc.LogError(f"orthanc-gcp cannot start from {{PACKAGES}}: {{error}}")
else:
    orthanc.LogError(
        "orthanc-gcp is installed for Python %d.%d, but this Orthanc embeds Python %d.%d: install "
        "it with that version and print this script again" % (*PYTHON, *sys.version_info[:2])
    )
'''


def packages() -> list[str]:
    """The folders that this very installation is loaded from."""
    paths = sysconfig.get_paths()
    places = [str(Path(orthanc_gcp.__file__).parent.parent), paths["purelib"], paths["platlib"]]
    return list(dict.fromkeys(places))


def text() -> str:
    """The script that loads this very installation."""
    return _TEMPLATE.format(
        version=orthanc_gcp.__version__,
        python=tuple(sys.version_info[:2]),
        packages=packages(),
        interpreter=sys.executable,
    )
