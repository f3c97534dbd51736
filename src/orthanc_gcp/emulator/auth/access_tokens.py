"""Access tokens: opaque to clients, self-contained for the emulator.

A token carries who it is for, its scopes and its end, signed with a secret that outlives a
restart. So the emulator needs no table of tokens, however many it hands out.

Sources: RFC 6749 section 1.4; the scopes are those of the discovery document of the Healthcare API.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from orthanc_gcp.emulator.faults.fault_settings import FaultSettings

__all__ = [
    "BEARER",
    "CLOUD_PLATFORM",
    "HEALTHCARE_SCOPES",
    "AccessToken",
    "ExpiredTokenError",
    "InvalidTokenError",
    "TokenMint",
]

BEARER = "Bearer"
"""The type of all tokens (RFC 6750)."""
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
HEALTHCARE_SCOPES = ("https://www.googleapis.com/auth/cloud-healthcare", CLOUD_PLATFORM)
"""Either one suffices on every method of the API (its discovery document)."""

_MAC_LENGTH = 16
_MAX_KNOWN = 128
"""How many tokens are remembered that were found to be good; they are as long as a head may be."""


class InvalidTokenError(Exception):
    """The token was never issued here, or it was changed on the way."""


class ExpiredTokenError(Exception):
    """The token was good once."""


@dataclass(frozen=True)
class AccessToken:
    """What an access token says.

    Attributes
    ----------
    identity : str
        An e-mail address, or a ``principal://`` of a pool of identities.
    scopes : frozenset of str
        What it may be used for.
    expires : float
        When it ends, in seconds since 1970.
    """

    identity: str
    scopes: frozenset[str]
    expires: float

    def has_scope(self, *scopes: str) -> bool:
        """Return whether the token has one of these scopes."""
        return not self.scopes.isdisjoint(scopes)


class TokenMint:
    """Issues and reads access tokens.

    Parameters
    ----------
    secret : bytes
        What tokens are signed with (HMAC-SHA-256).
    clock : callable
        Gives the time, in seconds since 1970.
    lifetime : int
        How many seconds a token lives.
    fault_settings : FaultSettings
        Which scopes tokens get, if not those that were asked for.
    """

    def __init__(
        self,
        secret: bytes,
        clock: Callable[[], float],
        lifetime: int,
        fault_settings: FaultSettings,
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._fault_settings = fault_settings
        self._verified = lru_cache(_MAX_KNOWN)(self._verify)
        self.lifetime = lifetime

    @property
    def expires_in(self) -> int:
        """What is announced: Google says one second less than a token lives."""
        return max(1, self.lifetime - 1)

    def granted(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """Return the scopes that a token gets for which some are asked."""
        return self._fault_settings.current.scopes(scopes)

    def issue(
        self, identity: str, scopes: Iterable[str], prefix: str, lifetime: float | None = None
    ) -> str:
        """Return a new token, different from all others.

        Parameters
        ----------
        prefix : str
            What it starts with, as Google's tokens do by the kind of their credential.
        lifetime : float, optional
            How many seconds it lives, if not as long as others.
        """
        end = self._clock() + (self.lifetime if lifetime is None else lifetime)
        payload = json.dumps(
            [identity, sorted(self.granted(scopes)), end, secrets.token_hex(4)],
            separators=(",", ":"),
        ).encode()
        return prefix + base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")

    def read(self, token: str) -> AccessToken:
        """Return what a token says.

        Raises
        ------
        InvalidTokenError
            It was not issued here, or was changed.
        ExpiredTokenError
            It has ended.
        """
        verified = self._verified(token.rpartition(".")[2])
        if self._clock() >= verified.expires:
            raise ExpiredTokenError
        return verified

    def _verify(self, body: str) -> AccessToken:
        """Return what a token says that may have ended; raise :class:`InvalidTokenError`."""
        try:
            blob = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        except (binascii.Error, ValueError) as error:
            raise InvalidTokenError from error
        mac, payload = blob[:_MAC_LENGTH], blob[_MAC_LENGTH:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise InvalidTokenError
        identity, scopes, expires, _ = json.loads(payload)
        return AccessToken(identity, frozenset(scopes), expires)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, hashlib.sha256)[:_MAC_LENGTH]
