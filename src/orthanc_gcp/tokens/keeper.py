"""The token keeper: every account's access token, always fresh.

A token is renewed ahead of its end by a lead that grows with its lifetime, so that an outage of
the token endpoint that is shorter than the lead goes unnoticed. After a failure the old token
stays in use until it dies, and the next try comes after a growing pause.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING

from google.auth.exceptions import GoogleAuthError
from google.auth.transport import Request

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account
from orthanc_gcp.errors import GcpError, TokenError
from orthanc_gcp.schedule import Schedule
from orthanc_gcp.secrecy import readable

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["Keeper", "Token", "lead", "pause"]

LONGEST_LEAD = 900.0
LONGEST_PAUSE = 60.0
FIRST_PAUSE = 1.0
SHORTEST_PAUSE = 0.2
REPEAT_AFTER = 600.0
GRACE = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """An access token with its end, on the keeper's clock."""

    value: str = field(repr=False)
    expires_at: float
    lifetime: float


def lead(lifetime: float) -> float:
    """How long before its end a token is renewed, in seconds: half its life, 15 minutes at most.

    Four fifths of the lead are an outage that is certain to go unnoticed.
    """
    return min(lifetime / 2, LONGEST_LEAD)


def pause(previous: float, token: Token | None, luck: float) -> float:
    """How long to wait after a failure, in seconds.

    Parameters
    ----------
    previous
        The pause before this one; 0 after the first failure.
    token
        The token still in use: the shorter its lead, the shorter the pause.
    luck
        A random number from 0 to 1, which spreads the accounts.
    """
    longest = LONGEST_PAUSE
    if token is not None:
        longest = max(SHORTEST_PAUSE, min(longest, lead(token.lifetime) / 10))
    return min(longest, max(2 * previous, FIRST_PAUSE)) * (0.8 + luck / 5)


@dataclass
class _Kept:
    """What the keeper knows of one account."""

    account: Account
    credentials: Credentials | None = None
    token: Token | None = None
    attempt: int = 0
    running: bool = False
    began: float = 0.0
    failures: int = 0
    pause: float = 0.0
    slow: bool = False
    told: str = ""
    told_at: float = float("-inf")


class Keeper:
    """Keeps the access tokens of all accounts.

    Parameters
    ----------
    accounts
        The accounts, each with a name of its own.
    load
        Account -> credentials; may raise :class:`GcpError`.
    endpoint
        The transport for ``credentials.refresh()``.
    on_token
        Called with each new token, on a worker thread.
    timeout
        Seconds that a refresh may take; one that takes longer is given up.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        load: Callable[[Account], Credentials],
        endpoint: Request,
        on_token: Callable[[Account, Token], None],
        schedule: Schedule,
        clock: Clock,
        timeout: float,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._kept = {account.name: _Kept(account) for account in accounts}
        self._load, self._endpoint, self._on_token = load, endpoint, on_token
        self._schedule, self._clock, self._timeout, self._luck = schedule, clock, timeout, luck
        self._lock = threading.Lock()

    def start(self) -> None:
        """Acquire a token for each account, now and for ever after."""
        now = self._clock.now()
        for kept in self._kept.values():
            self._schedule.at(now, partial(self._refresh, kept))

    def token(self, name: str) -> Token | None:
        """The token of an account, if it has one that is not dead."""
        token = self._kept[name].token
        return token if token is not None and token.expires_at > self._clock.now() else None

    def _refresh(self, kept: _Kept) -> None:
        with self._lock:
            if kept.running:
                return
            kept.running = True
            kept.attempt += 1
            attempt = kept.attempt
            kept.began = began = self._clock.now()
        self._schedule.at(began + self._timeout + GRACE, partial(self._give_up, kept, attempt))
        try:
            token = self._acquire(kept, began)
        except Exception as error:  # whatever a library raises, the account goes on
            self._failed(kept, attempt, _as_error(error, kept.account))
        else:
            self._succeeded(kept, attempt, token)

    def _acquire(self, kept: _Kept, began: float) -> Token:
        credentials = kept.credentials or self._load(kept.account)
        credentials.refresh(self._endpoint)
        value, expiry = credentials.token, credentials.expiry
        now = self._clock.utc()
        lifetime = (expiry.replace(tzinfo=UTC) - now).total_seconds() if expiry else 0.0
        if not value or lifetime <= 0:
            raise TokenError("the token that came is already dead", reason="expired")
        kept.credentials = credentials
        # The token's life began before its answer arrived: when it was asked for is the safe side.
        return Token(value, began + lifetime, lifetime)

    def _give_up(self, kept: _Kept, attempt: int) -> None:
        if kept.running and kept.attempt == attempt:
            message = f"the refresh does not end, given up after {self._timeout + GRACE:g} s"
            self._failed(kept, attempt, TokenError(message, reason="timeout"))

    def _succeeded(self, kept: _Kept, attempt: int, token: Token) -> None:
        with self._lock:
            if kept.attempt != attempt or not kept.running:
                return
            failures, kept.failures, kept.pause = kept.failures, 0, 0.0
            kept.running, kept.slow, kept.told = False, False, ""
            kept.token = token
        spread = 1 + self._luck() / 10
        renew_at = token.expires_at - min(lead(token.lifetime) * spread, token.lifetime * 0.6)
        self._schedule.at(renew_at, partial(self._refresh, kept))
        name = kept.account.name
        _log.info("account %s: a token was acquired, it lives %.0f s", name, token.lifetime)
        if failures:
            _log.warning("account %s: recovered after %d failed tries", name, failures)
        self._on_token(kept.account, token)

    def _failed(self, kept: _Kept, attempt: int, error: GcpError) -> None:
        with self._lock:
            if kept.attempt != attempt or not kept.running:
                return
            kept.running = False
            kept.failures += 1
            kept.slow = error.reason == "timeout"
            kept.pause = pause(kept.pause, self.token(kept.account.name), self._luck())
            now = self._clock.now()
            # The time that the failed try took counts: one that hung for a minute has waited.
            wait = max(kept.pause - (now - kept.began), min(kept.pause, FIRST_PAUSE))
        self._tell(kept, str(error), wait)
        self._schedule.at(now + wait, partial(self._refresh, kept), slow=kept.slow)

    def _tell(self, kept: _Kept, words: str, wait: float) -> None:
        """Log a failure; one that repeats itself once a minute is told every ten minutes."""
        now = self._clock.now()
        known = kept.told == words and kept.pause >= LONGEST_PAUSE / 2
        if known and now - kept.told_at < REPEAT_AFTER:
            return
        kept.told, kept.told_at = words, now
        _log.warning(
            "account %s: no new token: %s; %s, next try in %.1f s",
            kept.account.name,
            words,
            _remainder(kept.token, now),
            wait,
        )


def _remainder(token: Token | None, now: float) -> str:
    if token is None:
        return "there is no token yet"
    left = token.expires_at - now
    if left > 0:
        return f"the old one is good for another {left:.0f} s"
    return f"the old one expired {-left:.0f} s ago and Google refuses it"


def _as_error(error: Exception, account: Account) -> GcpError:
    if isinstance(error, GcpError):
        return error
    if isinstance(error, GoogleAuthError):
        text = error.args[0] if error.args and isinstance(error.args[0], str) else repr(error)
        return TokenError(readable(text), account=account.name, reason="google_auth")
    # The text of a foreign exception may quote what it choked on.
    return TokenError(
        f"unexpected {type(error).__name__} while refreshing",
        account=account.name,
        reason="unexpected",
    )
