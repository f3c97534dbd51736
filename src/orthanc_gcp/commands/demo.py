"""``orthanc-gcp demo``: Orthanc and the emulator on this machine, and every way between them."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from orthanc_gcp.commands.arguments import needs
from orthanc_gcp.errors import GcpError

__all__ = ["demo"]


@click.command()
@needs("emulator")
def demo() -> None:
    """Show upload, search, retrieve and delete between a real Orthanc and the emulator.

    At a terminal everything stays up until Ctrl-C, to look around.
    """
    from pydicom import data  # noqa: F401 -- what is missing is said before anything is started

    from orthanc_gcp.commands.demonstration import running
    from orthanc_gcp.commands.printing import console as new_console
    from orthanc_gcp.emulator import server  # noqa: F401

    console = new_console()
    folder = Path(tempfile.mkdtemp(prefix="orthanc-gcp-demo-"))
    # What was started ends with it, also by SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with running(folder, console) as demonstration:
            demonstration.tour()
            demonstration.print_addresses()
            if sys.stdin.isatty() and console.is_terminal:
                console.print("Everything stays up until Ctrl-C.")
                while True:
                    time.sleep(3600)  # what waits for signals alone is not to be had on Windows
    except KeyboardInterrupt:
        console.print()
    except (GcpError, OSError) as error:
        console.print(f"[red]failed[/] {error}", soft_wrap=True)
        console.print(f"The logs are in {folder}.", soft_wrap=True)
        raise click.exceptions.Exit(1) from None
    shutil.rmtree(folder, ignore_errors=True)
