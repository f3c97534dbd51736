"""The command ``orthanc-gcp worker``."""

from __future__ import annotations

import logging
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orthanc_gcp.commands.arguments import (
    fail,
    need_an_account,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.worker.launch import NOT_CONFIGURED, make

if TYPE_CHECKING:
    from orthanc_gcp.worker.worker import Worker

__all__ = ["worker"]

_log = logging.getLogger(__name__)

SECRET = "ORTHANC_GCP_WORKER_SECRET"  # noqa: S105 -- a variable's name
_CONNECTIONS = 16


def worker(
    config: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONFIG",
            help='Orthanc\'s configuration: files, or a folder; "-" is for Orthanc.',
            readable=False,
        ),
    ],
    orthanc: Annotated[str | None, orthanc_option("worker")] = None,
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
        from orthanc_gcp.worker import supervised

        raise typer.Exit(supervised.run())
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    settings = settings_of(config)
    if not settings.rejected:  # what is for an account with a mistake is written down, and waits
        need_an_account(settings)
    for problem in settings.problems:
        _log.log(logging.ERROR if problem.error else logging.WARNING, "%s", problem)
    rest = orthanc_of(settings, orthanc, "worker", connections=_CONNECTIONS)
    try:
        running = make(settings, rest, name)
        if listen:
            _listen(running, listen)
    except ConfigurationError as error:
        fail(str(error), NOT_CONFIGURED)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    try:
        running.run()
    except GcpError as error:
        fail(str(error), 1)


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
