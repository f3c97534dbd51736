"""The command ``orthanc-gcp``: what a person does at a terminal."""

from __future__ import annotations

import logging
import signal
from typing import Annotated

import typer

from orthanc_gcp import __version__
from orthanc_gcp.arguments import (
    Configs,
    need_an_account,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.demo import demo
from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.examine import check
from orthanc_gcp.plugin import script
from orthanc_gcp.terminal.backfill import backfill
from orthanc_gcp.terminal.install import install
from orthanc_gcp.terminal.receipt import receipt
from orthanc_gcp.terminal.send import send
from orthanc_gcp.terminal.status import status
from orthanc_gcp.terminal.steering import pause, resume, retry
from orthanc_gcp.terminal.verify import verify
from orthanc_gcp.worker.command import NOT_INSTALLED, worker

__all__ = ["app"]

app = typer.Typer(
    help="Connects Orthanc to DICOM stores of the Google Cloud Healthcare API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orthanc-gcp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None: ...


def plugin_script() -> None:
    """Print the script to name in the option "PythonScript" of Orthanc's configuration."""
    typer.echo(script.text(), nl=False)


def sidecar(
    config: Configs, orthanc: Annotated[str | None, orthanc_option("sidecar")] = None
) -> None:
    """Keep the DICOMweb servers of an Orthanc without the Python plugin right, over its REST API.

    Runs until it is stopped; waits for an Orthanc that is not up, and survives its restarts.
    """
    from orthanc_gcp.sidecar import Sidecar

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    settings = settings_of(config)
    need_an_account(settings)
    running = Sidecar(settings, orthanc_of(settings, orthanc, "sidecar"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    running.run()


app.command()(needs("")(install))
app.command()(needs("")(check))
app.command()(needs("worker", NOT_INSTALLED)(worker))
for command in (status, receipt, verify, send, backfill, retry, pause, resume):
    app.command()(needs("worker")(command))
app.command()(needs("")(sidecar))
app.command()(plugin_script)
app.command()(needs("emulator")(demo))
app.command()(needs("emulator")(emulator))
