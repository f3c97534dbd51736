"""The command ``orthanc-gcp worker``."""

from __future__ import annotations

import logging
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from orthanc_gcp import configuration
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.orthanc_rest import OrthancRest

__all__ = ["worker"]


def worker(
    config: Annotated[
        list[Path], typer.Argument(help="Orthanc's configuration: files, or a folder.")
    ],
    orthanc: Annotated[
        str,
        typer.Option(
            envvar="ORTHANC_GCP_WORKER_ORTHANC",
            help="Orthanc's address: http://user:password@host:port/.",
        ),
    ] = "http://localhost:8042/",
    name: Annotated[
        str, typer.Option(help="Tells it from other workers on the same database.")
    ] = socket.gethostname(),
) -> None:
    """Send what Orthanc receives, as "Send" in its configuration asks for, and prove it arrived.

    Runs until it is stopped; waits for an Orthanc that is not up, and survives its restarts.
    """
    from orthanc_gcp.worker.worker import Worker

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    try:
        settings = configuration.read(read_files(config), folder_of(config))
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    rest = OrthancRest(
        orthanc, timeout=30, ca_certificates=settings.ca_certificates, connections=16
    )
    running = Worker(settings, rest, name)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    try:
        running.run()
    except GcpError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
