"""The connector: settings, token keeper and server definitions as one service."""

from __future__ import annotations

import logging
from functools import partial

from orthanc_gcp import credentials
from orthanc_gcp.clock import Clock, SystemClock
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.errors import GcpError
from orthanc_gcp.schedule import Schedule
from orthanc_gcp.servers import DicomWebPlugin, Servers
from orthanc_gcp.token_endpoint import TokenEndpoint
from orthanc_gcp.tokens import Keeper, Token
from orthanc_gcp.transport import Transport

__all__ = ["Connector"]

# The DICOMweb plugin reloads its servers when Orthanc has started, maybe after we published.
_FIRST_LOOK = 1.0

_log = logging.getLogger(__name__)


class Connector:
    """Keeps every account's token fresh and its DICOMweb server definition right.

    Parameters
    ----------
    settings
        The configuration; its problems are logged when the connector starts.
    plugin
        Where the definitions go.
    """

    def __init__(
        self, settings: Settings, plugin: DicomWebPlugin, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._schedule = Schedule(self._clock)
        self._servers = Servers(plugin, settings)
        self._keeper = Keeper(
            settings.accounts,
            load=partial(credentials.load, settings=settings),
            endpoint=TokenEndpoint(_transport(settings, self._clock), self._clock),
            on_token=self._publish,
            schedule=self._schedule,
            clock=self._clock,
            timeout=settings.timeout,
        )

    def start(self) -> None:
        """Say what is wrong with the configuration and acquire the first tokens."""
        for problem in self._settings.problems:
            _log.log(logging.ERROR if problem.error else logging.WARNING, "%s", problem)
        if self._settings.accounts:
            self._keeper.start()
            self._schedule.start()

    def orthanc_started(self) -> None:
        """Orthanc takes requests now: publish, and look after the definitions from here on."""
        if self._settings.accounts and self._servers.open():
            self._schedule.at(self._clock.now() + _FIRST_LOOK, self._look)

    def stop(self) -> None:
        """Stop at once; a request that hangs is left behind."""
        self._schedule.stop()
        self._servers.close()

    def _publish(self, account: Account, token: Token) -> None:
        try:
            self._servers.publish(account, token.value)
        except GcpError as error:
            _log.error("account %s: %s", account.name, error)

    def _look(self) -> None:
        self._schedule.at(self._clock.now() + self._settings.refresh_interval, self._look)
        self._servers.reconcile()


def _transport(settings: Settings, clock: Clock) -> Transport:
    return Transport(
        settings.timeout,
        ca_certificates=settings.ca_certificates,
        verify=settings.orthanc.https_verify_peers,
        proxy=settings.orthanc.http_proxy,
        verbose=settings.orthanc.http_verbose,
        clock=clock,
    )
