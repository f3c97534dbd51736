"""The command ``orthanc-gcp worker``."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orthanc_gcp import configuration
from orthanc_gcp.configuration.files import folder_of, read_files
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.orthanc_rest import OrthancRest

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.worker.worker import Worker

__all__ = ["worker"]

_log = logging.getLogger(__name__)

SECRET = "ORTHANC_GCP_WORKER_SECRET"  # noqa: S105 -- a variable's name
NOT_CONFIGURED, NOT_INSTALLED = 2, 3
"""Exit codes for what a new start would not mend."""
_CONNECTIONS = 16
_TIMEOUT = 30


def worker(
    config: Annotated[
        list[Path],
        typer.Argument(help='Orthanc\'s configuration: files, or a folder; "-" is for Orthanc.'),
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
    listen: Annotated[
        str,
        typer.Option(help=f"Offer its REST API at 127.0.0.1:PORT; the secret is in {SECRET}."),
    ] = "",
) -> None:
    """Send what Orthanc receives, as "Send" in its configuration asks for, and prove it arrived.

    Runs until it is stopped; waits for an Orthanc that is not up, and survives its restarts.
    """
    if config == [Path("-")]:
        from orthanc_gcp.worker import child

        raise typer.Exit(child.run(make))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    try:
        settings = configuration.read(read_files(config), folder_of(config))
        for problem in settings.problems:
            _log.log(logging.ERROR if problem.error else logging.WARNING, "%s", problem)
        rest = OrthancRest(
            orthanc,
            timeout=_TIMEOUT,
            ca_certificates=settings.ca_certificates,
            connections=_CONNECTIONS,
        )
        running = make(settings, rest, name)
        if listen:
            _listen(running, listen)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(NOT_CONFIGURED) from None
    except ModuleNotFoundError as error:
        typer.echo(not_installed(error), err=True)
        raise typer.Exit(NOT_INSTALLED) from None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    try:
        running.run()
    except GcpError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def make(settings: Settings, orthanc: OrthancRest, name: str, since: float | None = None) -> Worker:
    """A worker, for which more has to be installed than for the rest of the command."""
    from orthanc_gcp.worker.worker import Worker

    return Worker(settings, orthanc, name, since)


def not_installed(error: ModuleNotFoundError) -> str:
    """What to do when a package is missing."""
    return (
        f"the worker needs {error.name}, which is not installed: "
        f"{sys.executable} -m pip install 'orthanc-gcp[worker]'"
    )


def _listen(running: Worker, address: str) -> None:
    host, _, port = address.rpartition(":")
    secret = os.environ.get(SECRET, "")
    if host not in ("127.0.0.1", "localhost") or not port.isdecimal() or not secret:
        raise ConfigurationError(
            f"--listen: expected 127.0.0.1:PORT, and a secret in the variable {SECRET}"
        )
    try:
        running.listen(secret, "127.0.0.1", int(port))
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"--listen {address}: {error}") from None
