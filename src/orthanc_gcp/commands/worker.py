"""The command ``orthanc-gcp worker``."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import (
    configs_argument,
    fail,
    need_an_account,
    needs,
    orthanc_of,
    orthanc_option,
    settings_of,
)
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.logs import log_to_stderr
from orthanc_gcp.stop_signals import stop_on_signals
from orthanc_gcp.worker.launch import NOT_CONFIGURED, NOT_INSTALLED, collect_rarely, make

if TYPE_CHECKING:
    from orthanc_gcp.worker.worker import Worker

__all__ = ["worker"]

_log = logging.getLogger(__name__)

SECRET = "ORTHANC_GCP_WORKER_SECRET"  # noqa: S105 -- a variable's name # nosec B105
SHORTEST_SECRET = 32
_CONNECTIONS = 32
_STOP_WITHIN = 15.0


@click.command()
@configs_argument('Orthanc\'s configuration: files, or a folder; "-" is for Orthanc.')
@orthanc_option("worker")
@click.option(
    "--name",
    metavar="NAME",
    default=socket.gethostname,
    show_default="the host's name",
    help="Tells it from other workers on the same database.",
)
@click.option(
    "--listen",
    metavar="127.0.0.1:PORT",
    help=f"Offer its REST API there; the secret is in {SECRET}.",
)
@needs("worker", NOT_INSTALLED)
def worker(config: tuple[Path, ...], orthanc: str | None, name: str, listen: str | None) -> None:
    """Send what Orthanc receives, as "Send" in its configuration asks for, and prove it arrived.

    Runs until it is stopped; waits for an Orthanc that is not up, and survives its restarts.
    """
    if config == (Path("-"),):
        from orthanc_gcp.worker import supervised

        raise click.exceptions.Exit(supervised.run())
    log_to_stderr("%(asctime)s %(levelname)s %(message)s")
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
    collect_rarely()
    stop_on_signals(running.stop, _STOP_WITHIN)
    try:
        running.run()
    except GcpError as error:
        fail(str(error), 1)


def _listen(running: Worker, address: str) -> None:
    """Have a worker offer its REST API on this machine.

    Raises
    ------
    ConfigurationError
        The address is none of this machine, there is no secret, or the port cannot be had.
    """
    host, _, port = address.rpartition(":")
    secret = os.environ.get(SECRET, "")
    if host not in ("127.0.0.1", "localhost") or not port.isdecimal():
        raise ConfigurationError("--listen: expected 127.0.0.1:PORT")
    if len(secret) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"--listen: expected a secret of {SHORTEST_SECRET} characters or more in the variable "
            f"{SECRET}, such as `openssl rand -hex 32` prints"
        )
    try:
        running.listen(secret, socket.create_server(("127.0.0.1", int(port))))
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"--listen {address}: {error}") from None
