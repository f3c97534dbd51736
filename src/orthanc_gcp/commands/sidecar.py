"""The command ``orthanc-gcp sidecar``."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from orthanc_gcp.commands.arguments import (
    configs_argument,
    need_an_account,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.logs import log_to_stderr
from orthanc_gcp.stop_signals import stop_on_signals

__all__ = ["sidecar"]

_STOP_WITHIN = 15.0


@click.command()
@configs_argument()
@orthanc_option("sidecar")
@needs("")
def sidecar(config: tuple[Path, ...], orthanc: str | None) -> None:
    """Keep the DICOMweb servers of an Orthanc without the Python plugin right, over its REST API.

    Runs until it is stopped; waits for an Orthanc that is not up, and survives its restarts.
    """
    from orthanc_gcp.connector.sidecar import Sidecar

    log_to_stderr("%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    settings = settings_of(config)
    need_an_account(settings)
    running = Sidecar(settings, orthanc_of(settings, orthanc, "sidecar"))
    stop_on_signals(running.stop, _STOP_WITHIN)
    running.run()
