"""The command ``orthanc-gcp plugin-script``."""

from __future__ import annotations

import click

from orthanc_gcp.plugin import script

__all__ = ["plugin_script"]


@click.command()
def plugin_script() -> None:
    """Print the script to name in the option "PythonScript" of Orthanc's configuration."""
    click.echo(script.text(), nl=False)
