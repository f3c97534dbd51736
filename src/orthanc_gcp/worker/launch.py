"""How a worker is made, and how the making of one ends that cannot be."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.orthanc.rest import OrthancRest
    from orthanc_gcp.worker.worker import Worker

__all__ = ["NOT_CONFIGURED", "NOT_INSTALLED", "make", "not_installed"]

NOT_CONFIGURED, NOT_INSTALLED = 2, 3
"""Exit codes for what a new start would not mend."""


def make(
    settings: Settings,
    orthanc: OrthancRest,
    name: str,
    since: float | None = None,
    *,
    sends: bool = True,
) -> Worker:
    """A worker, for which more has to be installed than for the rest of the command.

    Parameters
    ----------
    sends
        Whether anything is sent: not by one that is there for retrievals alone.

    Raises
    ------
    ConfigurationError
        Its ledger cannot be where the configuration says.
    ImportError
        A package is missing, or is not for this Python.
    """
    from orthanc_gcp.worker.assembly import assemble

    return assemble(settings, orthanc, name, since, sends=sends)


def not_installed(what: str, error: ImportError, extra: str) -> str:
    """What to do when a package is missing, or is not for this Python."""
    package = "orthanc-gcp" + (f"[{extra}]" if extra else "")
    install = f"{shlex.quote(sys.executable)} -m pip install '{package}'"
    if isinstance(error, ModuleNotFoundError):
        return f"{what} needs {error.name}, which is not installed: {install}"
    words = str(error).partition("\n")[0]
    return f"{what} cannot load {error.name or 'a package'} ({words}): {install}"
