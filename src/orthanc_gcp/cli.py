"""The command ``orthanc-gcp``: what a person does at a terminal."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from orthanc_gcp import configuration
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.demo import demo
from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.examine import check
from orthanc_gcp.plugin import script
from orthanc_gcp.terminal.backfill import backfill
from orthanc_gcp.terminal.install import install
from orthanc_gcp.terminal.receipt import receipt
from orthanc_gcp.terminal.send import send
from orthanc_gcp.terminal.status import status
from orthanc_gcp.terminal.steering import pause, resume, retry
from orthanc_gcp.terminal.verify import verify
from orthanc_gcp.worker.command import worker

__all__ = ["app"]

app = typer.Typer(
    help="Connects Orthanc to DICOM stores of the Google Cloud Healthcare API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def plugin_script() -> None:
    """Print the script to name in the option "PythonScript" of Orthanc's configuration."""
    typer.echo(script.text(), nl=False)


@app.command()
def sidecar(
    config: Annotated[
        list[Path], typer.Argument(help="Orthanc's configuration: files, or a folder.")
    ],
    orthanc: Annotated[
        str,
        typer.Option(
            envvar="ORTHANC_GCP_SIDECAR_ORTHANC",
            help="Orthanc's address: http://user:password@host:port/.",
        ),
    ] = "http://localhost:8042/",
) -> None:
    """Keep the DICOMweb servers of an Orthanc without the Python plugin right, over its REST API.

    Runs until it is stopped; waits for an Orthanc that is not up, and survives its restarts.
    """
    from orthanc_gcp.orthanc_rest import OrthancRest
    from orthanc_gcp.sidecar import Sidecar

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    try:
        settings = configuration.read(read_files(config), folder_of(config))
        rest = OrthancRest(orthanc, ca_certificates=settings.ca_certificates)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    running = Sidecar(settings, rest)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    running.run()


for command in (
    *(install, check, worker, status, receipt, verify, send, backfill, retry, pause, resume),
    *(demo, emulator),
):
    app.command()(command)
