"""The script to name in Orthanc's ``PythonScript``."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import orthanc_gcp

__all__ = ["FOLDER_SCRIPT", "Version", "folder_script", "folder_text", "pythons", "text"]

Version = tuple[int, int]
"""Of Python: major and minor."""

FOLDER_SCRIPT = "orthanc_gcp_plugin.py"
"""In the folder that has libraries for several Pythons (``packaging/``), which are in ``lib``."""

_TEMPLATE = '''\
"""orthanc-gcp {version}: loads the connector to Google Cloud DICOM stores into Orthanc.

Name this file, with its full path, in Orthanc's "PythonScript"; any file name will do. To use it
beside a script of your own, import this file from there and call on_change() of it from your own
change callback: it then registers none itself.
"""

import importlib
import os
import sys
import sysconfig

import orthanc

PYTHONS = {pythons!r}
PLATFORM = {platform!r}
PACKAGES = {packages!a}
INTERPRETER = {interpreter!a}
_FOLDER = os.path.dirname(os.path.abspath(__file__))

_plugin = None


def on_change(change_type, level, resource):
    """What Orthanc's change callback has to call."""
    if _plugin is not None:
        _plugin.on_change(change_type, level, resource)


def _interpreter():
    """What runs the worker: any Python that fits, and the one that is embedded here before all."""
    import shutil

    name = "python%d.%d" % sys.version_info[:2]
    places = ("bin/" + name, "python.exe")
    found = [os.path.join(sys.base_prefix, place) for place in places]
    return next(filter(os.path.exists, found), shutil.which(name) or shutil.which("python3") or "")


def _start():
    global _plugin
    packages = [os.path.join(_FOLDER, path) for path in PACKAGES]
    sys.path[:] = packages + [path for path in sys.path if os.path.abspath(path) != _FOLDER]
    # Orthanc imports this file under its own name: a package of that name comes first from here on.
    this = sys.modules.pop(__name__)
    try:
        importlib.import_module(__name__)
    except Exception:
        sys.modules[__name__] = this
    sys.modules["the script of orthanc-gcp"] = this
    sys.path.append(_FOLDER)

    from orthanc_gcp.plugin import extend_explorer, is_script, start

    _plugin = start(orthanc, INTERPRETER or _interpreter())
    if is_script(orthanc, __file__):
        orthanc.RegisterOnChangeCallback(on_change)
        extend_explorer(orthanc)


if PLATFORM not in ("", sysconfig.get_platform()):
    orthanc.LogError(
        "orthanc-gcp is installed for %s, but this Orthanc runs on %s: no store of Google is "
        "reachable. Install orthanc-gcp there by pip" % (PLATFORM, sysconfig.get_platform())
    )
elif sys.version_info[:2] not in PYTHONS:
    orthanc.LogError(
        "orthanc-gcp is installed for Python %s, but this Orthanc embeds Python %d.%d: no store of "
        "Google is reachable. {remedy}"
        % (", ".join("%d.%d" % one for one in PYTHONS), *sys.version_info[:2])
    )
else:
    try:
        _start()
    except Exception as error:
        orthanc.LogError("orthanc-gcp cannot start from %s: %s" % (PACKAGES, error))
'''


def text() -> str:
    """The script that loads this very installation."""
    folder = folder_script()
    if folder is not None:
        return _text(pythons(), sysconfig.get_platform(), [str(folder.parent / "lib")], "")
    paths = sysconfig.get_paths()
    places = [str(Path(orthanc_gcp.__file__).parent.parent), paths["purelib"], paths["platlib"]]
    return _text(pythons(), "", list(dict.fromkeys(places)), sys.executable)


def folder_text(fitting: Sequence[Version], platform: str) -> str:
    """The script of a folder that has its libraries beside it, wherever it is.

    Parameters
    ----------
    fitting
        The versions of Python that the libraries are for.
    platform
        What they are for, as ``sysconfig.get_platform()`` names it.
    """
    return _text(fitting, platform, ["lib"], "")


def folder_script() -> Path | None:
    """The script of the folder that this package lies in; None where it is installed otherwise."""
    library = Path(orthanc_gcp.__file__).parent.parent
    found = library.parent / FOLDER_SCRIPT
    return found if library.name == "lib" and found.is_file() else None


def pythons() -> list[Version]:
    """The versions of Python that this installation is for."""
    folder = folder_script()
    if folder is None:
        return [(sys.version_info.major, sys.version_info.minor)]
    for node in ast.parse(folder.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PYTHONS":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{folder} names no version of Python")


def _text(fitting: Sequence[Version], platform: str, packages: list[str], interpreter: str) -> str:
    by_pip = "Install it with that version, then: orthanc-gcp install"
    return _TEMPLATE.format(
        version=orthanc_gcp.__version__,
        pythons=list(fitting),
        platform=platform,
        packages=packages,
        interpreter=interpreter,
        remedy=by_pip if interpreter else "Install a newer orthanc-gcp",
    )
