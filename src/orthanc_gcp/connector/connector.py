"""The connector: settings, tokens and server definitions as one service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from orthanc_gcp.auth.account_state import AccountState, AccountStatus, Figures
from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.refresher import TokenRefresher
from orthanc_gcp.auth.scheduler import Scheduler
from orthanc_gcp.auth.token import Token
from orthanc_gcp.auth.token_endpoint import TokenEndpoint
from orthanc_gcp.backoff import Backoff
from orthanc_gcp.clock import Clock, SystemClock
from orthanc_gcp.configuration import Account, Problem, Settings
from orthanc_gcp.connector.demand_limit import DemandLimit
from orthanc_gcp.connector.servers import DicomWebPlugin, Servers
from orthanc_gcp.errors import ConfigurationError, GcpError
from orthanc_gcp.outages import Outage
from orthanc_gcp.transport.request import transport

__all__ = ["Connector", "ConnectorStatus"]

_FIRST_CHECK_AFTER = 1.0
"""Seconds: the DICOMweb plugin reloads its servers when Orthanc has started (it takes the change
``OrthancStarted``, as this package does), maybe after we published."""

_CATCH_UP = Backoff(1.0, 60.0, jitter=0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectorStatus:
    """What may be shown of an account: no secret is in it.

    Attributes
    ----------
    store, url
        Where it sends, None where its configuration has an error.
    published_since
        Since when Orthanc has its server definition, None while it has not, or an older token.
    token
        Who the account is, and how its tries to acquire a token went.
    """

    name: str
    store: str | None
    url: str | None
    published_since: datetime | None
    token: AccountStatus

    def as_json(self) -> dict[str, Any]:
        """The same for a program; times are UTC (ISO 8601)."""
        since = self.published_since
        return {
            "Name": self.name,
            "Store": self.store,
            "Url": self.url,
            "PublishedSince": since and since.isoformat(timespec="milliseconds"),
            **self.token.as_json(),
        }


class Connector:
    """Keeps every account's token fresh and its DICOMweb server definition right.

    Parameters
    ----------
    settings
        The configuration; its problems are logged when the connector starts.
    plugin
        Where the definitions go.
    on_check
        Called each time that credentials and definitions are checked, for metrics.

    Attributes
    ----------
    orthanc
        What keeps the definitions from being checked.
    """

    def __init__(
        self,
        settings: Settings,
        plugin: DicomWebPlugin,
        *,
        on_check: Callable[[Connector], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._accounts = {account.name: account for account in settings.accounts}
        self._on_check = on_check
        self._checking = self._is_catching_up = False
        self.clock = clock or SystemClock()
        down = "waiting for Orthanc, whose DICOMweb servers cannot be checked"
        up = "Orthanc's DICOMweb servers are checked again"
        self.orthanc = Outage(_log, down, up, self.clock)
        self._demands = {name: DemandLimit(self.clock) for name in self.accounts}
        self._schedule = Scheduler(self.clock)
        self._servers = Servers(plugin, settings, self.clock)
        self.transport = transport(settings, self.clock)
        self._refresher = TokenRefresher(
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
            self._refresher.start()
            self._schedule.start()

    def orthanc_started(self) -> bool:
        """Orthanc takes requests now: publish, and check all definitions from here on.

        False if there is no DICOMweb plugin to publish to.
        """
        if not self._checking:  # the sidecar says it after each restart of Orthanc
            self._checking = True
            self._schedule.at(self.clock.now() + _FIRST_CHECK_AFTER, self._check)
        return not self.settings.accounts or self._servers.open()

    def check_definitions(self) -> None:
        """Restore every server definition that somebody deleted or changed.

        Raises
        ------
        OrthancError, DefinitionError
            Orthanc, or its DICOMweb plugin, does not show them.
        """
        self._servers.reconcile()

    def stop(self) -> None:
        """Stop at once; a request that hangs is left behind, and nobody waits for it any more."""
        self._schedule.stop()
        self._refresher.stop()
        self._servers.close()

    @property
    def accounts(self) -> list[str]:
        """The names of all accounts, those with an error in their configuration included."""
        return [*self._accounts, *self.settings.rejected]

    def figures(self) -> Iterator[tuple[str, Figures]]:
        """A few numbers of each account, at little cost."""
        yield from self._refresher.figures()
        for name in self.settings.rejected:
            yield name, Figures()

    def status(self, name: str) -> ConnectorStatus:
        """What may be shown of an account; raises KeyError for no such account."""
        if name in self.settings.rejected:
            return _rejected(name, self.settings.rejected[name], self.clock)
        return self._status(name, self._refresher.status(name))

    def failure(self, name: str) -> tuple[GcpError | None, Identity | None]:
        """Why an account has failed last, and who it is; raises KeyError for no such account."""
        return (None, None) if name in self.settings.rejected else self._refresher.failure(name)

    def refresh(self, name: str) -> ConnectorStatus:
        """Acquire a new token now; the status after it. Raises KeyError for no such account."""
        if name in self.settings.rejected:
            return self.status(name)
        return self._status(name, self._refresher.refresh(name))

    def wait_for_demand(self, name: str) -> float:
        """Count one more who wants Google asked at once; 0, or the seconds that it is too early.

        Raises KeyError for no such account.
        """
        return self._demands[name].take()

    def _status(self, name: str, token: AccountStatus) -> ConnectorStatus:
        account = self._accounts[name]
        url, since = self.settings.dicomweb_url(account), self._servers.published_since(name)
        return ConnectorStatus(name, account.store_path, url, since, token)

    def _publish(self, account: Account, identity: Identity, token: Token) -> None:
        try:
            self._servers.publish(account, identity.authorization(token.value))
        except GcpError as error:
            _log.error("account %s: %s", account.name, error)
        if self._servers.is_behind and not self._is_catching_up:
            self._is_catching_up = True
            self._catch_up_after(_CATCH_UP.first)

    def _catch_up_after(self, pause: float) -> None:
        self._schedule.at(self.clock.now() + pause, partial(self._catch_up, pause))

    def _catch_up(self, pause: float) -> None:
        """Write what Orthanc did not take: the next check may come when the old token has ended."""
        with suppress(GcpError):  # which the checks say
            self._servers.reconcile()
        self._is_catching_up = self._servers.is_behind
        if self._is_catching_up:
            self._catch_up_after(_CATCH_UP.after(pause))

    def _check(self) -> None:
        self._schedule.at(self.clock.now() + self.settings.refresh_interval, self._check)
        self._schedule.at(self.clock.now(), self._refresher.check_rotation)  # it may hang
        self._on_check(self)
        try:
            self._servers.reconcile()
        except GcpError as error:
            wait = self.settings.refresh_interval
            self.orthanc.failed(str(error), wait, kind=error.kind)
        else:
            self.orthanc.ended()


def _rejected(name: str, problems: tuple[Problem, ...], clock: Clock) -> ConnectorStatus:
    """The status of an account that cannot be used as it is configured."""
    state = AccountState(Account(name, project="", location="", dataset="", dicom_store=""))
    state.failed_in_a_row, state.error = 1, ConfigurationError("; ".join(map(str, problems)))
    return ConnectorStatus(name, None, None, None, state.status(clock))
