"""The command ``orthanc-gcp``: what a person does at a terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from orthanc_gcp import __version__
from orthanc_gcp.commands.arguments import needs
from orthanc_gcp.commands.audit import verify
from orthanc_gcp.commands.backfill import backfill
from orthanc_gcp.commands.check import check
from orthanc_gcp.commands.demo import demo
from orthanc_gcp.commands.install import install
from orthanc_gcp.commands.pause_resume_retry import pause, resume, retry
from orthanc_gcp.commands.plugin_script import plugin_script
from orthanc_gcp.commands.receipt import receipt
from orthanc_gcp.commands.send import send
from orthanc_gcp.commands.sidecar import sidecar
from orthanc_gcp.commands.status import status
from orthanc_gcp.commands.worker import worker
from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.worker.launch import NOT_INSTALLED

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


app.command()(needs("")(install))
app.command()(needs("")(check))
app.command()(needs("worker", NOT_INSTALLED)(worker))
for command in (status, receipt, verify, send, backfill, retry, pause, resume):
    app.command()(needs("worker")(command))
app.command()(needs("")(sidecar))
app.command()(plugin_script)
app.command()(needs("emulator")(demo))
app.command()(needs("emulator")(emulator))
