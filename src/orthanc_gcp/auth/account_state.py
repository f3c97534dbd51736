"""What the keeper knows of one account."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orthanc_gcp.auth.credentials.loading import Identity
from orthanc_gcp.auth.token import Token
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account
from orthanc_gcp.errors import GcpError

__all__ = ["AccountState", "Attempt", "Figures"]


@dataclass(frozen=True)
class Attempt:
    """One try to acquire a token: by the identity in use, or by one that may take over."""

    began: float
    rotating: bool = False


@dataclass(frozen=True)
class Figures:
    """What metrics tell of an account."""

    seconds_to_expiry: float = 0.0
    refreshes: int = 0
    failures: int = 0


@dataclass
class AccountState:
    """The identity and the token of an account, and how the last tries went."""

    account: Account
    identity: Identity | None = None
    token: Token | None = None
    running: Attempt | None = None
    next_at: float | None = None
    turn: int = 0
    failures: int = 0
    delay: float = 0.0
    slow: bool = False
    age_told_at: float = float("-inf")
    waiting: list[threading.Event] = field(default_factory=list)
    refreshes: int = 0
    failed: int = 0
    last_success: datetime | None = None
    error: GcpError | None = None
    error_at: datetime | None = None
    rotation_error: str | None = None

    def living_token(self, now: float) -> Token | None:
        """The token, unless it is dead."""
        return self.token if self.token is not None and self.token.expires_at > now else None

    def has(self, identity: Identity, token: Token) -> bool:
        """Whether these are nothing new to a store: the same token, billed to the same project."""
        return (
            self.identity is not None
            and self.token is not None
            and self.token.value == token.value
            and self.identity.quota_project == identity.quota_project
        )

    def state(self, now: float) -> str:
        """``fresh``, ``stale`` (due for renewal), ``failing`` or ``pending`` (not tried yet)."""
        if self.failures:
            return "failing"
        token = self.living_token(now)
        if token is None:
            return "pending"
        return "fresh" if now < (self.next_at or now) else "stale"

    def remainder(self, now: float) -> str:
        """What the token in use is still good for, in words."""
        if self.token is None:
            return "there is no token yet"
        left = self.token.expires_at - now
        if left > 0:
            return f"the old one is good for another {left:.0f} s"
        return f"the old one expired {-left:.0f} s ago and Google refuses it"

    def figures(self, now: float) -> Figures:
        """Its numbers at a time of the keeper's clock."""
        left = self.token.expires_at - now if self.token is not None else 0.0
        return Figures(max(0.0, left), self.refreshes, self.failed)

    def status(self, clock: Clock) -> dict[str, Any]:
        """What may be told of it, without a secret; times are UTC (ISO 8601)."""
        now, utc = clock.now(), clock.utc()
        identity = self.identity
        age = identity.key_age(utc) if identity else None
        return {
            "State": self.state(now),
            "Identity": identity.email if identity else None,
            "Kind": identity.kind if identity else None,
            "Scopes": list(identity.scopes) if identity else [],
            "KeyAgeDays": None if age is None else round(age, 1),
            "Expires": self.token and _text(utc + timedelta(seconds=self.token.expires_at - now)),
            "SecondsToExpiry": self.token and round(self.token.expires_at - now, 1),
            "LastSuccess": _text(self.last_success),
            "LastError": self._error(),
            "RotationError": self.rotation_error,
            "NextTry": self._next_try(now, utc),
            "Refreshes": self.refreshes,
            "Failures": self.failed,
        }

    def _next_try(self, now: float, utc: datetime) -> str | None:
        if self.running is not None or self.next_at is None:
            return None
        return _text(utc + timedelta(seconds=self.next_at - now))

    def _error(self) -> dict[str, Any] | None:
        if self.error is None:
            return None
        return {
            "Reason": self.error.reason,
            "Message": str(self.error),
            "Status": self.error.status,
            "Time": _text(self.error_at),
        }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
