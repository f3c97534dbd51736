"""The command ``orthanc-gcp gateway``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orthanc_gcp.commands.arguments import (
    configs_argument,
    fail,
    need_an_account,
    needs,
    orthanc_option,
    orthanc_variable,
    settings_of,
)
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.logs import log_to_stderr
from orthanc_gcp.stop_signals import stop_on_signals

if TYPE_CHECKING:
    from orthanc_gcp.configuration import Settings
    from orthanc_gcp.orthanc.rest import OrthancRest

__all__ = ["gateway"]

_log = logging.getLogger(__name__)

_STOP_WITHIN = 15.0
_CONNECTIONS = 32


@click.command()
@configs_argument('Orthanc\'s configuration: files, or a folder; "-" is for Orthanc.')
@orthanc_option("gateway")
@needs("gateway")
def gateway(config: tuple[Path, ...], orthanc: str | None) -> None:
    """Answer workstations by DIMSE from the stores of accounts, as "Gateway" asks for it.

    Runs until it is stopped. What is wrong with "Gateway" ends it with the exit code 2.
    """
    from orthanc_gcp.clock import SystemClock
    from orthanc_gcp.gateway.gateway import Gateway
    from orthanc_gcp.worker.gateway.limits import limits_of

    if config == (Path("-"),):
        from orthanc_gcp.worker import supervised
        from orthanc_gcp.worker.gateway.service import make

        raise click.exceptions.Exit(supervised.run(make, "gateway"))
    log_to_stderr("%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    settings = settings_of(config)
    need_an_account(settings)
    for problem in settings.problems:
        _log.log(logging.ERROR if problem.error else logging.WARNING, "%s", problem)
    try:
        running = Gateway(settings, SystemClock(), _orthanc(settings, orthanc), limits_of)
    except ConfigurationError as error:
        fail(str(error))
    stop_on_signals(running.stop, _STOP_WITHIN)
    running.run()


def _orthanc(settings: Settings, given: str | None) -> OrthancRest | None:
    """What workstations store into; None where it has not been said how to reach it."""
    from orthanc_gcp.orthanc import access

    try:
        return access.client(
            settings, given, variable=orthanc_variable("gateway"), connections=_CONNECTIONS
        )
    except ConfigurationError as error:
        if given:
            fail(str(error))
        _log.warning("C-STORE is not offered: %s", error)
        return None
