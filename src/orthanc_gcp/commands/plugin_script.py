"""The command ``orthanc-gcp plugin-script``."""

from __future__ import annotations

import typer

from orthanc_gcp.plugin import script

__all__ = ["plugin_script"]


def plugin_script() -> None:
    """Print the script to name in the option "PythonScript" of Orthanc's configuration."""
    typer.echo(script.text(), nl=False)
