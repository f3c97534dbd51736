"""The script to name in Orthanc's ``PythonScript``."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import orthanc_gcp

__all__ = ["text"]

_TEMPLATE = '''\
"""orthanc-gcp {version}: loads the connector to Google Cloud DICOM stores into Orthanc.

Name this file, with its full path, in Orthanc's "PythonScript"; any file name will do. To use it
beside a script of your own, import this file from there and call on_change() of it from your own
change callback: it then registers none itself.
"""

import importlib
import os
import sys

import orthanc

PYTHON = {python!r}
PACKAGES = {packages!a}
INTERPRETER = {interpreter!a}
_FOLDER = os.path.dirname(os.path.abspath(__file__))

_plugin = None


def on_change(change_type, level, resource):
    """What Orthanc's change callback has to call."""
    if _plugin is not None:
        _plugin.on_change(change_type, level, resource)


def _start():
    global _plugin
    sys.path[:] = PACKAGES + [path for path in sys.path if os.path.abspath(path) != _FOLDER]
    # Orthanc imports this file under its own name: a package of that name comes first from here on.
    this = sys.modules.pop(__name__)
    try:
        importlib.import_module(__name__)
    except Exception:
        sys.modules[__name__] = this
    sys.modules["the script of orthanc-gcp"] = this
    sys.path.append(_FOLDER)

    from orthanc_gcp.plugin import is_script, start

    _plugin = start(orthanc, INTERPRETER)
    if is_script(orthanc, __file__):
        orthanc.RegisterOnChangeCallback(on_change)


if sys.version_info[:2] == PYTHON:
    try:
        _start()
    except Exception as error:
        orthanc.LogError("orthanc-gcp cannot start from %s: %s" % (PACKAGES, error))
else:
    orthanc.LogError(
        "orthanc-gcp is installed for Python %d.%d, but this Orthanc embeds Python %d.%d: no store "
        "of Google is reachable. Install it with that version, then: orthanc-gcp install"
        % (*PYTHON, *sys.version_info[:2])
    )
'''


def text() -> str:
    """The script that loads this very installation."""
    paths = sysconfig.get_paths()
    places = [str(Path(orthanc_gcp.__file__).parent.parent), paths["purelib"], paths["platlib"]]
    return _TEMPLATE.format(
        version=orthanc_gcp.__version__,
        python=tuple(sys.version_info[:2]),
        packages=list(dict.fromkeys(places)),
        interpreter=sys.executable,
    )
