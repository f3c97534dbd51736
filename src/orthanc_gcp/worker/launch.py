"""How a worker is made, and how the making of one ends that cannot be."""

from __future__ import annotations

import gc
import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.orthanc.rest import OrthancRest
    from orthanc_gcp.worker.worker import Worker

__all__ = ["NOT_CONFIGURED", "NOT_INSTALLED", "collect_rarely", "make", "not_installed"]

NOT_CONFIGURED, NOT_INSTALLED = 2, 3
"""Exit codes for what a new start would not mend."""

COLLECT_AFTER = 20_000
"""How many new objects make the garbage collector run."""


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


def collect_rarely() -> None:
    """Look for cycles of garbage in this process less often, and never in what it has by now.

    To go through the rows of each batch takes a sixteenth of the time of small instances.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def not_installed(what: str, error: ImportError, extra: str) -> str:
    """What to do when a package is missing, or is not for this Python."""
    package = "orthanc-gcp" + (f"[{extra}]" if extra else "")
    install = f"{shlex.quote(sys.executable)} -m pip install '{package}'"
    if isinstance(error, ModuleNotFoundError):
        return f"{what} needs {error.name}, which is not installed: {install}"
    words = str(error).partition("\n")[0]
    return f"{what} cannot load {error.name or 'a package'} ({words}): {install}"
