"""The command ``orthanc-gcp gateway``."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from orthanc_gcp.commands.arguments import (
    configs_argument,
    fail,
    need_an_account,
    needs,
    settings_of,
)
from orthanc_gcp.errors import ConfigurationError
from orthanc_gcp.logs import log_to_stderr
from orthanc_gcp.stop_signals import stop_on_signals

__all__ = ["gateway"]

_log = logging.getLogger(__name__)

_STOP_WITHIN = 15.0


@click.command()
@configs_argument()
@needs("gateway")
def gateway(config: tuple[Path, ...]) -> None:
    """Answer workstations by DIMSE from the stores of accounts, as "Gateway" asks for it.

    Runs until it is stopped. What is wrong with "Gateway" ends it with the exit code 2.
    """
    from orthanc_gcp.clock import SystemClock
    from orthanc_gcp.gateway.gateway import Gateway

    log_to_stderr("%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("orthanc_gcp").setLevel(logging.INFO)
    settings = settings_of(config)
    need_an_account(settings)
    for problem in settings.problems:
        _log.log(logging.ERROR if problem.error else logging.WARNING, "%s", problem)
    try:
        running = Gateway(settings, SystemClock())
    except ConfigurationError as error:
        fail(str(error))
    stop_on_signals(running.stop, _STOP_WITHIN)
    running.run()
