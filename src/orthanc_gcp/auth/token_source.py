"""What a worker sends its requests with: the tokens of a refresher of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

from orthanc_gcp.auth.account_state import Figures
from orthanc_gcp.auth.credentials import loading
from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.refresher import TokenRefresher
from orthanc_gcp.auth.scheduler import Scheduler
from orthanc_gcp.auth.token import Token
from orthanc_gcp.auth.token_endpoint import TokenEndpoint
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account, Settings
from orthanc_gcp.errors import StoreError
from orthanc_gcp.reasons import StoreReason
from orthanc_gcp.transport.authorization import Authorization
from orthanc_gcp.transport.request import transport

__all__ = ["TokenSource"]

_FIRST_WITHIN = 10.0
_RENEW_AT_MOST_EVERY = 2.0


class TokenSource:
    """The newest access token of each account, and the project that it bills."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock, self._settings = clock, settings
        self._schedule = Scheduler(clock)
        self._lock = threading.Condition()
        self._stopped = False
        self._newest: dict[str, Authorization] = {}
        self._renewed: dict[str, float] = {}
        self._refresher = TokenRefresher(
            settings.accounts,
            load=partial(loading.load, settings=settings),
            endpoint=TokenEndpoint(transport(settings, clock), clock),
            on_token=self._take,
            schedule=self._schedule,
            clock=clock,
            timeout=settings.timeout,
        )

    def start(self) -> None:
        """Acquire the first tokens, and keep them fresh."""
        self._refresher.start()
        self._schedule.start()
        self._schedule.at(self._clock.now() + self._settings.refresh_interval, self._check_rotation)

    def stop(self) -> None:
        """Renew nothing any more, and let nobody wait for it."""
        self._schedule.stop()
        self._refresher.stop()
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def authorization(self, account: str) -> Authorization:
        """What the next request to an account's store carries.

        Raises
        ------
        StoreError
            There is no token; the message says why.
        KeyError
            There is no such account.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._stopped or account in self._newest, _FIRST_WITHIN)
            if account in self._newest:
                return self._newest[account]
        words = self.problem(account) or "it has not been acquired yet"
        raise StoreError(f"no access token: {words}", reason=StoreReason.NO_TOKEN, retryable=True)

    def problem(self, account: str) -> str | None:
        """Why an account's last token could not be acquired, if it could not."""
        error = self._refresher.status(account).last_error
        return error.message if error else None

    def has_token(self, account: str) -> bool:
        """Whether an account has had one."""
        with self._lock:
            return account in self._newest

    def renew(self, account: str) -> None:
        """The store refused the token: acquire another, once for all who say so."""
        now = self._clock.now()
        with self._lock:
            if now - self._renewed.get(account, float("-inf")) < _RENEW_AT_MOST_EVERY:
                return
            self._renewed[account] = now
        self._refresher.refresh(account)

    def identity(self, account: str) -> str | None:
        """In whose name an account sends, as far as it is known."""
        return self._refresher.status(account).identity

    def figures(self) -> Iterator[tuple[str, Figures]]:
        """A few numbers of each account's token, at little cost."""
        return self._refresher.figures()

    def _take(self, account: Account, identity: Identity, token: Token) -> None:
        with self._lock:
            self._newest[account.name] = identity.authorization(token.value)
            self._lock.notify_all()

    def _check_rotation(self) -> None:
        self._schedule.at(self._clock.now() + self._settings.refresh_interval, self._check_rotation)
        self._refresher.check_rotation()
