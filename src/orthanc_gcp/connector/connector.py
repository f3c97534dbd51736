"""The connector: settings, token keeper and server definitions as one service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from orthanc_gcp.auth.account_state import AccountState, Figures
from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.refresher import TokenRefresher
from orthanc_gcp.auth.scheduler import Scheduler
from orthanc_gcp.auth.token import Token
from orthanc_gcp.auth.token_endpoint import TokenEndpoint
from orthanc_gcp.clock import Clock, SystemClock
from orthanc_gcp.configuration import Account, Problem, Settings
from orthanc_gcp.connector.servers import DicomWebPlugin, Servers
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.outages import Outage
from orthanc_gcp.transport.request import transport

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
    on_look
        Called after each look at credentials and definitions, for metrics.

    Attributes
    ----------
    orthanc
        What keeps the definitions from being looked after.
    """

    def __init__(
        self,
        settings: Settings,
        plugin: DicomWebPlugin,
        *,
        on_look: Callable[[Connector], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._accounts = {account.name: account for account in settings.accounts}
        self._on_look = on_look
        self._looking = False
        self.clock = clock or SystemClock()
        down = "waiting for Orthanc, whose DICOMweb servers cannot be looked after"
        up = "Orthanc's DICOMweb servers are looked after again"
        self.orthanc = Outage(_log, down, up, self.clock)
        self._schedule = Scheduler(self.clock)
        self._servers = Servers(plugin, settings, self.clock)
        self.transport = transport(settings, self.clock)
        self._keeper = TokenRefresher(
            settings.accounts,
            load=partial(loading.load, settings=settings),
            endpoint=TokenEndpoint(self.transport, self.clock),
            on_token=self._publish,
            schedule=self._schedule,
            clock=self.clock,
            timeout=settings.timeout,
        )

    def start(self) -> None:
        """Say what is wrong with the configuration and acquire the first tokens."""
        for problem in self.settings.problems:
            _log.log(logging.ERROR if problem.error else logging.WARNING, "%s", problem)
        if self.accounts:
            self._keeper.start()
            self._schedule.start()

    def orthanc_started(self) -> bool:
        """Orthanc takes requests now: publish, and look after all from here on.

        False if there is no DICOMweb plugin to publish to.
        """
        if not self._looking:  # the sidecar says it after each restart of Orthanc
            self._looking = True
            self._schedule.at(self.clock.now() + _FIRST_LOOK, self._look)
        return not self.settings.accounts or self._servers.open()

    def look_at_servers(self) -> None:
        """Restore what somebody changed, now."""
        self._servers.reconcile()

    def stop(self) -> None:
        """Stop at once; a request that hangs is left behind."""
        self._schedule.stop()
        self._servers.close()

    @property
    def accounts(self) -> list[str]:
        """The names of all accounts, those with an error in their configuration included."""
        return [*self._accounts, *self.settings.rejected]

    def figures(self) -> Iterator[tuple[str, Figures]]:
        """A few numbers of each account, at little cost."""
        yield from self._keeper.figures()
        for name in self.settings.rejected:
            yield name, Figures()

    def status(self, name: str) -> dict[str, Any]:
        """What may be told of an account, without a secret; raises KeyError for no such account."""
        if name in self.settings.rejected:
            return _rejected(name, self.settings.rejected[name], self.clock)
        return self._told(name, self._keeper.status(name).as_json())

    def refresh(self, name: str) -> dict[str, Any]:
        """Acquire a new token now; the status after it. Raises KeyError for no such account."""
        if name in self.settings.rejected:
            return self.status(name)
        return self._told(name, self._keeper.refresh(name).as_json())

    def _told(self, name: str, status: dict[str, Any]) -> dict[str, Any]:
        since = self._servers.published_since(name)
        account = self._accounts[name]
        return {
            "Name": name,
            "Store": account.store_path,
            "Url": self.settings.dicomweb_url(account),
            "PublishedSince": since and since.isoformat(timespec="milliseconds"),
            **status,
        }

    def _publish(self, account: Account, identity: Identity, token: Token) -> None:
        try:
            self._servers.publish(account, identity.authorization(token.value))
        except GcpError as error:
            _log.error("account %s: %s", account.name, error)

    def _look(self) -> None:
        self._schedule.at(self.clock.now() + self.settings.refresh_interval, self._look)
        self._keeper.check_rotation()
        self._on_look(self)
        try:
            self._servers.reconcile()
        except GcpError as error:
            wait = self.settings.refresh_interval
            self.orthanc.failed(str(error), wait, kind=error.kind)
        else:
            self.orthanc.ended()


def _rejected(name: str, problems: tuple[Problem, ...], clock: Clock) -> dict[str, Any]:
    """The status of an account that cannot be used as it is configured."""
    error = ConfigurationError("; ".join(map(str, problems)))
    kept = AccountState(Account(name, project="", location="", dataset="", dicom_store=""))
    kept.failed_in_a_row, kept.error = 1, error
    unknown = {"Store": None, "Url": None, "PublishedSince": None}
    return {"Name": name, **unknown, **kept.status(clock).as_json()}
