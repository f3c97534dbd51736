"""The command ``orthanc-gcp``: what a person does at a terminal."""

from __future__ import annotations

import typer

from orthanc_gcp.demo import demo
from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.plugin import script

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


app.command()(demo)
app.command()(emulator)
