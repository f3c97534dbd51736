"""What is known of an account: its identity, its token, and how the last tries went."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.token import Token
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account
from orthanc_gcp.errors import GcpError

__all__ = ["AccountState", "AccountStatus", "Attempt", "Figures", "LastError", "TokenState"]


class TokenState(StrEnum):
    """Whether there is a token, and how soon another one is needed."""

    FRESH = "fresh"
    STALE = "stale"
    """It is due for renewal."""
    FAILING = "failing"
    """The last try failed; an older token may still be good."""
    PENDING = "pending"
    """Nothing has been tried yet."""


@dataclass(frozen=True)
class LastError:
    """The last failure of an account: a word for programs, a message, an HTTP status, and when."""

    reason: str
    message: str
    status: int | None
    time: datetime | None

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "Reason": self.reason,
            "Message": self.message,
            "Status": self.status,
            "Time": _timestamp(self.time),
        }


@dataclass(frozen=True)
class AccountStatus:
    """What may be shown of an account: no secret is in it.

    Attributes
    ----------
    state
        That of the token.
    identity, kind, scopes
        Who the account is, as far as it is known.
    key_age_days
        Of the key file, None where there is no long-lived key.
    expires, seconds_to_expiry
        The end of the token, None without one.
    last_success, last_error, rotation_error
        How the last tries went, those with a changed credential file apart.
    next_try
        None while one runs.
    refreshes, failures
        How many there were since the start.
    """

    state: TokenState
    identity: str | None
    kind: str | None
    scopes: tuple[str, ...]
    key_age_days: float | None
    expires: datetime | None
    seconds_to_expiry: float | None
    last_success: datetime | None
    last_error: LastError | None
    rotation_error: str | None
    next_try: datetime | None
    refreshes: int
    failures: int

    def as_json(self) -> dict[str, Any]:
        """The same for a program; times are UTC (ISO 8601)."""
        return {
            "State": str(self.state),
            "Identity": self.identity,
            "Kind": self.kind,
            "Scopes": list(self.scopes),
            "KeyAgeDays": self.key_age_days,
            "Expires": _timestamp(self.expires),
            "SecondsToExpiry": self.seconds_to_expiry,
            "LastSuccess": _timestamp(self.last_success),
            "LastError": None if self.last_error is None else self.last_error.as_json(),
            "RotationError": self.rotation_error,
            "NextTry": _timestamp(self.next_try),
            "Refreshes": self.refreshes,
            "Failures": self.failures,
        }


@dataclass(frozen=True)
class Attempt:
    """One try to acquire a token: by the identity in use, or by one that may take over."""

    began: float
    rotating: bool = False


@dataclass(frozen=True)
class Figures:
    """The numbers of an account, for metrics."""

    seconds_to_expiry: float = 0.0
    refreshes: int = 0
    failures: int = 0


@dataclass
class AccountState:
    """The identity and the token of an account, and how the last tries went.

    Attributes
    ----------
    running
        The try that runs just now.
    next_at
        When the next is due.
    generation
        Counts what was planned: of two plans, the older one is void.
    failed_in_a_row, delay
        Tries since the last success, and the seconds to wait after the last of them.
    slow
        The last try took as long as it may.
    looked_at
        Its credential file is being looked at, which a network drive may make last for ever.
    waiting
        Set when the try that runs has ended.
    refreshes, failures
        How many there were since the start.
    """

    account: Account
    identity: Identity | None = None
    token: Token | None = None
    running: Attempt | None = None
    next_at: float | None = None
    generation: int = 0
    failed_in_a_row: int = 0
    delay: float = 0.0
    slow: bool = False
    looked_at: bool = False
    key_age_last_logged: float = float("-inf")
    waiting: list[threading.Event] = field(default_factory=list)
    refreshes: int = 0
    failures: int = 0
    last_success: datetime | None = None
    error: GcpError | None = None
    error_at: datetime | None = None
    rotation_error: str | None = None

    def valid_token(self, now: float) -> Token | None:
        """The token, unless it has expired."""
        return self.token if self.token is not None and self.token.expires_at > now else None

    def has(self, identity: Identity, token: Token) -> bool:
        """Whether these are nothing new to a store: the same token, billed to the same project."""
        return (
            self.identity is not None
            and self.token is not None
            and self.token.value == token.value
            and self.identity.quota_project == identity.quota_project
        )

    def token_state(self, now: float) -> TokenState:
        """Whether there is a token, and how soon another one is needed."""
        if self.failed_in_a_row:
            return TokenState.FAILING
        if self.valid_token(now) is None:
            return TokenState.PENDING
        return TokenState.FRESH if now < (self.next_at or now) else TokenState.STALE

    def remainder(self, now: float) -> str:
        """What the token in use is still good for, in words."""
        if self.token is None:
            return "there is no token yet"
        left = self.token.expires_at - now
        if left > 0:
            return f"the old one is good for another {left:.0f} s"
        return f"the old one expired {-left:.0f} s ago and Google refuses it"

    def figures(self, now: float) -> Figures:
        """Its numbers at a time of the refresher's clock."""
        left = self.token.expires_at - now if self.token is not None else 0.0
        return Figures(max(0.0, left), self.refreshes, self.failures)

    def status(self, clock: Clock) -> AccountStatus:
        """What may be shown of it now."""
        now, utc = clock.now(), clock.utc()
        identity, left = self.identity, self._seconds_left(now)
        age = identity.key_age(utc) if identity else None
        return AccountStatus(
            state=self.token_state(now),
            identity=identity.email if identity else None,
            kind=identity.kind if identity else None,
            scopes=identity.scopes if identity else (),
            key_age_days=None if age is None else round(age, 1),
            expires=None if left is None else utc + timedelta(seconds=left),
            seconds_to_expiry=None if left is None else round(left, 1),
            last_success=self.last_success,
            last_error=self._last_error(),
            rotation_error=self.rotation_error,
            next_try=self._next_try(now, utc),
            refreshes=self.refreshes,
            failures=self.failures,
        )

    def _seconds_left(self, now: float) -> float | None:
        return None if self.token is None else self.token.expires_at - now

    def _next_try(self, now: float, utc: datetime) -> datetime | None:
        if self.running is not None or self.next_at is None:
            return None
        return utc + timedelta(seconds=self.next_at - now)

    def _last_error(self) -> LastError | None:
        error = self.error
        if error is None:
            return None
        return LastError(error.reason, str(error), error.status, self.error_at)


def _timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
